/**
 * Reads a record in place: `length` bytes of `view` from `offset`. The memory is the kernel's: it must not be written
 * (a write kills the process) nor kept after the call.
 */
export type UnsafeVisitor = (view: DataView, offset: number, length: number) => void;

/**
 * Reads records in place, many at once: record `i < count` is the `lengths[i]` bytes of `view` from `offsets[i]`. The two
 * arrays are used again, and the memory is the kernel's, as for {@link UnsafeVisitor}.
 */
export type UnsafeBlockVisitor = (view: DataView, offsets: Uint32Array, lengths: Int32Array, count: number) => void;

/** Who takes records: one by one, or a block at a time. */
export type Taker = { readonly each: UnsafeVisitor } | { readonly block: UnsafeBlockVisitor };

/** Most records of a block. */
export const blockRecords = 1024;

/**
 * Records that a reader has found and not yet given back to the kernel. Finding them in one small loop and handing them
 * over in another is what lets the JIT keep both in registers.
 */
export class RecordBlock {
  readonly offsets: Uint32Array = new Uint32Array(blockRecords);
  readonly lengths: Int32Array = new Int32Array(blockRecords);
  /** Records found. */
  count = 0;
  /** Of those, records that have been handed over. */
  given = 0;
  /** Set by whoever stops, pauses or closes the reader from within: the record at hand is the last. */
  halted = false;

  /** Bytes of the records that have been handed over. */
  get givenBytes(): number {
    let bytes = 0;
    for (let i = 0; i < this.given; i++) bytes += this.lengths[i] as number;
    return bytes;
  }

  clear(): void {
    this.count = this.given = 0;
  }

  /**
   * Hands the records over; one by one until `deadline` has passed, a moment of performance.now(). A record counts as given
   * from before its callback, which may throw.
   */
  give(view: DataView, taker: Taker, deadline: number): void {
    const { offsets, lengths, count } = this;
    if ('block' in taker) {
      this.given = count;
      taker.block(view, offsets, lengths, count);
      return;
    }
    const visit = taker.each;
    // Callbacks may take long: the clock is looked at after one record, after two, four and so on, and then every 128.
    let look = deadline === Number.POSITIVE_INFINITY ? 0 : 1;
    for (let i = 0; i < count;) {
      const offset = offsets[i] as number;
      const length = lengths[i] as number;
      this.given = ++i;
      visit(view, offset, length);
      if (this.halted) return;
      if (i !== look) continue;
      if (performance.now() >= deadline) return;
      look += Math.min(look, 128);
    }
  }
}
