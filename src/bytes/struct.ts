import { UsageError } from '../error.ts';
import { plainBytes } from './plain.ts';
import { toUtf8 } from './text.ts';

/** Scalar C types a {@link StructLayout} can hold; `ptr` is a u64 that holds the address of the buffer given. */
export type ScalarType = 'u8' | 'u16' | 'u32' | 's32' | 'u64' | 's64' | 'ptr';
/** A field's type: a scalar, or an array such as `char[16]`, `u8[20]`, `u32[4]`. */
export type FieldType = ScalarType | `char[${number}]` | `u8[${number}]` | `u32[${number}]`;
/** One row of a layout table: the kernel's field name, its type and, where natural alignment is not meant, its offset. */
export type FieldRow = readonly [name: string, type: FieldType, offset?: number];

/** What a field may be set to; u64 and s64 take a bigint or an exact number, `ptr` a buffer (or an address). */
export type FieldValue = number | bigint | string | Uint8Array | readonly number[] | null;
export type StructValues = Readonly<Record<string, FieldValue | undefined>>;
/** Gives the address of a buffer; the sys layer's backend has one. */
export type AddressOf = (bytes: Uint8Array) => bigint;

/** One placed field. */
export interface StructField {
  readonly name: string;
  readonly type: FieldType;
  readonly offset: number;
  readonly size: number;
}

const scalarSizes: Readonly<Record<ScalarType, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, s64: 8, ptr: 8 };
const arrayPattern = /^(char|u8|u32)\[(\d+)\]$/;

/**
 * The layout of one kernel struct, as a table with the kernel's own field names; it encodes, decodes and describes.
 *
 * @example
 * import { struct } from 'rawbpf/elf';
 * const timespec = struct('timespec64', [['tv_sec', 's64'], ['tv_nsec', 's64']]);
 * console.log(timespec.size, timespec.decode(timespec.encode({ tv_sec: 1n })).tv_sec); // 16 1n
 */
export class StructLayout {
  readonly name: string;
  readonly fields: readonly StructField[];
  /** Bytes, without tail padding. */
  readonly size: number;
  readonly #byName = new Map<string, StructField>();

  constructor(name: string, rows: readonly FieldRow[]) {
    this.name = name;
    const fields: StructField[] = [];
    let end = 0;
    for (const [field, type, at] of rows) {
      const [size, align] = sizeOf(type);
      const offset = at ?? Math.ceil(end / align) * align;
      const placed = { name: field, type, offset, size };
      fields.push(placed);
      this.#byName.set(field, placed);
      end = Math.max(end, offset + size);
    }
    this.fields = fields;
    this.size = end;
  }

  field(name: string): StructField {
    const field = this.#byName.get(name);
    if (field === undefined) throw new UsageError({ code: 'E_STRUCT_FIELD', what: `struct ${this.name} has no field ${name}` });
    return field;
  }

  /**
   * Encodes values in little or big endian (this machine's is little); fields left out are zero.
   * `ptr` fields that are given a Uint8Array need `addressOf`.
   */
  encode(values: StructValues, addressOf?: AddressOf, into: Uint8Array = new Uint8Array(this.size)): Uint8Array {
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength);
    for (const [name, value] of Object.entries(values)) {
      if (value !== undefined) encodeField(this, view, this.field(name), value, addressOf);
    }
    return into;
  }

  /** Decodes every field that lies within `bytes`; u64, s64 and ptr are bigint, the rest number, arrays Uint8Array or number[]. */
  decode(bytes: Uint8Array): Record<string, bigint | number | Uint8Array | number[]> {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const values: Record<string, bigint | number | Uint8Array | number[]> = Object.create(null);
    for (const field of this.fields) {
      if (field.offset + field.size <= bytes.length) values[field.name] = decodeField(view, bytes, field);
    }
    return values;
  }
}

/** Makes a {@link StructLayout}; fields are placed by natural alignment unless a row gives an offset (unions do). */
export function struct(name: string, rows: readonly FieldRow[]): StructLayout {
  return new StructLayout(name, rows);
}

function sizeOf(type: FieldType): [size: number, align: number] {
  const array = arrayPattern.exec(type);
  if (array === null) {
    const size = scalarSizes[type as ScalarType];
    return [size, size];
  }
  const unit = array[1] === 'u32' ? 4 : 1;
  return [unit * Number(array[2]), unit];
}

function encodeField(layout: StructLayout, view: DataView, field: StructField, value: FieldValue, addressOf: AddressOf | undefined): void {
  const at = field.offset;
  // Most values are of this kind: without a detour over bigint.
  if (field.type === 'u32' && typeof value === 'number' && value >>> 0 === value) {
    view.setUint32(at, value, true);
    return;
  }
  const bad = (why: string): never => {
    throw new UsageError({ code: 'E_STRUCT_VALUE', what: `cannot encode ${layout.name}`, where: { field: field.name }, why });
  };
  if (typeof value === 'number' || typeof value === 'bigint') {
    if (typeof value === 'number' && !Number.isSafeInteger(value)) bad(`${value} is not an exact integer`);
    const wide = BigInt(value);
    const bits = BigInt(field.size * 8);
    if (wide >= 1n << bits || wide < -(1n << (bits - 1n))) bad(`${value} does not fit in ${field.type}`);
    if (field.size === 8) view.setBigUint64(at, BigInt.asUintN(64, wide), true);
    else if (field.type === 'u32' || field.type === 's32') view.setUint32(at, Number(BigInt.asUintN(32, wide)), true);
    else if (field.type === 'u16') view.setUint16(at, Number(BigInt.asUintN(16, wide)), true);
    else if (field.type === 'u8') view.setUint8(at, Number(BigInt.asUintN(8, wide)));
    else bad('a number was given for an array');
    return;
  }
  if (field.type === 'ptr') {
    if (value === null) view.setBigUint64(at, 0n, true);
    else if (!(value instanceof Uint8Array)) bad('a buffer or an address is wanted');
    else if (addressOf === undefined) bad('a buffer was given without a way to take its address');
    else view.setBigUint64(at, value.length === 0 ? 0n : addressOf(value), true);
    return;
  }
  if (value === null || !arrayPattern.test(field.type)) return bad('this value does not fit the type');
  if (typeof value !== 'string' && !(value instanceof Uint8Array)) {
    if (!field.type.startsWith('u32')) return bad('a buffer or a string is wanted');
    if (value.length * 4 > field.size) bad(`${value.length} elements do not fit`);
    value.forEach((element, i) => view.setUint32(at + i * 4, element, true));
    return;
  }
  const bytes = typeof value === 'string' ? toUtf8(value) : value;
  if (bytes.length > field.size) bad(`${bytes.length} bytes do not fit in ${field.size}`);
  for (let i = 0; i < bytes.length; i++) view.setUint8(at + i, bytes[i] as number);
}

function decodeField(view: DataView, bytes: Uint8Array, field: StructField): bigint | number | Uint8Array | number[] {
  const at = field.offset;
  switch (field.type) {
    case 'u8':
      return view.getUint8(at);
    case 'u16':
      return view.getUint16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 's32':
      return view.getInt32(at, true);
    case 's64':
      return view.getBigInt64(at, true);
    case 'u64':
    case 'ptr':
      return view.getBigUint64(at, true);
    default:
      if (!field.type.startsWith('u32')) return plainBytes(bytes).slice(at, at + field.size);
      return Array.from({ length: field.size / 4 }, (_, i) => view.getUint32(at + i * 4, true));
  }
}
