/** Bytes of a new writer. */
const firstSize = 64 * 1024;
/** Bytes past what was asked for that a store of a whole word may write to. */
const slack = 8;

/** Bytes that were encoded before, in words of eight: copied by an instruction each. Only for UTF-8 without DEL, of which no word is a NaN. */
export interface Packed {
  readonly words: Float64Array;
  /** The same bytes, for {@link ByteWriter.literal}. */
  readonly bytes: Uint8Array;
  readonly length: number;
}

export function pack(bytes: Uint8Array): Packed {
  const padded = new Uint8Array(Math.ceil(bytes.length / 8) * 8);
  padded.set(bytes);
  return { words: new Float64Array(padded.buffer), bytes: padded.subarray(0, bytes.length), length: bytes.length };
}

/** Three decimal digits in the low bytes of each word, and the same without leading zeros. */
const triples = new Uint32Array(1000);
const heads = new Uint32Array(1000);
const headLengths = new Uint8Array(1000);
for (let i = 0; i < 1000; i++) {
  triples[i] = asciiWord(String(i).padStart(3, '0'));
  heads[i] = asciiWord(String(i));
  headLengths[i] = String(i).length;
}

function asciiWord(text: string): number {
  let word = 0;
  for (let i = 0; i < text.length; i++) word |= text.charCodeAt(i) << (i * 8);
  return word;
}

// The functions below write at a place and return the place behind: in the hot loop it stays in a register.

/** Decimal digits of a whole number from 0 to 2^53. */
export function putUint(view: DataView, at: number, value: number): number {
  if (value < 1e9) return putSmall(view, at, value | 0);
  const high = Math.floor(value / 1e9);
  return putNine(view, putSmall(view, at, high | 0), value - high * 1e9);
}

function putSmall(view: DataView, at: number, value: number): number {
  if (value < 1000) return putHead(view, at, value);
  const thousands = (value / 1000) | 0;
  const rest = value - thousands * 1000;
  if (thousands < 1000) return putThree(view, putHead(view, at, thousands), rest);
  const millions = (thousands / 1000) | 0;
  return putThree(view, putThree(view, putHead(view, at, millions), thousands - millions * 1000), rest);
}

/** Decimal digits of a whole number with a sign. */
export function putInt(view: DataView, at: number, value: number): number {
  if (value >= 0) return putUint(view, at, value);
  view.setUint8(at, 45);
  return putUint(view, at + 1, -value);
}

/** Decimal digits of `high * 2^32 + low`, exactly. */
export function putUint64(view: DataView, at: number, high: number, low: number): number {
  if (high < 0x200000) return putUint(view, at, high * 4294967296 + low);
  // Long division by 10^9 in digits of 16 bits: everything stays below 2^46.
  const q0 = Math.floor(high / 1e9);
  let rest = (high - q0 * 1e9) * 65536 + (low >>> 16);
  const q1 = Math.floor(rest / 1e9);
  rest = (rest - q1 * 1e9) * 65536 + (low & 0xffff);
  const q2 = Math.floor(rest / 1e9);
  return putNine(view, putUint(view, at, q0 * 4294967296 + q1 * 65536 + q2), rest - q2 * 1e9);
}

/** Decimal digits of a signed 64-bit number in two words; `high` is unsigned. */
export function putInt64(view: DataView, at: number, high: number, low: number): number {
  if (high < 0x80000000) return putUint64(view, at, high, low);
  view.setUint8(at, 45);
  // Two's complement: invert and add one.
  const negatedLow = (~low + 1) >>> 0;
  return putUint64(view, at + 1, (~high + (negatedLow === 0 ? 1 : 0)) >>> 0, negatedLow);
}

/** Exactly nine decimal digits of a number below 10^9. */
export function putNine(view: DataView, at: number, value: number): number {
  const whole = value | 0;
  const high = (whole / 1_000_000) | 0;
  const rest = whole - high * 1_000_000;
  const middle = (rest / 1000) | 0;
  return putThree(view, putThree(view, putThree(view, at, high), middle), rest - middle * 1000);
}

function putThree(view: DataView, at: number, value: number): number {
  view.setUint32(at, triples[value] as number, true);
  return at + 3;
}

function putHead(view: DataView, at: number, value: number): number {
  view.setUint32(at, heads[value] as number, true);
  return at + (headLengths[value] as number);
}

/** Copies bytes that were encoded and packed before. */
export function putPacked(view: DataView, at: number, { words, length }: Packed): number {
  for (let i = 0; i < words.length; i++) view.setFloat64(at + i * 8, words[i] as number, true);
  return at + length;
}

/**
 * A Buffer that is written from front to back and used again. Whoever writes calls {@link ensure} first; the put methods
 * do not check.
 */
export class ByteWriter {
  bytes: Buffer = Buffer.allocUnsafeSlow(firstSize);
  length = 0;
  /** Bytes that the writer of the current record may still need besides what it ensures itself. */
  reserve = 0;
  /** The same bytes. */
  view: DataView = new DataView(this.bytes.buffer);

  /** Makes room for `count` more bytes and the reserve. */
  ensure(count: number): void {
    const needed = this.length + count + this.reserve + slack;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }

  /** A copy of what was written, and an empty writer. */
  take(): Buffer {
    const copy = Buffer.from(this.bytes.subarray(0, this.length));
    this.length = 0;
    return copy;
  }

  byte(value: number): void {
    this.bytes[this.length++] = value;
  }

  /** Copies bytes that were encoded and packed before. */
  packed(packed: Packed): void {
    // From there on a call into the runtime costs less than the loop.
    if (packed.length > 96) this.literal(packed.bytes);
    else this.length = putPacked(this.view, this.length, packed);
  }

  /** Copies bytes that were encoded before. */
  literal(source: Uint8Array): void {
    const { bytes } = this;
    let at = this.length;
    const count = source.length;
    // A call into the runtime costs more than a short loop.
    if (count <= 48) for (let i = 0; i < count; i++) bytes[at++] = source[i] as number;
    else {
      bytes.set(source, at);
      at += count;
    }
    this.length = at;
  }

  /** Text whose characters are all ASCII. */
  ascii(text: string): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    this.length = at;
  }

  /** Decimal digits of a whole number from 0 to 2^53. */
  uint(value: number): void {
    this.length = putUint(this.view, this.length, value);
  }

  /** Decimal digits of a whole number with a sign. */
  int(value: number): void {
    this.length = putInt(this.view, this.length, value);
  }

  /** Decimal digits of `high * 2^32 + low`, exactly. */
  uint64(high: number, low: number): void {
    this.length = putUint64(this.view, this.length, high, low);
  }

  /** Decimal digits of a signed 64-bit number in two words; `high` is unsigned. */
  int64(high: number, low: number): void {
    this.length = putInt64(this.view, this.length, high, low);
  }

  /** Exactly nine decimal digits of a number below 10^9. */
  nine(value: number): void {
    this.length = putNine(this.view, this.length, value);
  }

  /** Four bytes, the first in the low bits. */
  word(value: number): void {
    this.view.setInt32(this.length, value, true);
    this.length += 4;
  }

  /** Lower-case hex of bytes. */
  hex(source: Uint8Array, start: number, count: number): void {
    const { bytes } = this;
    let at = this.length;
    for (let i = start; i < start + count; i++) {
      const byte = source[i] as number;
      bytes[at++] = hexDigits.charCodeAt(byte >>> 4);
      bytes[at++] = hexDigits.charCodeAt(byte & 15);
    }
    this.length = at;
  }
}

const hexDigits = '0123456789abcdef';
