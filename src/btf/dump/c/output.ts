import { toUtf8 } from '../../../bytes/text.ts';
import { isIdentifierByte } from './identifier.ts';

/** A piece of C that is written often, as bytes. */
export function phrase(text: string): Uint8Array {
  return toUtf8(text);
}

const zero = 0x30;
const tab = 0x09;

/** Text in the making, as ASCII bytes. */
export class Output {
  length = 0;
  #bytes = new Uint8Array(1 << 14);

  /** One ASCII character, by its code. */
  char(code: number): void {
    if (this.length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.length++] = code;
  }

  /** Bytes of ASCII, see {@link phrase}. */
  put(text: Uint8Array): void {
    const { length } = text;
    if (this.length + length > this.#bytes.length) this.#grow(length);
    const bytes = this.#bytes;
    let at = this.length;
    // For a few bytes this beats set().
    for (let i = 0; i < length; i++) bytes[at++] = text[i] as number;
    this.length = at;
  }

  text(text: string): void {
    this.put(toUtf8(text));
  }

  /** Bytes of `from` from an offset to the next NUL. */
  name(from: Uint8Array, offset: number): void {
    let bytes = this.#bytes;
    let at = this.length;
    for (let i = offset, byte = from[i] as number; byte !== 0; byte = from[++i] as number) {
      if (at === bytes.length) {
        this.length = at;
        this.#grow(1);
        bytes = this.#bytes;
      }
      bytes[at++] = byte;
    }
    this.length = at;
  }

  /** As {@link name}, of letters, digits, _ and $ only; gives how many, or writes nothing and gives 0 where something else stands there. */
  identifier(from: Uint8Array, offset: number, most: number): number {
    if (this.length + most > this.#bytes.length) this.#grow(most);
    const bytes = this.#bytes;
    let at = this.length;
    const end = at + most;
    let i = offset;
    let byte = from[i] as number;
    while (isIdentifierByte[byte] === 1 && at < end) {
      bytes[at++] = byte;
      byte = from[++i] as number;
    }
    if (byte !== 0) return 0;
    this.length = at;
    return i - offset;
  }

  /** An integer that a number holds exactly. */
  number(value: number): void {
    if (value < 0) {
      this.char(0x2d);
      value = -value;
    }
    if (value < 10) {
      this.char(zero + value);
      return;
    }
    let digits = 0;
    for (let rest = value; rest >= 1; rest = Math.floor(rest / 10)) digits++;
    if (this.length + digits > this.#bytes.length) this.#grow(digits);
    for (let at = this.length + digits - 1; at >= this.length; at--) {
      const rest = Math.floor(value / 10);
      this.#bytes[at] = zero + (value - rest * 10);
      value = rest;
    }
    this.length += digits;
  }

  /** A new line with `depth` tabs. */
  line(depth: number): void {
    this.char(0x0a);
    for (let i = 0; i < depth; i++) this.char(tab);
  }

  /** Puts a phrase before what was written since `at`. */
  insert(at: number, text: Uint8Array): void {
    const end = this.length;
    this.put(text);
    this.#bytes.copyWithin(at + text.length, at, end);
    this.#bytes.set(text, at);
  }

  /** All text so far, which is then gone from here. */
  take(): string {
    const text = new TextDecoder().decode(this.#bytes.subarray(0, this.length));
    this.length = 0;
    return text;
  }

  #grow(by: number): void {
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + by));
    larger.set(this.#bytes.subarray(0, this.length));
    this.#bytes = larger;
  }
}
