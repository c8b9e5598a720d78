import { toUtf8 } from '../bytes/text.ts';
import type { Btf } from './btf.ts';
import { typeWords, type TypeIndex } from './scan.ts';
import { BTF_KIND } from './types.ts';

const { FUNC, VAR, DATASEC, DECL_TAG } = BTF_KIND;

/** Longer names than this are not in the index: no name that a kernel accepts has more than 512 bytes. */
const maxIndexed = 4096;
const underscore = 0x5f;
const fnvOffset = 0x811c9dc5 | 0;
const fnvPrime = 0x01000193;

/**
 * The length of a name without its `___flavour` suffix: as CO-RE has it, the last `___` that stands between two
 * characters that are no underscores starts the flavour.
 */
export function essentialNameLength(bytes: Uint8Array, start = 0, end: number = bytes.length): number {
  for (let i = end - 5; i >= start; i--) {
    if (bytes[i + 1] !== underscore || bytes[i + 2] !== underscore || bytes[i + 3] !== underscore) continue;
    if (bytes[i] !== underscore && bytes[i + 4] !== underscore) return i + 1 - start;
  }
  return end - start;
}

/** Which types an index is of: functions are four fifths of the names in a kernel's BTF, and seldom looked for. */
export type NameSpace = 'types' | 'functions';

/** The index that names of a kind are in. */
export function nameSpaceOf(kind: number): NameSpace {
  return kind === FUNC || kind === VAR || kind === DATASEC || kind === DECL_TAG ? 'functions' : 'types';
}

/**
 * A hash table over the names of one BTF's own types (or functions, variables and sections), in typed arrays: buckets lead to the first name, each name to
 * the next of its bucket. The few types whose name has a flavour also stand in a list, for CO-RE, which looks past flavours.
 */
export class NameIndex {
  readonly #btf: Btf;
  readonly #filed: FiledNames;

  constructor(btf: Btf, types: TypeIndex, space: NameSpace) {
    this.#btf = btf;
    const words = typeWords(btf);
    const { starts } = types;
    const indices = indicesOf(types, words, space);
    const list = new Uint32Array(indices.length + 1);
    // Names of a split BTF may be its base's.
    const places: StringPlace[] = [];
    for (let owner: Btf | null = btf; owner !== null; owner = owner.base) places.push(placeOf(owner));
    let count = 0;
    const ends = places.map((place) => (count = collectNamed(words, starts, indices, place, list, count)));
    this.#filed = newFiled(list.slice(0, count));
    for (const [i, place] of places.entries()) fileNames(words, starts, place, ends[i - 1] ?? 0, ends[i] as number, this.#filed);
  }

  /** Ids of this very name, ascending. */
  exact(name: Uint8Array): number[] {
    const ids: number[] = [];
    if (name.length > maxIndexed) return ids;
    const { heads, next, list } = this.#filed;
    for (let entry = heads[hashBytes(name) & (heads.length - 1)] as number; entry !== 0; entry = next[entry - 1] as number) {
      const index = list[entry - 1] as number;
      const bytes = this.#nameOf(index);
      if (bytes.length === name.length && startsWith(bytes, name)) ids.push(this.#btf.firstId + index);
    }
    return ids.length < 2 ? ids : ids.toSorted((a, b) => a - b);
  }

  /** Ids of this name with or without a flavour, ascending. */
  essential(name: Uint8Array): number[] {
    const ids = essentialNameLength(name) === name.length ? this.exact(name) : [];
    const plain = ids.length;
    const { flavoured, flavouredCount } = this.#filed;
    for (let i = 0; i < flavouredCount; i++) {
      const index = flavoured[i] as number;
      const bytes = this.#nameOf(index);
      if (bytes.length > name.length && startsWith(bytes, name) && essentialNameLength(bytes) === name.length)
        ids.push(this.#btf.firstId + index);
    }
    return ids.length === plain ? ids : ids.toSorted((a, b) => a - b);
  }

  #nameOf(index: number): Uint8Array {
    return this.#btf.stringBytes(this.#btf.nameOffsetOf(this.#btf.firstId + index));
  }
}

/** Names asked for, and where one pass over a BTF found them. */
export interface NameQuery {
  readonly space: NameSpace;
  /** Past flavours, as CO-RE looks, or the very name. */
  readonly essential: boolean;
  readonly names: readonly string[];
}

/** Shorter names do not fill a key of the pass below. */
const keyBytes = 3;

/**
 * Looks for a few names in one pass over the types, without an index: making that takes as long as a dozen passes, for most processes look
 * up one function or the ten structs of their relocations. Null where this BTF is not for it; names that are not are left out. Ids ascend.
 */
export function seekNames(btf: Btf, types: TypeIndex, { space, essential, names }: NameQuery): Map<string, number[]> | null {
  // Of a split BTF names may be its base's; those BTFs are small.
  if (btf.base !== null) return null;
  const found = new Map<string, number[]>();
  const wanted = new Map<number, Wanted[]>();
  const keys = new Uint8Array(1 << 16);
  for (const name of new Set(names)) {
    const text = toUtf8(name);
    if (text.length < keyBytes || text.length > maxIndexed) continue;
    const key = keyAt(text, 0);
    keys[key] = 1;
    const list = wanted.get(key) ?? [];
    list.push({ name, text });
    wanted.set(key, list);
    found.set(name, []);
  }
  const words = typeWords(btf);
  const { bytes } = btf;
  const { stringsAt, stringsLength } = btf.header;
  const { starts } = types;
  const hits = typesOfKeys(words, starts, indicesOf(types, words, space), bytes, stringsAt, keys);
  for (let i = 0; i < hits.length; i++) {
    const index = hits[i] as number;
    const offset = words[starts[index] as number] as number;
    if (offset < 0 || offset >= stringsLength) continue;
    const at = stringsAt + offset;
    const candidates = wanted.get(keyAt(bytes, at)) ?? [];
    for (let k = 0; k < candidates.length; k++) {
      const { name, text } = candidates[k] as Wanted;
      if (isNamed(bytes, at, text, essential)) found.get(name)?.push(btf.firstId + index);
    }
  }
  return found;
}

interface Wanted {
  readonly name: string;
  readonly text: Uint8Array;
}

/** Whether the name at a place is `text`, or its essential name is. */
function isNamed(bytes: Uint8Array, at: number, text: Uint8Array, essential: boolean): boolean {
  const next = bytes[at + text.length];
  if (next !== 0 && !(essential && next === underscore)) return false;
  // From the end: names that share a beginning are many.
  for (let i = text.length - 1; i >= 0; i--) if (bytes[at + i] !== text[i]) return false;
  if (!essential) return true;
  const whole = bytes.subarray(at, at + maxIndexed + 1);
  return essentialNameLength(whole, 0, whole.indexOf(0, text.length)) === text.length;
}

/** The first bytes of a name, in 16 bits. */
function keyAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) ^ ((bytes[at + 1] as number) << 4) ^ ((bytes[at + 2] as number) << 8)) & 0xffff;
}

/** Those of the indices whose name begins as one that is wanted. As below: one short loop. */
function typesOfKeys(
  words: Int32Array,
  starts: Uint32Array,
  indices: Uint32Array,
  bytes: Uint8Array,
  stringsAt: number,
  keys: Uint8Array,
): Uint32Array {
  const hits = new Uint32Array(indices.length + 1);
  const { length } = indices;
  let count = 0;
  for (let i = 0; i < length; i++) {
    const index = indices[i] as number;
    const at = stringsAt + (words[starts[index] as number] as number);
    hits[count] = index;
    count += keys[((bytes[at] as number) ^ ((bytes[at + 1] as number) << 4) ^ ((bytes[at + 2] as number) << 8)) & 0xffff] as number;
  }
  return hits.subarray(0, count);
}

/** Indices of the types whose names are in a name space, and maybe some without a name. */
function indicesOf({ starts, named }: TypeIndex, words: Int32Array, space: NameSpace): Uint32Array {
  if (space === 'types') return named;
  const kinds = Uint8Array.from({ length: 128 }, (_, kind) => Number(nameSpaceOf(kind) === 'functions'));
  const list = new Uint32Array(starts.length + 1);
  let count = 0;
  for (let index = 0; index < starts.length; index++) {
    list[count] = index;
    count += kinds[((words[(starts[index] as number) + 1] as number) >>> 24) & 0x7f] as number;
  }
  return list.subarray(0, count);
}

/** Where the strings of one BTF lie: `offset` is what the first of them has in types. */
interface StringPlace {
  readonly bytes: Uint8Array;
  readonly at: number;
  readonly offset: number;
  /** One more than the offset of the last. */
  readonly end: number;
}

interface FiledNames {
  /** Indices of types that have a name. */
  readonly list: Uint32Array;
  /** One more than the place in `list` of the bucket's first name; 0 is none. Its length is a power of two. */
  readonly heads: Uint32Array;
  readonly next: Uint32Array;
  /** Indices of types whose name has three underscores; room for one more than there can be. */
  readonly flavoured: Uint32Array;
  flavouredCount: number;
}

function newFiled(list: Uint32Array): FiledNames {
  const buckets = 2 ** Math.ceil(Math.log2(list.length + 1));
  return {
    list,
    heads: new Uint32Array(buckets),
    next: new Uint32Array(list.length),
    flavoured: new Uint32Array(buckets),
    flavouredCount: 0,
  };
}

function placeOf(btf: Btf): StringPlace {
  return { bytes: btf.bytes, at: btf.header.stringsAt, offset: btf.firstString, end: btf.stringsEnd };
}

// The two loops below run once in most processes. The engine compiles each while it runs, trusting what it has seen: a branch
// taken for the first time late would throw that away. So they are short and have no rare branches.

/** Appends those of the indices whose name lies in a place; returns the new count. */
function collectNamed(
  words: Int32Array,
  starts: Uint32Array,
  indices: Uint32Array,
  place: StringPlace,
  list: Uint32Array,
  countBefore: number,
): number {
  const { offset, end } = place;
  const first = Math.max(offset, 1);
  const { length } = indices;
  let count = countBefore;
  for (let i = 0; i < length; i++) {
    const index = indices[i] as number;
    const name = words[starts[index] as number] as number;
    list[count] = index;
    count += name >= first && name < end ? 1 : 0;
  }
  return count;
}

/** Files the names of `list` from `from` to `to`, all of one place. */
function fileNames(words: Int32Array, starts: Uint32Array, place: StringPlace, from: number, to: number, filed: FiledNames): void {
  const { list, heads, next, flavoured } = filed;
  const { bytes } = place;
  const base = place.at - place.offset;
  const mask = heads.length - 1;
  let flavouredCount = filed.flavouredCount;
  for (let entry = to - 1; entry >= from; entry--) {
    const index = list[entry] as number;
    let at = base + (words[starts[index] as number] as number);
    const limit = at + maxIndexed + 1;
    let hash = fnvOffset;
    let underscores = 0;
    let most = 0;
    for (let byte = bytes[at] as number; byte !== 0 && at < limit; byte = bytes[++at] as number) {
      hash = Math.imul(hash ^ byte, fnvPrime);
      underscores = byte === underscore ? underscores + 1 : 0;
      most = underscores > most ? underscores : most;
    }
    if (at === limit) continue;
    flavoured[flavouredCount] = index;
    flavouredCount += most > 2 ? 1 : 0;
    const bucket = (hash ^ (hash >>> 15)) & mask;
    next[entry] = heads[bucket] as number;
    heads[bucket] = entry + 1;
  }
  filed.flavouredCount = flavouredCount;
}

/** FNV-1a, its high bits mixed into the low ones, which alone spread badly. */
function hashBytes(bytes: Uint8Array): number {
  let hash = fnvOffset;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, fnvPrime);
  return hash ^ (hash >>> 15);
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false;
  return true;
}
