import type { ValueReader } from '../btf/value/index.ts';
import type { EventRecord } from './record.ts';
import type { Field } from './field.ts';
import type { BootClock } from './context.ts';

/** Kinds of a single value, as metadata and filters name them. */
export type ScalarKind =
  | 'bool'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'int128'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'uint128'
  | 'float32'
  | 'float64';

/** A number, boolean or wide integer that fills its bytes. */
export interface ScalarSlot {
  readonly shape: 'scalar';
  readonly kind: ScalarKind;
  readonly offset: number;
}
/** A bitfield, or a number in a form that only its reader knows. */
export interface BitsSlot {
  readonly shape: 'bits';
  readonly kind: ScalarKind;
  readonly reader: ValueReader;
  /** As that of {@link TextSlot}. */
  readonly key?: (record: EventRecord, at: number) => number;
}
/** An array of `char`: text up to the first NUL. */
export interface CharsSlot {
  readonly shape: 'chars';
  readonly offset: number;
  readonly length: number;
}
/** Text anywhere in the event: 32 bits say where, the low half the offset from its start, the high half the length. */
export interface PlacedSlot {
  readonly shape: 'placed';
  /** Of those 32 bits. */
  readonly offset: number;
}
/** Bytes without a meaning of their own. */
export interface BlobSlot {
  readonly shape: 'blob';
  readonly offset: number;
  readonly length: number;
}
/** What follows the struct in a longer event. */
export interface RestSlot {
  readonly shape: 'rest';
  readonly offset: number;
  /** How many of those bytes count; all where null. */
  readonly used: ((record: EventRecord, at: number) => number) | null;
}
/** An array; the element's offsets count from the element. */
export interface ArraySlot {
  readonly shape: 'array';
  readonly offset: number;
  readonly count: number;
  readonly stride: number;
  readonly element: Slot;
}
/** A struct within an array; its fields' offsets count from the struct. */
export interface StructSlot {
  readonly shape: 'struct';
  readonly offset: number;
  readonly fields: readonly Field[];
}
/** Bytes that hold NUL-terminated strings one after the other: a list, or one text joined by spaces. */
export interface StringsSlot {
  readonly shape: 'strings';
  readonly offset: number;
  readonly length: number;
  readonly joined: boolean;
  /** How many of the bytes count; up to the last that is not NUL where null. */
  readonly used: ((record: EventRecord, at: number) => number) | null;
  /** How many strings there are; as many as the bytes hold where null. */
  readonly count: ((record: EventRecord, at: number) => number) | null;
}
/** Nanoseconds since boot in the event, since the epoch for the reader: as a number or as text. */
export interface TimeSlot {
  readonly shape: 'time';
  readonly as: 'number' | 'text';
  readonly offset: number;
  readonly clock: BootClock;
}
/** Text made from the event. */
export interface TextSlot {
  readonly shape: 'text';
  text(record: EventRecord, at: number): string;
  /** Whether few different texts come again and again, so that keeping their encoded form pays. */
  readonly repeats: boolean;
  /** The number that the text is made of alone, where there is one: equal numbers have equal texts. Fields with the same function share it. */
  readonly key?: (record: EventRecord, at: number) => number;
}

/** How to get a field's value out of an event. */
export type Slot =
  | ScalarSlot
  | BitsSlot
  | CharsSlot
  | PlacedSlot
  | BlobSlot
  | RestSlot
  | ArraySlot
  | StructSlot
  | StringsSlot
  | TimeSlot
  | TextSlot;
