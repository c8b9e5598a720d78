import type { Btf } from './btf.ts';
import { typeWords } from './scan.ts';
import { BTF_KIND } from './types.ts';

const { FUNC, VAR, DATASEC, DECL_TAG } = BTF_KIND;

/** Longer names than this are not in the index: no name that a kernel accepts has more than 512 bytes. */
const maxIndexed = 4096;
const underscore = 0x5f;
const fnvOffset = 0x811c9dc5;
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
 * A hash table over the names of one BTF's own types (or functions, variables and sections), in typed arrays: buckets lead to the first type, each type to
 * the next of its bucket. The few types whose name has a flavour also stand in a list, for CO-RE, which looks past flavours.
 */
export class NameIndex {
  readonly #btf: Btf;
  /** One more than the index of the bucket's first type; 0 is none. Its length is a power of two. */
  readonly #heads: Uint32Array;
  readonly #next: Uint32Array;
  /** Indices, ascending. */
  readonly #flavoured: Uint32Array;

  constructor(btf: Btf, starts: Uint32Array, space: NameSpace) {
    this.#btf = btf;
    this.#heads = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(starts.length / 4, 1))));
    this.#next = new Uint32Array(starts.length);
    const wanted = Uint8Array.from({ length: 128 }, (_, kind) => Number(nameSpaceOf(kind) === space));
    this.#flavoured = fileNames(btf, starts, wanted, this.#heads, this.#next);
  }

  /** Ids of this very name, ascending. */
  exact(name: Uint8Array): number[] {
    const ids: number[] = [];
    if (name.length > maxIndexed) return ids;
    const heads = this.#heads;
    for (let slot = heads[hashBytes(name) & (heads.length - 1)] as number; slot !== 0; slot = this.#next[slot - 1] as number) {
      const bytes = this.#nameOf(slot - 1);
      if (bytes.length === name.length && startsWith(bytes, name)) ids.push(this.#btf.firstId + slot - 1);
    }
    return ids;
  }

  /** Ids of this name with or without a flavour, ascending. */
  essential(name: Uint8Array): number[] {
    const ids = essentialNameLength(name) === name.length ? this.exact(name) : [];
    const plain = ids.length;
    for (const index of this.#flavoured) {
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

/**
 * Files all names of the wanted kinds; gives the indices of those with a flavour. It is entered once in most processes, and
 * the engine compiles it while it runs, trusting what it has seen: a branch taken for the first time late would throw that away.
 */
function fileNames(btf: Btf, starts: Uint32Array, wanted: Uint8Array, heads: Uint32Array, next: Uint32Array): Uint32Array {
  const words = typeWords(btf);
  const mask = heads.length - 1;
  const { firstString, stringsEnd } = btf;
  const ownStart = btf.header.stringsAt - firstString;
  // Grows at its end, backwards as the walk goes.
  const flavoured = new Uint32Array(starts.length + 1);
  let first = starts.length;
  // Backwards, so that chains run from low ids to high.
  for (let index = starts.length - 1; index >= 0; index--) {
    const at = starts[index] as number;
    if (wanted[((words[at + 1] as number) >>> 24) & 0x7f] === 0) continue;
    const nameOffset = words[at] as number;
    let { bytes } = btf;
    let from = ownStart + nameOffset;
    // Names of a split BTF may be its base's. The words are signed.
    if (nameOffset < firstString || nameOffset >= stringsEnd) {
      const place = stringPlace(btf, nameOffset >>> 0);
      if (place === null) continue;
      ({ bytes, from } = place);
    }
    let hash = fnvOffset;
    let underscores = 0;
    let most = 0;
    let end = from;
    const limit = from + maxIndexed;
    for (let byte = bytes[end] as number; byte !== 0 && end <= limit; byte = bytes[++end] as number) {
      hash = Math.imul(hash ^ byte, fnvPrime);
      underscores = byte === underscore ? underscores + 1 : 0;
      most = underscores > most ? underscores : most;
    }
    if (end === from || end > limit) continue;
    flavoured[first] = index;
    first -= most > 2 ? 1 : 0;
    const bucket = (hash ^ (hash >>> 15)) & mask;
    next[index] = heads[bucket] as number;
    heads[bucket] = index + 1;
  }
  return flavoured.slice(first + 1);
}

/** Where a string of a base lies; null where there is none at this offset. */
function stringPlace(btf: Btf, nameOffset: number): { readonly bytes: Uint8Array; readonly from: number } | null {
  let owner = btf;
  while (owner.base !== null && nameOffset < owner.firstString) owner = owner.base;
  if (nameOffset >= owner.stringsEnd) return null;
  return { bytes: owner.bytes, from: owner.header.stringsAt + nameOffset - owner.firstString };
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
