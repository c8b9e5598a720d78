import { toCString } from '../bytes/text.ts';
import type { Btf } from './btf.ts';
import { encodeSections } from './encode.ts';

/**
 * A copy of a BTF's own types whose words can be changed where they stand, and to which types and strings can be
 * appended: what loaders do to an object's BTF. Ids, string offsets and the base stay as they were.
 */
export class BtfRewrite {
  readonly #btf: Btf;
  readonly #types: Uint8Array;
  readonly #view: DataView;
  readonly #newWords: number[] = [];
  readonly #newStrings: Uint8Array[] = [];
  readonly #newStringOffsets = new Map<string, number>();
  #stringsEnd: number;
  #nextId: number;

  constructor(btf: Btf) {
    this.#btf = btf;
    const { typesAt, typesLength } = btf.header;
    this.#types = btf.bytes.slice(typesAt, typesAt + typesLength);
    this.#view = new DataView(this.#types.buffer);
    this.#stringsEnd = btf.stringsEnd;
    this.#nextId = btf.typeCount;
  }

  /** A 32-bit word of an own type, counted from its start: 0 is the name, 1 the info, 2 the size or type. */
  word(id: number, index: number): number {
    return this.#view.getUint32(this.#at(id, index), this.#btf.littleEndian);
  }

  setWord(id: number, index: number, value: number): void {
    this.#view.setUint32(this.#at(id, index), value, this.#btf.littleEndian);
  }

  /** Appends a type and gives its id. */
  addType(words: readonly number[]): number {
    this.#newWords.push(...words);
    return this.#nextId++;
  }

  /** Appends a string and gives its offset. */
  addString(text: string): number {
    if (text === '') return 0;
    const known = this.#newStringOffsets.get(text);
    if (known !== undefined) return known;
    const bytes = toCString(text);
    const offset = this.#stringsEnd;
    this.#newStrings.push(bytes);
    this.#newStringOffsets.set(text, offset);
    this.#stringsEnd += bytes.length;
    return offset;
  }

  encode(options: { readonly layout: boolean }): Uint8Array {
    const { header, bytes, littleEndian } = this.#btf;
    const types = new Uint8Array(this.#types.length + this.#newWords.length * 4);
    types.set(this.#types);
    const view = new DataView(types.buffer);
    this.#newWords.forEach((word, i) => view.setUint32(this.#types.length + i * 4, word, littleEndian));
    const strings = new Uint8Array(this.#stringsEnd - this.#btf.firstString);
    strings.set(bytes.subarray(header.stringsAt, header.stringsAt + header.stringsLength));
    let at = header.stringsLength;
    for (const added of this.#newStrings) {
      strings.set(added, at);
      at += added.length;
    }
    const layout = options.layout ? bytes.subarray(header.layoutAt, header.layoutAt + header.layoutLength) : new Uint8Array(0);
    return encodeSections({ littleEndian, flags: header.flags, types, strings, layout });
  }

  #at(id: number, index: number): number {
    return this.#btf.offsetOf(id) - this.#btf.header.typesAt + index * 4;
  }
}
