import type { EventRecord } from './record.ts';

/** Records of one size, one behind the other: what an iterator's run gave. Every record is shown through the same object. */
export class RecordList {
  readonly bytes: Uint8Array;
  readonly stride: number;
  readonly length: number;
  readonly #view: DataView;
  readonly #record: EventRecord;
  readonly #order: Uint32Array | null;

  /** `order` gives the places of the records to show, in their order; all as they lie unless given. */
  constructor(bytes: Uint8Array, stride: number, record: EventRecord, order: Uint32Array | null = null) {
    this.bytes = bytes;
    this.stride = stride;
    this.#order = order;
    this.length = order?.length ?? (stride === 0 ? 0 : Math.floor(bytes.length / stride));
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#record = record;
  }

  /** Points the shared record at the one with this index. */
  at(index: number): EventRecord {
    return this.#record.point(this.#view, this.#placeOf(index) * this.stride, this.stride);
  }

  /** The records with these indexes, in this order. */
  pick(indexes: ArrayLike<number>): RecordList {
    // A loop: Uint32Array.from() takes ten times as long.
    const order = new Uint32Array(indexes.length);
    for (let i = 0; i < indexes.length; i++) order[i] = this.#placeOf(indexes[i] as number);
    return new RecordList(this.bytes, this.stride, this.#record, order);
  }

  #placeOf(index: number): number {
    return this.#order === null ? index : (this.#order[index] as number);
  }

  // By hand: a generator is suspended and resumed for each record.
  [Symbol.iterator](): IterableIterator<EventRecord> {
    let next = 0;
    const iterator: IterableIterator<EventRecord> = {
      next: () => (next < this.length ? { value: this.at(next++), done: false } : { value: undefined, done: true }),
      [Symbol.iterator]: () => iterator,
    };
    return iterator;
  }
}
