import { FormatError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { BTF_KIND } from '../types.ts';

/** Chains of typedefs, qualifiers and arrays longer than this are taken for loops. */
const maxChain = 64;

const { TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG, ARRAY } = BTF_KIND;

/**
 * All types of a BTF and its base as 32-bit words in this machine's byte order: every field of every kind is such a word.
 * A dump reads each type several times; reading words is what makes it as fast as C.
 */
export class TypeTable {
  readonly btf: Btf;
  /** One more than the last id. */
  readonly count: number;
  readonly words: Uint32Array;
  /** Index in `words` of each type's head (name, info, size or type); void has a head of zeros. */
  readonly heads: Uint32Array;
  readonly pointerSize: number;
  /** All strings joined, where they are ASCII, so that offsets count characters. */
  readonly #text: string | null;

  constructor(btf: Btf) {
    this.btf = btf;
    this.count = btf.typeCount;
    this.pointerSize = btf.pointerSize;
    const parts = btf.base === null ? [btf] : [btf.base, btf];
    const lengths = parts.map((part) => part.header.typesLength >>> 2);
    const words = new Uint32Array(3 + lengths.reduce((sum, length) => sum + length, 0));
    this.heads = new Uint32Array(this.count);
    let at = 3;
    for (const [i, part] of parts.entries()) {
      copyWords(part, words, at, lengths[i] as number);
      const { typesAt } = part.header;
      for (let id = part.firstId; id < part.typeCount; id++) this.heads[id] = at + ((part.offsetOf(id) - typesAt) >>> 2);
      at += lengths[i] as number;
    }
    this.words = words;
    this.#text = joinedText(parts);
  }

  /** Index of the type's head in `words`; throws where there is no such type. */
  head(id: number): number {
    if (id >= this.count) throw noType(this.btf, id, this.count);
    return this.heads[id] as number;
  }

  kind(id: number): number {
    return ((this.words[this.head(id) + 1] as number) >>> 24) & 0x7f;
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

  /** True where the type has a name. */
  isNamed(id: number): boolean {
    return this.words[this.head(id)] !== 0;
  }

  name(id: number): string {
    return this.string(this.words[this.head(id)] as number);
  }

  string(offset: number): string {
    if (offset === 0) return '';
    const text = this.#text;
    if (text === null || offset >= text.length) return this.btf.string(offset);
    return text.slice(offset, text.indexOf('\0', offset));
  }

  /** Skips typedefs, qualifiers and type tags. */
  resolve(id: number): number {
    for (let step = 0; step < maxChain; step++) {
      const kind = this.kind(id);
      if (kind !== TYPEDEF && kind !== CONST && kind !== VOLATILE && kind !== RESTRICT && kind !== TYPE_TAG) return id;
      id = this.sizeOrType(id);
    }
    throw loopError(this.btf, id);
  }

  /** As {@link resolve}, and from an array to its elements. */
  element(id: number): number {
    for (let step = 0; step < maxChain; step++) {
      id = this.resolve(id);
      if (this.kind(id) !== ARRAY) return id;
      id = this.word(this.head(id) + 3);
    }
    throw loopError(this.btf, id);
  }

  /** sizeof in bytes; 0 where a type has none. */
  size(id: number): number {
    let count = 1;
    for (let step = 0; step < maxChain; step++) {
      id = this.resolve(id);
      switch (this.kind(id)) {
        case BTF_KIND.ARRAY: {
          const head = this.head(id);
          count *= this.word(head + 5);
          id = this.word(head + 3);
          break;
        }
        case BTF_KIND.PTR:
          return count * this.pointerSize;
        case BTF_KIND.INT:
        case BTF_KIND.STRUCT:
        case BTF_KIND.UNION:
        case BTF_KIND.ENUM:
        case BTF_KIND.ENUM64:
        case BTF_KIND.FLOAT:
          return count * this.sizeOrType(id);
        default:
          return 0;
      }
    }
    throw loopError(this.btf, id);
  }
}

function copyWords(btf: Btf, into: Uint32Array, at: number, length: number): void {
  const start = btf.bytes.byteOffset + btf.header.typesAt;
  if (btf.littleEndian && start % 4 === 0 && machineIsLittleEndian) {
    into.set(new Uint32Array(btf.bytes.buffer, start, length), at);
    return;
  }
  const { view, littleEndian } = btf;
  for (let i = 0; i < length; i++) into[at + i] = view.getUint32(btf.header.typesAt + i * 4, littleEndian);
}

const machineIsLittleEndian = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1;

function joinedText(parts: readonly Btf[]): string | null {
  let text = '';
  for (const { bytes, header } of parts) {
    const section = bytes.subarray(header.stringsAt, header.stringsAt + header.stringsLength);
    const part = new TextDecoder('utf-8', { ignoreBOM: true }).decode(section);
    if (part.length !== section.length) return null;
    text += part;
  }
  return text;
}

export function loopError(btf: Btf, id: number): FormatError {
  return new FormatError({ code: 'E_BTF_LOOP', what: 'BTF types form a loop', where: { ...btf.where(), id } });
}

function noType(btf: Btf, id: number, count: number): FormatError {
  const why = `the last id is ${count - 1}`;
  return new FormatError({ code: 'E_BTF_TYPE_ID', what: 'there is no BTF type with this id', where: { ...btf.where(), id }, why });
}
