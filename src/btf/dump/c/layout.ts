import { FormatError } from '../../../error.ts';
import { BTF_KIND } from '../../types.ts';
import type { TypeTable } from '../table.ts';
import { spellFloat, spellInt } from './scalar.ts';
import type { TypeSurvey } from './survey.ts';

const { INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG, FLOAT, ENUM64 } = BTF_KIND;

/** Structs nested by value deeper than this are refused. */
const maxDepth = 256;

/**
 * Which alignment clang gives to each type as the dump writes it, and which structs have to be written as packed for their
 * members to come where BTF says. Everything between is filled with unnamed bitfields, which have no alignment of their own.
 */
export class CLayout {
  readonly #table: TypeTable;
  /** Alignment by type id, 0 where not known yet. */
  readonly #aligns: Uint32Array;
  readonly #packed: Uint8Array;
  readonly #survey: TypeSurvey;
  #depth = 0;

  constructor(table: TypeTable, survey: TypeSurvey) {
    this.#table = table;
    this.#survey = survey;
    this.#aligns = new Uint32Array(table.count);
    this.#packed = new Uint8Array(table.count);
  }

  /** True where a struct or union needs `__attribute__((packed))`. */
  isPacked(id: number): boolean {
    this.align(id);
    return this.#packed[id] === 1;
  }

  /** Alignment of the type, in bytes, as written. */
  align(id: number): number {
    const known = this.#aligns[id] as number;
    if (known !== 0) return known;
    if (++this.#depth > maxDepth) {
      throw new FormatError({ code: 'E_BTF_DEPTH', what: 'structs are nested too deep', where: { ...this.#table.btf.where(), id } });
    }
    const align = this.#compute(id);
    this.#depth--;
    this.#aligns[id] = align;
    return align;
  }

  /** Width of a bitfield in the encoding before kind_flag: an INT that has fewer bits than its bytes; else 0. */
  oddIntWidth(typeId: number): number {
    if (!this.#survey.hasOddInts) return 0;
    const table = this.#table;
    const id = table.resolve(typeId);
    if (table.kind(id) !== INT) return 0;
    const bits = table.word(table.head(id) + 3) & 0xff;
    return bits === table.sizeOrType(id) * 8 ? 0 : bits;
  }

  /** The bit where the compiler puts a member that follows bit `end` without padding of ours. */
  nextPlace(end: number, typeId: number, width: number, packed: boolean): number {
    if (width === 0) {
      const align = packed ? 8 : this.align(typeId) * 8;
      return Math.ceil(end / align) * align;
    }
    if (packed) return end;
    const align = this.align(typeId) * 8;
    const crosses = (end % align) + width > this.#table.size(typeId) * 8;
    return crosses ? Math.ceil(end / align) * align : end;
  }

  #compute(id: number): number {
    const table = this.#table;
    switch (table.kind(id)) {
      case INT: {
        const bits = table.word(table.head(id) + 3);
        return spellInt(table.name(id), table.sizeOrType(id), (bits >>> 24) & 15, table.pointerSize).align;
      }
      case FLOAT:
        return spellFloat(table.sizeOrType(id)).align;
      case PTR:
        return table.pointerSize;
      case ENUM:
      case ENUM64:
        return lowestBit(table.sizeOrType(id));
      case ARRAY:
        return this.align(table.word(table.head(id) + 3));
      case TYPEDEF:
      case VOLATILE:
      case CONST:
      case RESTRICT:
      case TYPE_TAG:
        return this.align(table.sizeOrType(id));
      case STRUCT:
      case UNION:
        return this.#composite(id);
      default:
        return 1;
    }
  }

  #composite(id: number): number {
    const table = this.#table;
    const size = table.sizeOrType(id);
    const bitfields = table.flag(id);
    let natural = 1;
    let packed = false;
    let at = table.head(id) + 3;
    for (let i = table.vlen(id); i > 0; i--, at += 3) {
      const typeId = table.word(at + 1);
      const place = table.word(at + 2);
      const align = this.align(typeId);
      const offset = bitfields ? place & 0xffffff : place;
      const width = bitfields ? place >>> 24 : this.oddIntWidth(typeId);
      if (align > natural) natural = align;
      if (width === 0) packed ||= offset % (align * 8) !== 0;
      // A bitfield that is not packed never crosses a boundary of its declared type.
      else packed ||= (offset % (align * 8)) + width > table.size(typeId) * 8;
    }
    packed ||= size % natural !== 0;
    if (!packed) return natural;
    this.#packed[id] = 1;
    // As much alignment as all its uses leave: without any, clang reads such a struct byte by byte.
    const places = (this.#survey.embedded[id] as number) | size;
    return Math.min(natural, lowestBit(places));
  }
}

/** The largest power of two that divides `value`; 1 for 0. */
function lowestBit(value: number): number {
  return value === 0 ? 1 : (value & -value) >>> 0;
}
