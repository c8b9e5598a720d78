import type { Btf } from './btf.ts';
import { readWords } from './words.ts';
import { kindOfInfo, visitStringWords, visitTypeWords, vlenOfInfo } from './refs.ts';

/**
 * All types of a BTF and of its bases as 32-bit words in this machine's order, a copy that can be changed: what
 * deduplication and relocation between bases work on.
 */
export class TypeTable {
  readonly words: Uint32Array;
  /** Index of the first word of each type, and one past the last type; void has no words. */
  readonly starts: Uint32Array;
  readonly firstId: number;
  readonly count: number;

  constructor(btf: Btf) {
    this.firstId = btf.firstId;
    this.count = btf.typeCount;
    ({ words: this.words, starts: this.starts } = readWords(btf));
  }

  /** The word of a type at an index from its start: 0 is the name, 1 the info, 2 the size or type. */
  word(id: number, index: number): number {
    return this.words[(this.starts[id] as number) + index] as number;
  }

  setWord(id: number, index: number, value: number): void {
    this.words[(this.starts[id] as number) + index] = value;
  }

  /** All words of a type, a view. */
  wordsOf(id: number): Uint32Array {
    return this.words.subarray(this.starts[id], this.starts[id + 1]);
  }

  /** 0 for void. */
  kind(id: number): number {
    return id === 0 ? 0 : kindOfInfo(this.word(id, 1));
  }

  vlen(id: number): number {
    return vlenOfInfo(this.word(id, 1));
  }

  name(id: number): number {
    return id === 0 ? 0 : this.word(id, 0);
  }

  /** Replaces every id that a type refers to. */
  mapTypes(id: number, map: (id: number) => number): void {
    visitTypeWords(this.kind(id), this.vlen(id), (index) => this.setWord(id, index, map(this.word(id, index))));
  }

  /** Replaces every string offset of a type that is not 0. */
  mapStrings(id: number, map: (offset: number) => number): void {
    visitStringWords(this.kind(id), this.vlen(id), (index) => {
      const offset = this.word(id, index);
      if (offset !== 0) this.setWord(id, index, map(offset));
    });
  }

  /** The types with these ids, one after another, as the bytes of a type section. */
  encode(ids: Iterable<number>, littleEndian: boolean): Uint8Array {
    const parts = Array.from(ids, (id) => this.wordsOf(id));
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length * 4, 0));
    const view = new DataView(bytes.buffer);
    let at = 0;
    for (const part of parts) {
      for (const word of part) {
        view.setUint32(at, word, littleEndian);
        at += 4;
      }
    }
    return bytes;
  }
}
