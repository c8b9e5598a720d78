import type { Btf } from './btf.ts';
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
 * A hash table over the names of one BTF's own types (or functions, variables and sections), in two typed arrays: buckets lead to the first type, each type to
 * the next of its bucket. Types are filed under their essential name, which serves both exact and CO-RE look-ups.
 */
export class NameIndex {
  readonly #btf: Btf;
  readonly #mask: number;
  /** One more than the index of the bucket's first type; 0 is none. */
  readonly #heads: Uint32Array;
  readonly #next: Uint32Array;

  constructor(btf: Btf, offsets: Uint32Array, space: NameSpace) {
    this.#btf = btf;
    const buckets = 2 ** Math.ceil(Math.log2(Math.max(offsets.length, 1)));
    this.#mask = buckets - 1;
    this.#heads = new Uint32Array(buckets);
    this.#next = new Uint32Array(offsets.length);
    const { view, littleEndian } = btf;
    const kinds = Uint8Array.from({ length: 128 }, (_, kind) => Number(nameSpaceOf(kind) === space));
    // Backwards, so that chains run from low ids to high.
    for (let index = offsets.length - 1; index >= 0; index--) {
      const at = offsets[index] as number;
      if (kinds[(view.getUint32(at + 4, littleEndian) >>> 24) & 0x7f] !== 0) this.#file(index, view.getUint32(at, littleEndian));
    }
  }

  exact(name: Uint8Array): number[] {
    return this.#find(name, essentialNameLength(name), (bytes) => bytes.length === name.length);
  }

  essential(name: Uint8Array): number[] {
    return this.#find(name, name.length, (bytes) => essentialNameLength(bytes) === name.length);
  }

  #file(index: number, nameOffset: number): void {
    const hash = nameOffset === 0 ? null : this.#hashAt(nameOffset);
    if (hash === null) return;
    this.#next[index] = this.#heads[hash & this.#mask] as number;
    this.#heads[hash & this.#mask] = index + 1;
  }

  #find(name: Uint8Array, essentialLength: number, fits: (bytes: Uint8Array) => boolean): number[] {
    const ids: number[] = [];
    if (name.length > maxIndexed) return ids;
    const hash = hashBytes(name, 0, essentialLength);
    for (let slot = this.#heads[hash & this.#mask] as number; slot !== 0; slot = this.#next[slot - 1] as number) {
      const id = this.#btf.firstId + slot - 1;
      const bytes = this.#btf.stringBytes(this.#btf.nameOffsetOf(id));
      if (bytes.length >= name.length && startsWith(bytes, name) && fits(bytes)) ids.push(id);
    }
    return ids;
  }

  /** The hash of the essential name at a string offset; null where it is empty, too long or nowhere. */
  #hashAt(nameOffset: number): number | null {
    let btf = this.#btf;
    while (btf.base !== null && nameOffset < btf.firstString) btf = btf.base;
    if (nameOffset >= btf.stringsEnd) return null;
    const start = btf.header.stringsAt + nameOffset - btf.firstString;
    return hashName(btf.bytes, start);
  }
}

/** The hash of the essential name that starts here; null where it is empty or too long. */
function hashName(bytes: Uint8Array, start: number): number | null {
  let hash = fnvOffset;
  let underscores = 0;
  let flavoured = false;
  let end = start;
  for (let byte = bytes[end] as number; byte !== 0; byte = bytes[++end] as number) {
    hash = Math.imul(hash ^ byte, fnvPrime);
    underscores = byte === underscore ? underscores + 1 : 0;
    if (underscores === 3) flavoured = true;
    if (end - start === maxIndexed) return null;
  }
  if (end === start) return null;
  return flavoured ? hashBytes(bytes, start, start + essentialNameLength(bytes, start, end)) : mix(hash);
}

/** FNV-1a. */
function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = fnvOffset;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ (bytes[i] as number), fnvPrime);
  return mix(hash);
}

/** The low bits of FNV alone spread badly. */
function mix(hash: number): number {
  return (hash ^ (hash >>> 15)) >>> 0;
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (bytes[i] !== prefix[i]) return false;
  return true;
}
