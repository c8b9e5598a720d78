import { UsageError } from '../../error.ts';

/**
 * A record lent for the time of a callback: it is read where the kernel wrote it, and nothing can be written.
 * Offsets count from the start of the record; a read past its end, or once the callbacks of its turn are over, throws a {@link UsageError}.
 */
export class RecordCursor {
  #view: DataView;
  /** All bytes of the view: a slice of it is the cheapest copy. */
  #bytes: Uint8Array;
  #start = 0;
  #length = 0;

  constructor(view: DataView) {
    this.#view = view;
    this.#bytes = bytesOf(view);
  }

  /** Bytes of the record; 0 once it is no longer lent. */
  get length(): number {
    return this.#length;
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#at(offset, 1));
  }

  u16(offset: number): number {
    return this.#view.getUint16(this.#at(offset, 2), true);
  }

  u32(offset: number): number {
    return this.#view.getUint32(this.#at(offset, 4), true);
  }

  s32(offset: number): number {
    return this.#view.getInt32(this.#at(offset, 4), true);
  }

  u64(offset: number): bigint {
    return this.#view.getBigUint64(this.#at(offset, 8), true);
  }

  s64(offset: number): bigint {
    return this.#view.getBigInt64(this.#at(offset, 8), true);
  }

  f64(offset: number): number {
    return this.#view.getFloat64(this.#at(offset, 8), true);
  }

  /** A copy of `length` bytes (to the end unless said). */
  bytesCopy(offset: number = 0, length: number = this.#length - offset): Uint8Array {
    const at = this.#at(offset, length);
    return this.#bytes.slice(at, at + length);
  }

  /** Copies `target.length` bytes into memory of the caller's. */
  copyTo(target: Uint8Array, offset: number = 0): void {
    const at = this.#at(offset, target.length);
    target.set(this.#bytes.subarray(at, at + target.length));
  }

  /** For the reader that lends it: moves to a record. */
  lend(view: DataView, start: number, length: number): this {
    if (this.#view !== view) {
      this.#view = view;
      this.#bytes = bytesOf(view);
    }
    this.#start = start;
    this.#length = length;
    return this;
  }

  /** For the reader that lends it: the record is no longer there. */
  expire(): void {
    this.#length = 0;
  }

  #at(offset: number, size: number): number {
    if (!(offset >= 0 && size >= 0 && offset + size <= this.#length)) this.#outside(offset, size);
    return this.#start + offset;
  }

  #outside(offset: number, size: number): never {
    throw new UsageError({
      code: 'E_RECORD_RANGE',
      what: 'a read outside the record',
      where: { offset, size, length: this.#length },
      why: this.#length === 0 ? 'a record is lent for the time of its callback only' : 'it ends before',
      next: 'take a copy with bytesCopy() to keep it',
    });
  }
}

function bytesOf(view: DataView): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
