import { UsageError } from '../error.ts';
import { printable } from '../bytes/printable.ts';
import { blockRecords } from '../bpf/events/record-block.ts';
import { readText } from '../btf/value/text.ts';
import type { DataSource } from './data-source.ts';
import type { Field } from './field.ts';
import { plainText, type EventValue } from './read.ts';
import type { EventRecord } from './record.ts';
import type { ScalarKind, Slot } from './slot.ts';

/** The values of a column: a typed array where the event has the value as it is, else decoded values. */
export type ColumnValues =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array
  | EventValue[];

/** One field of many events. */
export interface Column {
  readonly field: Field;
  /** Event `i` has the `width` elements from `i * width`. */
  readonly values: ColumnValues;
  /** Elements of an event: 1, for text and bytes their length, for an array its count. */
  readonly width: number;
  /** The value of event `i` as people read it; text up to its NUL. */
  text(i: number): string;
}

/** Room for more is no batch: 128 MiB for a column of 64 bits. */
const maxCapacity = 2 ** 24;

/** What {@link ColumnBatch} holds. */
export interface ColumnOptions {
  /** Fields by name; those the event has as they are (numbers, text, bytes, arrays of numbers) unless given. */
  readonly fields?: readonly string[];
  /** Events it has room for, from 1024 (what a block may have, and what it is unless given) to 2^24. */
  readonly capacity?: number;
}

/** Copies a field of events `first` to `last` of a block to the places from `into`. */
type Fill = (view: DataView, offsets: Uint32Array, first: number, last: number, into: number) => void;

interface Filled extends Column {
  /** Null where the values are decoded one by one. */
  readonly fill: Fill | null;
  /** Where the values are copied to, and what of an event. */
  readonly buffer: ArrayBuffer;
  readonly bytes: number;
  readonly offset: number;
}

/**
 * Events as columns, one array a field: the cheapest form to count, sum and filter many of them in, and one that can be handed
 * to a worker or a data frame as it is. The arrays are used again for the next batch.
 *
 * @example
 * import { ColumnBatch, type DataSource, type RingbufReader } from 'rawbpf';
 * function total(reader: RingbufReader, source: DataSource): void {
 *   const batch = new ColumnBatch(source, { fields: ['bytes'] });
 *   const { values } = batch.column('bytes');
 *   reader.startBlocksUnsafe((view, offsets, lengths, count) => {
 *     batch.read(view, offsets, lengths, count);
 *     let sum = 0;
 *     for (let i = 0; i < batch.length; i++) sum += Number(values[i]);
 *     console.log(sum);
 *   });
 * }
 */
export class ColumnBatch {
  readonly source: DataSource;
  readonly columns: readonly Column[];
  readonly capacity: number;
  /** Events in the arrays. */
  length = 0;
  readonly #filled: readonly Filled[];
  /** All plain columns at once. */
  readonly #fillAll: Fill | null;
  readonly #record: EventRecord;
  readonly #one = new Uint32Array(1);

  /** Throws UsageError `E_FIELD` for a field that the data source does not have, `E_CAPACITY` for a capacity out of its range. */
  constructor(source: DataSource, options: ColumnOptions = {}) {
    this.source = source;
    this.capacity = options.capacity ?? blockRecords;
    if (!Number.isInteger(this.capacity) || this.capacity < blockRecords || this.capacity > maxCapacity) {
      throw new UsageError({
        code: 'E_CAPACITY',
        what: `the capacity of a batch must be a whole number from ${blockRecords} to ${maxCapacity}`,
        where: { capacity: this.capacity },
      });
    }
    const fields = options.fields?.map((name) => source.field(name)) ?? source.fields.filter((field) => isPlain(field.slot));
    this.#filled = fields.map((field) => makeColumn(field, this.capacity));
    this.columns = this.#filled;
    this.#fillAll = compileFill(this.#filled.filter(({ fill }) => fill !== null));
    this.#record = source.makeRecord();
  }

  /** The column of a field; throws UsageError `E_FIELD` where the batch does not have it. */
  column(name: string): Column {
    const field = this.source.field(name);
    const column = this.columns.find((candidate) => candidate.field === field);
    if (column !== undefined) return column;
    throw new UsageError({ code: 'E_FIELD', what: `the batch has no column ${printable(name)}`, next: 'name it in the option fields' });
  }

  /** Replaces what is in the arrays by a block of at most 1024 records: for {@link EventSource.startBlocksUnsafe}. */
  read(view: DataView, offsets: Uint32Array, lengths: Int32Array, count: number): this {
    const { size } = this.source;
    let shortest = size;
    for (let i = 0; i < count; i++) if ((lengths[i] as number) < shortest) shortest = lengths[i] as number;
    this.length = 0;
    if (shortest < size) {
      for (let i = 0; i < count; i++) this.add(this.#record.point(view, offsets[i] as number, lengths[i] as number));
      return this;
    }
    if (this.#fillAll !== null) this.#fillAll(view, offsets, 0, count, 0);
    for (const { fill, field, values } of this.#filled) {
      if (fill !== null) {
        if (this.#fillAll === null) fill(view, offsets, 0, count, 0);
      } else {
        for (let i = 0; i < count; i++) {
          const record = this.#record.point(view, offsets[i] as number, lengths[i] as number);
          values[i] = field.value(record, record.offset);
        }
      }
    }
    this.length = count;
    return this;
  }

  /** Adds one event, from an {@link EventSink}; returns false once there is no room for another: clear() it then. */
  add(record: EventRecord): boolean {
    const i = this.length;
    if (i >= this.capacity) {
      throw new UsageError({ code: 'E_BATCH_FULL', what: 'the batch is full', where: { capacity: this.capacity }, next: 'clear() it' });
    }
    this.#one[0] = record.offset;
    for (const { fill, field, values } of this.#filled) {
      if (fill !== null) fill(record.view, this.#one, 0, 1, i);
      else values[i] = field.value(record, record.offset);
    }
    this.length = i + 1;
    return this.length < this.capacity;
  }

  clear(): void {
    this.length = 0;
  }
}

const arrays = {
  bool: Uint8Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  float32: Float32Array,
  float64: Float64Array,
} as const;

type PlainKind = keyof typeof arrays;

function plainKind(kind: ScalarKind): PlainKind | null {
  return kind in arrays ? (kind as PlainKind) : null;
}

function isPlain(slot: Slot | null): boolean {
  return slot !== null && shapeOf(slot) !== null;
}

interface PlainShape {
  readonly kind: PlainKind;
  readonly offset: number;
  readonly width: number;
}

function shapeOf(slot: Slot): PlainShape | null {
  if (slot.shape === 'chars' || slot.shape === 'blob') return { kind: 'uint8', offset: slot.offset, width: slot.length };
  const element = slot.shape === 'array' ? slot.element : slot;
  if (element.shape !== 'scalar') return null;
  const kind = plainKind(element.kind);
  if (kind === null) return null;
  if (slot.shape !== 'array') return { kind, offset: element.offset, width: 1 };
  if (slot.stride !== arrays[kind].BYTES_PER_ELEMENT) return null;
  return { kind, offset: slot.offset + element.offset, width: slot.count };
}

function makeColumn(field: Field, capacity: number): Filled {
  const shape = field.slot === null ? null : shapeOf(field.slot);
  if (shape === null) {
    const values: EventValue[] = [];
    const text = (i: number): string => plainText(values[i] ?? '');
    return { field, values, width: 1, fill: null, buffer: new ArrayBuffer(0), bytes: 0, offset: 0, text };
  }
  const { kind, offset, width } = shape;
  const bytes = arrays[kind].BYTES_PER_ELEMENT * width;
  // Whole words, for they are copied by words.
  const buffer = new ArrayBuffer(Math.ceil((capacity * bytes) / 8) * 8);
  const values = new arrays[kind](buffer, 0, capacity * width);
  const view = new DataView(buffer);
  const isText = field.slot?.shape === 'chars';
  return {
    field,
    values,
    width,
    fill: filler(buffer, bytes, offset),
    buffer,
    bytes,
    offset,
    text: (i) => (isText ? readText(view, i * width, width) : [...values.subarray(i * width, (i + 1) * width)].join(',')),
  };
}

/** A loop for each size that values have: the JIT then knows all it needs. Eight bytes go as two words: no bigint is made of them. */
function filler(buffer: ArrayBuffer, bytes: number, offset: number): Fill {
  if (bytes === 8) {
    const to = new Int32Array(buffer);
    return (view, offsets, first, last, into) => {
      for (let i = first, at = into * 2; i < last; i++, at += 2) {
        const from = (offsets[i] as number) + offset;
        to[at] = view.getInt32(from, true);
        to[at + 1] = view.getInt32(from + 4, true);
      }
    };
  }
  if (bytes === 4) {
    const to = new Int32Array(buffer);
    return (view, offsets, first, last, into) => {
      for (let i = first, at = into; i < last; i++, at++) to[at] = view.getInt32((offsets[i] as number) + offset, true);
    };
  }
  if (bytes % 4 === 0) {
    const to = new Int32Array(buffer);
    const words = bytes >> 2;
    return (view, offsets, first, last, into) => {
      for (let i = first, at = into * words; i < last; i++) {
        const from = (offsets[i] as number) + offset;
        for (let word = 0; word < words; word++) to[at++] = view.getInt32(from + word * 4, true);
      }
    };
  }
  const to = new Uint8Array(buffer);
  return (view, offsets, first, last, into) => {
    for (let i = first, at = into * bytes; i < last; i++) {
      const from = (offsets[i] as number) + offset;
      for (let byte = 0; byte < bytes; byte++) to[at++] = view.getUint8(from + byte);
    }
  };
}

/** Most words of an event that the generated loop copies. */
const maxWords = 128;

/**
 * Generates the loop that copies all plain columns of an event after each other: its code consists of the text here and of
 * numbers. Null where code cannot be generated, or where an event is too large for it to pay.
 */
function compileFill(columns: readonly Filled[]): Fill | null {
  const copies: string[] = [];
  const declared = columns.map(({ bytes, offset }, n) => {
    const place = (at: number): string => `from + ${Math.trunc(offset + at)}`;
    // Eight bytes go as two words: no bigint is made of them.
    const size = bytes % 4 === 0 ? 4 : 1;
    const index = (word: number): string => (bytes === size ? 'at' : `at * ${bytes / size} + ${word}`);
    for (let word = 0; word * size < bytes; word++) {
      const read = size === 4 ? `getInt32(${place(word * 4)}, true)` : `getUint8(${place(word)})`;
      copies.push(`    to${n}[${index(word)}] = view.${read};\n`);
    }
    return `const to${n} = new ${size === 4 ? 'Int32Array' : 'Uint8Array'}(buffers[${n}]);\n`;
  });
  if (copies.length === 0 || copies.length > maxWords) return null;
  const code = `'use strict';
${declared.join('')}return (view, offsets, first, last, into) => {
  for (let i = first, at = into; i < last; i++, at++) {
    const from = offsets[i];
${copies.join('')}  }
};`;
  try {
    // oxlint-disable-next-line typescript/no-implied-eval
    const make = new Function('buffers', code) as (buffers: readonly ArrayBuffer[]) => Fill;
    return make(columns.map(({ buffer }) => buffer));
  } catch (error) {
    if (error instanceof EvalError) return null;
    throw error;
  }
}
