import type { Btf } from '../btf.ts';
import { membersOf, ReaderBuilder, setOwn, type ReadOptions, type ValueReader } from './reader.ts';
import { resolveType, sizeOfType } from './resolve.ts';

/** Turns the bytes of one type into a value; made once by {@link buildDecoder}, used for every record. */
export interface Decoder {
  readonly typeId: number;
  /** sizeof the type, in bytes, without a flexible array at its end. */
  readonly size: number;
  /** Reads whole records without looking at their length. */
  readonly reader: ValueReader;
  /**
   * Decodes the record of `length` bytes at `offset`; what the type has past `length` reads as zero, and a flexible array at
   * the end of a struct takes what `length` has past the struct. Never throws.
   */
  read(view: DataView, offset: number, length: number): unknown;
}

/**
 * Builds the decoder of a type.
 *
 * The shapes: integers up to 32 bits and floats are numbers, wider integers and pointers bigints, enums numbers (ENUM64:
 * bigints), `char[]` text up to the first NUL, `unsigned char[]` Uint8Array, other arrays arrays, structs and unions plain
 * objects with anonymous members inlined (read own properties only: member names are the object's); void and declared-only types null; `long double` Uint8Array.
 *
 * Throws FormatError (`E_BTF_...`) for a type that contradicts itself. Layouts are those of a little-endian target.
 *
 * @example
 * import { buildDecoder, type Btf } from 'rawbpf/btf';
 * export function decodeAll(btf: Btf, name: string, records: readonly Uint8Array[]): unknown[] {
 *   const decoder = buildDecoder(btf, btf.findByName(name, 'STRUCT') ?? 0);
 *   return records.map((bytes) => decoder.read(new DataView(bytes.buffer, bytes.byteOffset), 0, bytes.length));
 * }
 */
export function buildDecoder(btf: Btf, typeId: number, options: ReadOptions = {}): Decoder {
  const builder = new ReaderBuilder(btf, options);
  const reader = builder.reader(typeId);
  const size = sizeOfType(btf, typeId);
  const complete = completeView(size);
  const tail = flexibleTail(btf, typeId, builder);
  const readWhole = (view: DataView, offset: number, length: number): unknown => {
    const there = Math.min(length, view.byteLength - offset);
    if (there >= size) return reader.read(view, offset);
    return reader.read(complete(view, offset, there), 0);
  };
  if (tail === null) return { typeId, size, reader, read: readWhole };
  return {
    typeId,
    size,
    reader,
    read(view, offset, length) {
      const value = readWhole(view, offset, length) as Record<string, unknown>;
      const there = Math.min(length, view.byteLength - offset);
      if (there > tail.offset) setOwn(value, tail.name, tail.read(view, offset + tail.offset, there - tail.offset));
      return value;
    },
  };
}

/**
 * Makes a function that copies the `length` bytes at `offset` into a zeroed scratch view of `size` bytes: what a reader that
 * expects a whole record is given for a short one. The view is reused by the next call.
 */
export function completeView(size: number): (view: DataView, offset: number, length: number) => DataView {
  let scratch: Uint8Array | null = null;
  let whole: DataView = new DataView(new ArrayBuffer(0));
  return (view, offset, length) => {
    if (scratch === null) {
      scratch = new Uint8Array(size);
      whole = new DataView(scratch.buffer);
    }
    const count = Math.max(0, Math.min(length, size, view.byteLength - offset));
    scratch.fill(0, count);
    if (count > 0) scratch.set(new Uint8Array(view.buffer, view.byteOffset + offset, count));
    return whole;
  };
}

interface FlexibleTail {
  readonly name: string;
  readonly offset: number;
  read(view: DataView, offset: number, length: number): unknown;
}

function flexibleTail(btf: Btf, typeId: number, builder: ReaderBuilder): FlexibleTail | null {
  const last = membersOf(btf, resolveType(btf, typeId)).at(-1);
  if (last === undefined || last.type.kind !== 'ARRAY' || last.type.count !== 0) return null;
  const array = last.type;
  const elementSize = sizeOfType(btf, array.typeId);
  if (elementSize === 0) return null;
  const { name, place } = last;
  // Readers of text and bytes are made for a length; lengths repeat, so the few last ones are kept.
  const readers = new Map<number, ValueReader>();
  return {
    name,
    offset: place.offset,
    read(view, offset, length) {
      const count = Math.floor(length / elementSize);
      let reader = readers.get(count);
      if (reader === undefined) {
        if (readers.size >= 64) readers.clear();
        reader = builder.arrayReader(array, count);
        readers.set(count, reader);
      }
      return reader.read(view, offset);
    },
  };
}
