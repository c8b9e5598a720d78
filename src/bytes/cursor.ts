import { FormatError } from '../error.ts';

/** What a {@link Cursor} reads, for its error messages. */
export interface CursorOptions {
  /** Byte order; little endian unless said. */
  readonly littleEndian?: boolean;
  /** Name of the structure being read, such as `BTF header`. */
  readonly structure: string;
  /** Error code thrown when a read passes the end; `E_TRUNCATED` unless said. */
  readonly code?: string;
  /** Offset of `bytes` in the file, added to the offsets in messages. */
  readonly base?: number;
}

/**
 * The one bounds-checked way to read binary data: every read either yields a value or throws a {@link FormatError}
 * that names the structure and the offset.
 *
 * @example
 * import { Cursor } from 'rawbpf/elf';
 * const cursor = new Cursor(Uint8Array.of(1, 0, 2, 0), { structure: 'example' });
 * console.log(cursor.u16(), cursor.u16(), cursor.remaining); // 1 2 0
 */
export class Cursor {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  readonly #view: DataView;
  readonly #options: CursorOptions;
  #offset = 0;

  constructor(bytes: Uint8Array, options: CursorOptions) {
    this.bytes = bytes;
    this.littleEndian = options.littleEndian ?? true;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#options = options;
  }

  get offset(): number {
    return this.#offset;
  }

  get length(): number {
    return this.bytes.length;
  }

  get remaining(): number {
    return this.bytes.length - this.#offset;
  }

  /** Moves to an absolute offset in `bytes`; the end itself is allowed. */
  seek(offset: number): this {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.bytes.length) this.fail(`cannot move to offset ${offset}`);
    this.#offset = offset;
    return this;
  }

  skip(count: number): this {
    this.#take(count);
    return this;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), this.littleEndian);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), this.littleEndian);
  }

  s32(): number {
    return this.#view.getInt32(this.#take(4), this.littleEndian);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), this.littleEndian);
  }

  s64(): bigint {
    return this.#view.getBigInt64(this.#take(8), this.littleEndian);
  }

  /** A u64 that must be a size or offset; past 2^53 it throws, for no file is that long. */
  size64(): number {
    const at = this.#offset;
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) {
      this.#offset = at;
      this.fail(`the 64-bit size ${value} is past any file`);
    }
    return Number(value);
  }

  /** The next `count` bytes, as a view without copying. */
  take(count: number): Uint8Array {
    const at = this.#take(count);
    return this.bytes.subarray(at, at + count);
  }

  /** Throws unless `count` records of `size` bytes fit in what is left: call it before allocating for them. */
  ensure(count: number, size: number, field: string): void {
    if (!Number.isSafeInteger(count) || count < 0 || count * size > this.remaining) {
      this.fail(`${field} ${count} needs ${count * size} bytes, ${this.remaining} are left`);
    }
  }

  /** Throws a {@link FormatError} that names the structure and the current offset. */
  fail(why: string, field?: string): never {
    throw new FormatError({
      code: this.#options.code ?? 'E_TRUNCATED',
      what: `malformed ${this.#options.structure}`,
      where: { offset: (this.#options.base ?? 0) + this.#offset, ...(field === undefined ? {} : { field }) },
      why,
    });
  }

  #take(count: number): number {
    if (!Number.isSafeInteger(count) || count < 0 || count > this.bytes.length - this.#offset) {
      this.fail(`${count} bytes wanted, ${this.bytes.length - this.#offset} are left`);
    }
    const at = this.#offset;
    this.#offset = at + count;
    return at;
  }
}
