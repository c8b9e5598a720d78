/** Grows to no more than this at once; a record that needs more is refused by Buffer itself. */
const firstSize = 64 * 1024;

/**
 * A Buffer that is written from front to back and used again. Whoever writes calls {@link ensure} first; the put methods
 * do not check.
 */
export class ByteWriter {
  bytes: Buffer = Buffer.allocUnsafe(firstSize);
  length = 0;
  /** Bytes that the writer of the current record may still need besides what it ensures itself. */
  reserve = 0;

  /** Makes room for `count` more bytes and the reserve. */
  ensure(count: number): void {
    const needed = this.length + count + this.reserve;
    if (needed <= this.bytes.length) return;
    const grown = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2));
    this.bytes.copy(grown, 0, 0, this.length);
    this.bytes = grown;
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
    if (value >= 1e9) {
      const high = Math.floor(value / 1e9);
      this.uint(high);
      this.digits(value - high * 1e9, 9);
      return;
    }
    this.digits(
      value,
      value < 10
        ? 1
        : value < 100
          ? 2
          : value < 1e3
            ? 3
            : value < 1e4
              ? 4
              : value < 1e5
                ? 5
                : value < 1e6
                  ? 6
                  : value < 1e7
                    ? 7
                    : value < 1e8
                      ? 8
                      : 9,
    );
  }

  /** Exactly `count` decimal digits of a number below 10^9. */
  digits(value: number, count: number): void {
    const { bytes } = this;
    const start = this.length;
    let rest = value | 0;
    for (let at = start + count - 1; at >= start; at--) {
      const next = (rest / 10) | 0;
      bytes[at] = 48 + rest - next * 10;
      rest = next;
    }
    this.length = start + count;
  }

  /** Decimal digits of a whole number with a sign. */
  int(value: number): void {
    if (value < 0) {
      this.bytes[this.length++] = 45;
      this.uint(-value);
    } else this.uint(value);
  }

  /** Decimal digits of `high * 2^32 + low`, exactly. */
  uint64(high: number, low: number): void {
    if (high < 0x200000) {
      this.uint(high * 4294967296 + low);
      return;
    }
    // Long division by 10^9 in digits of 16 bits: everything stays below 2^46.
    const q0 = Math.floor(high / 1e9);
    let rest = (high - q0 * 1e9) * 65536 + (low >>> 16);
    const q1 = Math.floor(rest / 1e9);
    rest = (rest - q1 * 1e9) * 65536 + (low & 0xffff);
    const q2 = Math.floor(rest / 1e9);
    this.uint(q0 * 4294967296 + q1 * 65536 + q2);
    this.digits(rest - q2 * 1e9, 9);
  }

  /** Decimal digits of a signed 64-bit number in two words; `high` is unsigned. */
  int64(high: number, low: number): void {
    if (high < 0x80000000) {
      this.uint64(high, low);
      return;
    }
    this.bytes[this.length++] = 45;
    // Two's complement: invert and add one.
    const negatedLow = (~low + 1) >>> 0;
    this.uint64((~high + (negatedLow === 0 ? 1 : 0)) >>> 0, negatedLow);
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
