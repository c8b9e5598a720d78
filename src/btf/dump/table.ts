import { FormatError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { kindOfInfo } from '../refs.ts';
import { BTF_KIND } from '../types.ts';
import { readWords } from '../words.ts';

/** Chains of typedefs, qualifiers and arrays longer than this are taken for loops. */
const maxChain = 64;

const { INT, PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG, FLOAT, ENUM64 } = BTF_KIND;

/** Types as words, with what a dump asks of them; it reads each type several times, and words are what makes it as fast as C. */
export class TypeTable {
  readonly btf: Btf;
  /** One more than the last id. */
  readonly count: number;
  readonly words: Uint32Array;
  /** Index in `words` of each type's head (name, info, size or type), and one past the last. */
  readonly heads: Uint32Array;
  /** Kind by type id. */
  readonly kinds: Uint8Array;
  readonly pointerSize: number;
  /** What {@link resolve} found, 0 where it has not been asked. */
  readonly #resolved: Uint32Array;

  constructor(btf: Btf) {
    this.btf = btf;
    this.count = btf.typeCount;
    this.pointerSize = btf.pointerSize;
    // Void reads as a head of zeros.
    ({ words: this.words, starts: this.heads } = readWords(btf, 3));
    this.kinds = new Uint8Array(this.count);
    for (let id = 0; id < this.count; id++) this.kinds[id] = kindOfInfo(this.words[(this.heads[id] as number) + 1] as number);
    this.#resolved = new Uint32Array(this.count);
  }

  /** Index of the type's head in `words`; throws where there is no such type. */
  head(id: number): number {
    const head = id < this.count ? this.heads[id] : undefined;
    if (head === undefined) throw noType(this.btf, id, this.count);
    return head;
  }

  kind(id: number): number {
    const kind = this.kinds[id];
    if (kind === undefined) throw noType(this.btf, id, this.count);
    return kind;
  }

  vlen(id: number): number {
    return (this.words[this.head(id) + 1] as number) & 0xffffff;
  }

  /** kind_flag. */
  flag(id: number): boolean {
    return (this.words[this.head(id) + 1] as number) >>> 31 === 1;
  }

  /** The head's third word: the size, or the type referred to. */
  sizeOrType(id: number): number {
    return this.words[this.head(id) + 2] as number;
  }

  word(index: number): number {
    return this.words[index] as number;
  }

  /** Offset of the type's name in the strings; 0 where it has none. */
  nameOffset(id: number): number {
    return this.words[this.head(id)] as number;
  }

  isNamed(id: number): boolean {
    return this.nameOffset(id) !== 0;
  }

  name(id: number): string {
    return this.btf.string(this.nameOffset(id));
  }

  /** Skips typedefs, qualifiers and type tags. */
  resolve(id: number): number {
    const known = this.#resolved[id];
    if (known !== undefined && known !== 0) return known;
    let end = id;
    for (let step = 0; step < maxChain; step++) {
      const kind = this.kind(end);
      if (kind !== TYPEDEF && kind !== CONST && kind !== VOLATILE && kind !== RESTRICT && kind !== TYPE_TAG) {
        this.#resolved[id] = end;
        return end;
      }
      end = this.sizeOrType(end);
    }
    throw loopError(this.btf, id);
  }

  /** As {@link resolve}, and from an array to its elements. */
  element(id: number): number {
    for (let step = 0; step < maxChain; step++) {
      id = this.resolve(id);
      if (this.kinds[id] !== ARRAY) return id;
      id = this.word(this.head(id) + 3);
    }
    throw loopError(this.btf, id);
  }

  /** sizeof in bytes; 0 where a type has none. */
  size(id: number): number {
    let count = 1;
    for (let step = 0; step < maxChain; step++) {
      id = this.resolve(id);
      switch (this.kinds[id]) {
        case ARRAY: {
          const head = this.head(id);
          count *= this.word(head + 5);
          id = this.word(head + 3);
          break;
        }
        case PTR:
          return count * this.pointerSize;
        case INT:
        case STRUCT:
        case UNION:
        case ENUM:
        case ENUM64:
        case FLOAT:
          return count * this.sizeOrType(id);
        default:
          return 0;
      }
    }
    throw loopError(this.btf, id);
  }
}

export function loopError(btf: Btf, id: number): FormatError {
  return new FormatError({ code: 'E_BTF_LOOP', what: 'BTF types form a loop', where: { ...btf.where(), id } });
}

function noType(btf: Btf, id: number, count: number): FormatError {
  const why = `the last id is ${count - 1}`;
  return new FormatError({ code: 'E_BTF_TYPE_ID', what: 'there is no BTF type with this id', where: { ...btf.where(), id }, why });
}
