import type { Btf } from './btf.ts';
import { typeWords } from './scan.ts';
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

  constructor(btf: Btf, starts: Uint32Array, space: NameSpace) {
    this.#btf = btf;
    const wanted = Uint8Array.from({ length: 128 }, (_, kind) => Number(nameSpaceOf(kind) === space));
    const words = typeWords(btf);
    const list = new Uint32Array(starts.length + 1);
    // Names of a split BTF may be its base's.
    const places: StringPlace[] = [];
    for (let owner: Btf | null = btf; owner !== null; owner = owner.base) places.push(placeOf(owner));
    let count = 0;
    const ends = places.map((place) => (count = collectNamed(words, starts, wanted, place, list, count)));
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

/** Appends the indices of types of the wanted kinds whose name lies in a place; returns the new count. */
function collectNamed(
  words: Int32Array,
  starts: Uint32Array,
  wanted: Uint8Array,
  place: StringPlace,
  list: Uint32Array,
  countBefore: number,
): number {
  const { offset, end } = place;
  const first = Math.max(offset, 1);
  const { length } = starts;
  let count = countBefore;
  for (let index = 0; index < length; index++) {
    const at = starts[index] as number;
    const name = words[at] as number;
    list[count] = index;
    count += name >= first && name < end ? (wanted[((words[at + 1] as number) >>> 24) & 0x7f] as number) : 0;
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
