import { toHex } from '../bytes/text.ts';
import { fixedTextReader, readText } from '../btf/value/text.ts';
import type { EventRecord } from './record.ts';
import type { ArraySlot, PlacedSlot, RestSlot, ScalarSlot, Slot, StringsSlot, StructSlot, TimeSlot } from './slot.ts';
import { objectReader, type EventObject } from './tree.ts';
import { epochNanoseconds, formatEpoch } from './special/epoch.ts';
import type { EpochTime } from './context.ts';

/** A decoded value: u64 and wider are bigint, never a number; binary data is Uint8Array. */
export type EventValue = number | bigint | boolean | string | Uint8Array | readonly EventValue[] | EventObject;

type Reader<T> = (record: EventRecord, at: number) => T;

const moment: EpochTime = { seconds: 0, nanoseconds: 0 };

/** A reader of the slot's value; a nested struct (no slot) has its value from its fields. */
export function valueOf(slot: Slot | null): Reader<EventValue> {
  if (slot === null) return () => '';
  switch (slot.shape) {
    case 'scalar':
      return scalarValue(slot);
    case 'bits':
      return (record, at) => slot.reader.read(record.view, at) as EventValue;
    case 'chars': {
      const { offset, length } = slot;
      const read = fixedTextReader(length);
      return (record, at) => read(record.view, at + offset);
    }
    case 'placed':
      return (record, at) => placedText(slot, record, at);
    case 'blob': {
      const { offset, length } = slot;
      return (record, at) => Uint8Array.from(record.bytes.subarray(at + offset, at + offset + length));
    }
    case 'rest':
      return (record, at) => {
        const start = at + slot.offset;
        return Uint8Array.from(record.bytes.subarray(start, start + restLength(slot, record, at)));
      };
    case 'array':
      return arrayValue(slot);
    case 'struct':
      return structValue(slot);
    case 'strings':
      return slot.joined ? (record, at) => stringsOf(slot, record, at).join(' ') : (record, at) => stringsOf(slot, record, at);
    case 'time':
      if (slot.as === 'text') return textOf(slot);
      return (record, at) => {
        readTime(slot, record, at, moment);
        return epochNanoseconds(moment);
      };
    default:
      return (record, at) => slot.text(record, at);
  }
}

/** A reader of the value as people read it: numbers in decimal, binary data in hex, lists and structs as JSON. */
export function textOf(slot: Slot | null): Reader<string> {
  if (slot === null) return () => '';
  switch (slot.shape) {
    case 'chars': {
      const { offset, length } = slot;
      const read = fixedTextReader(length);
      return (record, at) => read(record.view, at + offset);
    }
    case 'placed':
      return (record, at) => placedText(slot, record, at);
    case 'text':
      return (record, at) => slot.text(record, at);
    case 'time':
      if (slot.as === 'number') break;
      return (record, at) => {
        readTime(slot, record, at, moment);
        return formatEpoch(moment);
      };
    default:
  }
  const value = valueOf(slot);
  if (slot.shape === 'scalar' && slot.kind === 'float32') return (record, at) => float32Text(value(record, at) as number);
  return (record, at) => plainText(value(record, at));
}

/** A reader of the value as a number; NaN for what is none. */
export function numberOf(slot: Slot | null): Reader<number> {
  if (slot === null) return () => Number.NaN;
  if (slot.shape === 'scalar' && (slot.kind === 'uint64' || slot.kind === 'int64')) return wideNumber(slot);
  const value = valueOf(slot);
  return (record, at) => {
    const got = value(record, at);
    return typeof got === 'number' ? got : typeof got === 'bigint' || typeof got === 'boolean' ? Number(got) : Number.NaN;
  };
}

/** A reader of the value as a bigint; 0 for what is no integer. */
export function wideOf(slot: Slot | null): Reader<bigint> {
  if (slot === null) return () => 0n;
  const value = valueOf(slot);
  return (record, at) => {
    const got = value(record, at);
    if (typeof got === 'bigint') return got;
    return typeof got === 'boolean' || (typeof got === 'number' && Number.isInteger(got)) ? BigInt(got) : 0n;
  };
}

/** The moment a time slot tells. */
export function readTime(slot: TimeSlot, record: EventRecord, at: number, into: EpochTime): void {
  const place = at + slot.offset;
  slot.clock.toEpoch(record.view.getUint32(place + 4, true), record.view.getUint32(place, true), into);
}

/** Where a placed slot's text starts and, through {@link placedLength}, how long it is: never past the event's end. */
export function placedStart(slot: PlacedSlot, record: EventRecord, at: number): number {
  return record.offset + Math.min(record.view.getUint16(at + slot.offset, true), record.length);
}

/** Bytes of a placed slot's text that are there. */
export function placedLength(slot: PlacedSlot, record: EventRecord, at: number): number {
  const offset = record.view.getUint16(at + slot.offset, true);
  return Math.max(0, Math.min(record.view.getUint16(at + slot.offset + 2, true), record.length - offset));
}

function placedText(slot: PlacedSlot, record: EventRecord, at: number): string {
  return readText(record.view, placedStart(slot, record, at), placedLength(slot, record, at));
}

/** Bytes that a rest slot has in this event. */
export function restLength(slot: RestSlot, record: EventRecord, at: number): number {
  const there = Math.max(0, record.length - (at - record.offset) - slot.offset);
  return slot.used === null ? there : Math.min(there, slot.used(record, at));
}

/** Bytes that a strings slot has in this event: trailing NULs are counted only where a length says so. */
export function stringsLength(slot: StringsSlot, record: EventRecord, at: number): number {
  if (slot.used !== null) return Math.max(0, Math.min(slot.length, slot.used(record, at)));
  const start = at + slot.offset;
  let end = slot.length;
  while (end > 0 && record.bytes[start + end - 1] === 0) end--;
  // The NUL that ends the last string belongs to it.
  return end === 0 ? 0 : Math.min(end + 1, slot.length);
}

/** The strings of a strings slot; one that lost its end is the last. */
export function stringsOf(slot: StringsSlot, record: EventRecord, at: number): string[] {
  const limit = slot.count === null ? Number.POSITIVE_INFINITY : slot.count(record, at);
  let start = at + slot.offset;
  const end = start + stringsLength(slot, record, at);
  const strings: string[] = [];
  while (start < end && strings.length < limit) {
    const text = readText(record.view, start, end - start);
    strings.push(text);
    const nul = record.bytes.indexOf(0, start);
    if (nul < 0) break;
    start = nul + 1;
  }
  return strings;
}

/** The shortest decimal that gives the same 32-bit float. */
export function float32Text(value: number): string {
  for (let digits = 1; digits <= 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(value);
}

/** A value as one line of text: text itself, bytes in hex, lists and objects as JSON. */
export function plainText(value: EventValue): string {
  if (typeof value === 'string') return value;
  if (value instanceof Uint8Array) return toHex(value);
  return typeof value === 'object' ? jsonText(value) : String(value);
}

function jsonText(value: EventValue): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (value instanceof Uint8Array) return JSON.stringify(toHex(value));
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : 'null';
  if (typeof value !== 'object') return String(value);
  if (isList(value)) return `[${value.map(jsonText).join(',')}]`;
  return `{${Object.entries(value)
    .map(([name, part]) => `${JSON.stringify(name)}:${jsonText(part)}`)
    .join(',')}}`;
}

function isList(value: EventValue): value is readonly EventValue[] {
  return Array.isArray(value);
}

function scalarValue({ kind, offset }: ScalarSlot): Reader<EventValue> {
  switch (kind) {
    case 'bool':
      return ({ view }, at) => view.getUint8(at + offset) !== 0;
    case 'int8':
      return ({ view }, at) => view.getInt8(at + offset);
    case 'int16':
      return ({ view }, at) => view.getInt16(at + offset, true);
    case 'int32':
      return ({ view }, at) => view.getInt32(at + offset, true);
    case 'int64':
      return ({ view }, at) => view.getBigInt64(at + offset, true);
    case 'int128':
      return ({ view }, at) => (view.getBigInt64(at + offset + 8, true) << 64n) | view.getBigUint64(at + offset, true);
    case 'uint8':
      return ({ view }, at) => view.getUint8(at + offset);
    case 'uint16':
      return ({ view }, at) => view.getUint16(at + offset, true);
    case 'uint32':
      return ({ view }, at) => view.getUint32(at + offset, true);
    case 'uint64':
      return ({ view }, at) => view.getBigUint64(at + offset, true);
    case 'uint128':
      return ({ view }, at) => (view.getBigUint64(at + offset + 8, true) << 64n) | view.getBigUint64(at + offset, true);
    case 'float32':
      return ({ view }, at) => view.getFloat32(at + offset, true);
    default:
      return ({ view }, at) => view.getFloat64(at + offset, true);
  }
}

/** A 64-bit integer as the nearest double, without a bigint in between: both products are exact, the sum is rounded once. */
function wideNumber({ kind, offset }: ScalarSlot): Reader<number> {
  if (kind === 'uint64') return ({ view }, at) => view.getUint32(at + offset + 4, true) * 4294967296 + view.getUint32(at + offset, true);
  return ({ view }, at) => view.getInt32(at + offset + 4, true) * 4294967296 + view.getUint32(at + offset, true);
}

function arrayValue({ offset, count, stride, element }: ArraySlot): Reader<EventValue> {
  const read = valueOf(element);
  return (record, at) => {
    const values: EventValue[] = [];
    for (let i = 0, place = at + offset; i < count; i++, place += stride) values.push(read(record, place));
    return values;
  };
}

function structValue({ offset, fields }: StructSlot): Reader<EventValue> {
  const read = objectReader(fields);
  return (record, at) => read(record, at + offset);
}
