import { SHN, STB, STT } from './constants.ts';

/** Bytes of an Elf64_Sym. */
const symSize = 24;
/** Names are cut there: no compiler's are longer, a hostile file's may be. */
const maxName = 4096;
/** How many symbols that start before an address are asked whether they reach it. */
const maxBack = 32;
/** In a rank: the symbol says how long it is. */
const hasSize = 4;

/** The parts of a file that {@link FunctionTable} is made of. */
export interface FunctionTableParts {
  /** Bytes of a SHT_SYMTAB or SHT_DYNSYM section, and of the strings it names. */
  readonly symbols: Uint8Array;
  readonly strings: Uint8Array;
  readonly littleEndian: boolean;
  /** Where the section with this index ends in memory where it holds code; 0 for all others. */
  readonly codeEnd: (sectionIndex: number) => number;
}

/**
 * The functions of a symbol table by address: 21 bytes each and the strings; names are decoded when asked for. Made for tables
 * with millions of symbols, and for tables that somebody made to be trouble.
 */
export class FunctionTable {
  readonly #strings: Uint8Array;
  /** Ascending; of equal ones the best name last. */
  readonly #starts: Float64Array;
  readonly #ends: Float64Array;
  readonly #names: Uint32Array;
  readonly size: number;

  constructor(parts: FunctionTableParts) {
    const found = functionsOf(parts);
    const order = new Uint32Array(found.count).map((_, i) => i);
    order.sort(
      (a, b) => (found.starts[a] as number) - (found.starts[b] as number) || (found.ranks[a] as number) - (found.ranks[b] as number),
    );
    this.#strings = parts.strings;
    this.#starts = new Float64Array(found.count);
    this.#ends = new Float64Array(found.count);
    this.#names = new Uint32Array(found.count);
    // Backwards: a function without a size ends where the next one starts.
    let next = Number.POSITIVE_INFINITY;
    for (let to = found.count - 1; to >= 0; to--) {
      const from = order[to] as number;
      const start = found.starts[from] as number;
      const end = found.ends[from] as number;
      if (to + 1 < found.count && (this.#starts[to + 1] as number) > start) next = this.#starts[to + 1] as number;
      this.#starts[to] = start;
      this.#ends[to] = (found.ranks[from] as number) & hasSize ? end : Math.min(end, next);
      this.#names[to] = found.names[from] as number;
    }
    this.size = found.count;
  }

  /** Bytes that it takes, about. */
  get bytes(): number {
    return this.size * 20 + this.#strings.length;
  }

  /** The name of the function that an address lies in, as the file has it; null where there is none. */
  nameOf(address: number): string | null {
    const starts = this.#starts;
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((starts[middle] as number) <= address) low = middle + 1;
      else high = middle;
    }
    for (let i = low - 1; i >= 0 && i >= low - maxBack; i--) {
      if (address < (this.#ends[i] as number)) return this.#name(this.#names[i] as number);
    }
    return null;
  }

  #name(start: number): string {
    const end = this.#strings.indexOf(0, start);
    const whole = end < 0 ? this.#strings.length : end;
    return new TextDecoder().decode(this.#strings.subarray(start, Math.min(whole, start + maxName)));
  }
}

interface Found {
  readonly count: number;
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly names: Uint32Array;
  readonly ranks: Uint8Array;
}

function functionsOf({ symbols, strings, littleEndian, codeEnd }: FunctionTableParts): Found {
  const view = new DataView(symbols.buffer, symbols.byteOffset, symbols.byteLength);
  const most = Math.floor(symbols.length / symSize);
  const starts = new Float64Array(most);
  const ends = new Float64Array(most);
  const names = new Uint32Array(most);
  const ranks = new Uint8Array(most);
  let count = 0;
  for (let at = 0; at + symSize <= symbols.length; at += symSize) {
    const type = view.getUint8(at + 4) & 15;
    const section = view.getUint16(at + 6, littleEndian);
    if ((type !== STT.FUNC && type !== STT.GNU_IFUNC && type !== STT.NOTYPE) || section === SHN.UNDEF) continue;
    const name = view.getUint32(at, littleEndian);
    if (name >= strings.length || strings[name] === 0 || isMarker(strings, name)) continue;
    const start = Number(view.getBigUint64(at + 8, littleEndian));
    const size = Number(view.getBigUint64(at + 16, littleEndian));
    const sectionEnd = section < SHN.LORESERVE || section === SHN.XINDEX ? codeEnd(section) : 0;
    // Labels of assembly are functions where they lie in code.
    if (type === STT.NOTYPE && (sectionEnd === 0 || start >= sectionEnd)) continue;
    const end = size > 0 ? start + size : sectionEnd;
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end) || end <= start) continue;
    starts[count] = start;
    ends[count] = end;
    names[count] = name;
    ranks[count] = rankOf(type, size, view.getUint8(at + 4) >> 4);
    count++;
  }
  return { count, starts, ends, names, ranks };
}

/** `$x`, `$d`: where ARM code and data begin; `.L...`: labels of a compiler's own. */
function isMarker(strings: Uint8Array, at: number): boolean {
  const [first, second] = [strings[at], strings[at + 1]];
  return first === 0x24 || (first === 0x2e && second === 0x4c);
}

/** Of several names for an address the one that people know: a function with a size, global rather than weak or local. */
function rankOf(type: number, size: number, binding: number): number {
  const known = binding === STB.GLOBAL || binding === STB.GNU_UNIQUE ? 2 : binding === STB.WEAK ? 1 : 0;
  return (type === STT.NOTYPE ? 0 : 8) + (size > 0 ? hasSize : 0) + known;
}
