import { cString } from '../bytes/text.ts';
import { FormatError } from '../error.ts';

/**
 * A string table. Every string is decoded once; what all strings together may come to is bounded, for a hostile table
 * lets thousands of names share one long tail (suffixes of each other).
 */
export class StringTable {
  readonly #bytes: Uint8Array;
  readonly #structure: string;
  readonly #seen = new Map<number, string>();
  #budget: number;

  constructor(bytes: Uint8Array, structure: string) {
    this.#bytes = bytes;
    this.#structure = structure;
    this.#budget = (1 << 20) + bytes.length * 32;
  }

  /** The string at an offset; offset 0 of an empty table is ''. */
  at(offset: number, where: Readonly<Record<string, string | number>>): string {
    const known = this.#seen.get(offset);
    if (known !== undefined) return known;
    if (offset === 0 && this.#bytes.length === 0) return '';
    const end = offset < this.#bytes.length ? this.#bytes.indexOf(0, offset) : -1;
    if (end < 0) {
      const why = offset < this.#bytes.length ? 'it has no NUL before the end of the table' : `the table has ${this.#bytes.length} bytes`;
      throw this.#error(`string offset ${offset} is impossible: ${why}`, where);
    }
    this.#budget -= end - offset;
    if (this.#budget < 0) throw this.#error('its strings overlap so much that no real file is like that', where);
    const text = cString(this.#bytes.subarray(offset, end));
    this.#seen.set(offset, text);
    return text;
  }

  #error(why: string, where: Readonly<Record<string, string | number>>): FormatError {
    return new FormatError({ code: 'E_ELF_STRING', what: `malformed ${this.#structure}`, where, why });
  }
}
