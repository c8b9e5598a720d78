import type { EventRecord } from './record.ts';

/** Records of one size, one behind the other: what an iterator's run gave. Every record is shown through the same object. */
export class RecordList {
  readonly bytes: Uint8Array;
  readonly stride: number;
  readonly length: number;
  readonly #view: DataView;
  readonly #record: EventRecord;

  constructor(bytes: Uint8Array, stride: number, record: EventRecord) {
    this.bytes = bytes;
    this.stride = stride;
    this.length = stride === 0 ? 0 : Math.floor(bytes.length / stride);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#record = record;
  }

  /** Points the shared record at the one with this index. */
  at(index: number): EventRecord {
    return this.#record.point(this.#view, index * this.stride, this.stride);
  }

  *[Symbol.iterator](): Generator<EventRecord> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}
