import type { Btf } from '../../btf.ts';
import { toUtf8 } from '../../../bytes/text.ts';
import type { Output } from './output.ts';
import { isIdentifierByte, isKeyword, toIdentifier } from './identifier.ts';

/** Names longer than this are cut: kernels take 512 bytes. */
const maxName = 512;

/**
 * All strings of a BTF and its base in one array, followed by names made here: a name is the offset where it starts, and is
 * written by copying bytes. A dump names half a million things; as JavaScript strings that would be most of its time.
 */
export class NameArena {
  /** Replaced by a larger one when names are added: not to be kept. */
  bytes: Uint8Array;
  readonly #btf: Btf;
  /** Offsets below are the BTF's own. */
  readonly #own: number;
  #end: number;

  constructor(btf: Btf) {
    this.#btf = btf;
    this.#own = btf.stringsEnd;
    this.#end = btf.stringsEnd;
    this.bytes = new Uint8Array(btf.stringsEnd + 4096);
    for (let part: Btf | null = btf; part !== null; part = part.base) {
      const { stringsAt, stringsLength } = part.header;
      this.bytes.set(part.bytes.subarray(stringsAt, stringsAt + stringsLength), part.firstString);
    }
  }

  /** Adds a name; gives its offset. */
  add(name: string): number {
    const text = toUtf8(name);
    const at = this.#end;
    this.#end += text.length + 1;
    if (this.#end > this.bytes.length) {
      const larger = new Uint8Array(this.#end * 2);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes.set(text, at);
    this.bytes[this.#end - 1] = 0;
    return at;
  }

  /** The offset of a C identifier for the name at an offset: nearly always that name itself. */
  identifier(offset: number): number {
    return this.#isIdentifier(offset) ? offset : this.add(toIdentifier(this.string(offset)).slice(0, maxName));
  }

  /** Writes the name at an offset. */
  write(offset: number, out: Output): void {
    out.name(this.bytes, offset);
  }

  /** Writes what {@link identifier} gives, in one pass over nearly every name. */
  writeIdentifier(offset: number, out: Output): void {
    // Names made here are identifiers.
    if (offset >= this.#own && offset < this.#end) {
      this.write(offset, out);
      return;
    }
    const start = out.length;
    const length = out.identifier(this.bytes, offset, maxName);
    if (length > 0 && this.#isName(offset, length)) return;
    out.length = start;
    this.write(this.identifier(offset), out);
  }

  string(offset: number): string {
    if (offset < this.#own) return this.#btf.string(offset);
    return new TextDecoder().decode(this.bytes.subarray(offset, this.bytes.indexOf(0, offset)));
  }

  #isIdentifier(offset: number): boolean {
    const { bytes } = this;
    // Throws for an offset past the strings.
    if (offset >= this.#end) this.#btf.string(offset);
    let end = offset;
    while (isIdentifierByte[bytes[end] as number] === 1) end++;
    const length = end - offset;
    if (bytes[end] !== 0 || length === 0 || length > maxName) return false;
    return this.#isName(offset, length);
  }

  /** Whether what consists of the right characters is a name. */
  #isName(offset: number, length: number): boolean {
    const first = this.bytes[offset] as number;
    const isDigit = first >= 0x30 && first <= 0x39;
    return !isDigit && !isKeyword(first, length, () => this.string(offset));
  }
}
