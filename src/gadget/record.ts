/**
 * One event where it lies: in the ring buffer, or, where it is shorter than its struct, in a zero-extended copy. One object
 * is reused for every event of a data source, so what it points at is valid only until the next one.
 */
export class EventRecord {
  /** View of the memory that holds the event. */
  view: DataView = emptyView;
  /** The same memory for Buffer's searches and slices. */
  bytes: Buffer = emptyBytes;
  /** First byte of the event in `view` and `bytes`. */
  offset = 0;
  /** Bytes that can be read at `offset`: at least the size of the struct. */
  length = 0;
  /** Bytes the event had when it came. */
  originalLength = 0;

  /** Size of the struct, in bytes. */
  readonly size: number;
  #scratch: Buffer = emptyBytes;
  #scratchView: DataView = emptyView;
  #scratchUsed = 0;
  // Two lenders alternate at most (the ring and the scratch copy): a Buffer over each is kept.
  #lentView: DataView = emptyView;
  #lentBytes: Buffer = emptyBytes;

  constructor(size: number) {
    this.size = size;
  }

  /** Points at the `length` bytes at `offset` of `view`. A shorter event than the struct is copied and extended with zeroes. */
  point(view: DataView, offset: number, length: number): this {
    if (view !== this.#lentView) {
      this.#lentView = view;
      this.#lentBytes = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
    }
    this.originalLength = length;
    if (length >= this.size) {
      // Stores of objects cost the garbage collector's write barrier: most events lie where the one before did.
      if (view !== this.view) {
        this.view = view;
        this.bytes = this.#lentBytes;
      }
      this.offset = offset;
      this.length = length;
      return this;
    }
    if (this.#scratch.length < this.size) {
      this.#scratch = Buffer.alloc(this.size);
      this.#scratchView = new DataView(this.#scratch.buffer, this.#scratch.byteOffset, this.size);
    }
    this.#lentBytes.copy(this.#scratch, 0, offset, offset + length);
    // Only what the event before has written past this one's end is not zero already.
    if (length < this.#scratchUsed) this.#scratch.fill(0, length, this.#scratchUsed);
    this.#scratchUsed = length;
    this.view = this.#scratchView;
    this.bytes = this.#scratch;
    this.offset = 0;
    this.length = this.size;
    return this;
  }

  /** Forgets the memory it points at: called before that is unmapped. */
  release(): void {
    this.view = this.#lentView = emptyView;
    this.bytes = this.#lentBytes = emptyBytes;
    this.offset = this.length = this.originalLength = 0;
  }
}

const emptyView: DataView = new DataView(new ArrayBuffer(0));
const emptyBytes: Buffer = Buffer.alloc(0);
