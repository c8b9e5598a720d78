import { FormatError, UsageError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { BTF_INT, type BtfArray, type BtfEnum, type BtfFloat, type BtfInt } from '../types.ts';
import { toUtf8 } from '../../bytes/text.ts';
import { membersOf, type PlacedMember } from './reader.ts';
import { isOddInt, isTextArray, resolveType, sizeOfType, typeNamesOf, type MemberPlace, type ResolvedType } from './resolve.ts';

/** Structs nested deeper than this are refused. */
const maxDepth = 64;

/**
 * Encodes a value as a type's bytes, for a variable, a map's key or a map's value: the inverse of a decoder.
 *
 * Integers take number, bigint (exact, in the type's range) or boolean; enums also an enumerator's name; pointers an address;
 * `char[]` text (no NUL in it; the terminator is optional where it fills the array); arrays of bytes a Uint8Array; arrays arrays
 * or typed arrays; structs objects by member name; unions an object with one member, or with several that agree. What is left
 * out of a struct or at an array's end is zero, as in C's initialisers; padding is zero.
 *
 * Returns `into` (by default a new buffer of the type's size), written from its start. Throws UsageError `E_VALUE_TYPE`,
 * `E_VALUE_RANGE`, `E_VALUE_FIELD`, `E_VALUE_LENGTH`, `E_VALUE_TEXT` or `E_VALUE_UNION`, which name the field; then `into` is
 * as it was.
 *
 * @example
 * import { encodeValue, type Btf } from 'rawbpf/btf';
 * export const keyOf = (btf: Btf, pid: number): Uint8Array => encodeValue(btf, btf.findByName('u32') ?? 0, pid);
 */
export function encodeValue(btf: Btf, typeId: number, value: unknown, into?: Uint8Array): Uint8Array {
  const size = sizeOfType(btf, typeId);
  if (into !== undefined && into.length < size) {
    throw new UsageError({ code: 'E_VALUE_LENGTH', what: `${typeText(btf, typeId)} needs ${size} bytes, ${into.length} are given` });
  }
  const bytes = new Uint8Array(size);
  const target = { btf, view: new DataView(bytes.buffer), bytes, path: [] };
  write(target, resolveType(btf, typeId), typeId, { offset: 0, bitOffset: 0, bitSize: 0 }, value);
  if (into === undefined) return bytes;
  into.set(bytes);
  return into;
}

interface Target {
  readonly btf: Btf;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  /** Names and indexes of where we are, for messages. */
  readonly path: (string | number)[];
}

function write(to: Target, type: ResolvedType, typeId: number, place: MemberPlace, value: unknown): void {
  switch (type.kind) {
    case 'INT':
      if ((type.encoding & BTF_INT.BOOL) !== 0) writeBits(to, typeId, placeOfInt(type, place), toBool(to, typeId, value));
      else writeInt(to, typeId, placeOfInt(type, place), (type.encoding & BTF_INT.SIGNED) !== 0, value);
      return;
    case 'ENUM':
    case 'ENUM64':
      writeInt(to, typeId, asBits(place, type.size), type.signed, typeof value === 'string' ? valueOfName(to, type, value) : value);
      return;
    case 'PTR':
      writeInt(to, typeId, asBits(place, to.btf.pointerSize), false, value);
      return;
    case 'FLOAT':
      writeFloat(to, type, place.offset, value);
      return;
    case 'ARRAY':
      writeArray(to, type, typeId, place.offset, value);
      return;
    case 'STRUCT':
    case 'UNION':
    case 'DATASEC':
      writeObject(to, type, typeId, place.offset, value);
      return;
    default:
      if (value !== null && value !== undefined) throw wrong(to, 'E_VALUE_TYPE', `${typeText(to.btf, typeId) || type.kind} holds no value`);
  }
}

/** Where a scalar's bits go; `bitSize` is never 0 here. */
function asBits(place: MemberPlace, size: number): MemberPlace {
  return place.bitSize > 0 ? place : { ...place, bitSize: size * 8 };
}

function placeOfInt(type: BtfInt, place: MemberPlace): MemberPlace {
  if (place.bitSize > 0 || !isOddInt(type)) return asBits(place, type.size);
  return { offset: place.offset + (type.bitOffset >>> 3), bitOffset: type.bitOffset & 7, bitSize: type.bits };
}

function writeInt(to: Target, typeId: number, place: MemberPlace, signed: boolean, value: unknown): void {
  const wide = toBigint(to, typeId, value);
  const bits = BigInt(place.bitSize);
  const low = signed ? -(1n << (bits - 1n)) : 0n;
  const high = signed ? (1n << (bits - 1n)) - 1n : (1n << bits) - 1n;
  if (wide < low || wide > high) {
    throw wrong(to, 'E_VALUE_RANGE', `${wide} does not fit in ${describe(to.btf, typeId, place)}, which goes from ${low} to ${high}`);
  }
  writeBits(to, typeId, place, BigInt.asUintN(place.bitSize, wide));
}

/** Puts `value` into the bits of a place, little endian, leaving the bits around it. */
function writeBits(to: Target, typeId: number, place: MemberPlace, value: bigint): void {
  const { offset, bitOffset, bitSize } = place;
  const length = (bitOffset + bitSize + 7) >>> 3;
  if (offset + length > to.bytes.length) throw outside(to, typeId);
  const mask = ((1n << BigInt(bitSize)) - 1n) << BigInt(bitOffset);
  const shifted = value << BigInt(bitOffset);
  for (let i = 0; i < length; i++) {
    const shift = BigInt(i * 8);
    const keep = ~Number((mask >> shift) & 0xffn);
    to.bytes[offset + i] = ((to.bytes[offset + i] as number) & keep) | Number((shifted >> shift) & 0xffn);
  }
}

function toBigint(to: Target, typeId: number, value: unknown): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'boolean') return value ? 1n : 0n;
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return BigInt(value);
    const why = Number.isInteger(value) ? `${value} is past 2^53, where numbers are not exact: give a bigint` : `${value} is no integer`;
    throw wrong(to, 'E_VALUE_RANGE', why);
  }
  throw wrong(to, 'E_VALUE_TYPE', `${typeText(to.btf, typeId)} takes a number or a bigint, not ${nameOfKind(value)}`);
}

function toBool(to: Target, typeId: number, value: unknown): bigint {
  const number = toBigint(to, typeId, value);
  if (number !== 0n && number !== 1n) throw wrong(to, 'E_VALUE_RANGE', `${number} is neither 0 nor 1`);
  return number;
}

function valueOfName(to: Target, type: BtfEnum, name: string): bigint {
  const found = type.values.find((enumerator) => enumerator.name === name);
  if (found !== undefined) return found.value;
  const names = type.values.slice(0, 8).map((enumerator) => enumerator.name);
  const list = names.join(', ') + (type.values.length > names.length ? ', ...' : '');
  throw wrong(to, 'E_VALUE_RANGE', `enum ${type.name} has no ${JSON.stringify(name)}; it has ${list}`);
}

function writeFloat(to: Target, type: BtfFloat, at: number, value: unknown): void {
  if (at + type.size > to.bytes.length) throw outside(to, type.id);
  if (type.size === 4 || type.size === 8) {
    if (typeof value !== 'number') throw wrong(to, 'E_VALUE_TYPE', `${type.name} takes a number, not ${nameOfKind(value)}`);
    if (type.size === 4) to.view.setFloat32(at, value, true);
    else to.view.setFloat64(at, value, true);
    return;
  }
  if (!(value instanceof Uint8Array))
    throw wrong(to, 'E_VALUE_TYPE', `${type.name} takes its ${type.size} bytes, not ${nameOfKind(value)}`);
  writeBytes(to, at, type.size, value);
}

function writeArray(to: Target, type: BtfArray, typeId: number, at: number, value: unknown): void {
  const size = sizeOfType(to.btf, type.typeId);
  if (typeof value === 'string') {
    if (!isTextArray(to.btf, type)) throw wrong(to, 'E_VALUE_TYPE', `${typeText(to.btf, typeId)} is no text`);
    if (value.includes('\0')) throw wrong(to, 'E_VALUE_TEXT', 'the text has a NUL in it, where it would end');
    writeBytes(to, at, type.count, toUtf8(value));
    return;
  }
  if (value instanceof Uint8Array && size === 1) {
    writeBytes(to, at, type.count, value);
    return;
  }
  const elements = elementsOf(value);
  if (elements === null) {
    const wanted = isTextArray(to.btf, type) ? 'text' : size === 1 ? 'a Uint8Array or an array' : 'an array';
    throw wrong(to, 'E_VALUE_TYPE', `${typeText(to.btf, typeId)} takes ${wanted}, not ${nameOfKind(value)}`);
  }
  if (elements.length > type.count) throw wrong(to, 'E_VALUE_LENGTH', `${elements.length} elements for an array of ${type.count}`);
  const element = resolveType(to.btf, type.typeId);
  deeper(to, () => {
    for (const [i, item] of elements.entries()) {
      to.path.push(i);
      write(to, element, type.typeId, { offset: at + i * size, bitOffset: 0, bitSize: 0 }, item);
      to.path.pop();
    }
  });
}

function elementsOf(value: unknown): readonly unknown[] | null {
  if (Array.isArray(value)) return value;
  if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return Array.from(value as unknown as ArrayLike<unknown>);
  return null;
}

function writeBytes(to: Target, at: number, size: number, value: Uint8Array): void {
  if (value.length > size) throw wrong(to, 'E_VALUE_LENGTH', `${value.length} bytes for ${size}`);
  if (at + value.length > to.bytes.length) throw outside(to, 0);
  to.bytes.set(value, at);
}

function writeObject(to: Target, type: ResolvedType, typeId: number, at: number, value: unknown): void {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
    throw wrong(to, 'E_VALUE_TYPE', `${typeText(to.btf, typeId)} takes an object, not ${nameOfKind(value)}`);
  }
  const members = new Map(membersOf(to.btf, type).map((member) => [member.name, member]));
  const given: [PlacedMember, unknown][] = [];
  for (const [name, item] of Object.entries(value)) {
    if (item === undefined) continue;
    const member = members.get(name);
    if (member === undefined) {
      const names = [...members.keys()].slice(0, 12).join(', ');
      throw wrong(to, 'E_VALUE_FIELD', `${typeText(to.btf, typeId)} has no member ${JSON.stringify(name)}; it has ${names}`);
    }
    given.push([member, item]);
  }
  // The widest first: what several members of a union share is then there when the narrower ones are compared.
  given.sort(([a], [b]) => sizeOfType(to.btf, b.typeId) - sizeOfType(to.btf, a.typeId));
  deeper(to, () => {
    let written: PlacedMember[] = [];
    for (const [member, item] of given) {
      to.path.push(member.name);
      const before = written.some((other) => overlap(to.btf, other, member)) ? to.bytes.slice() : null;
      write(to, member.type, member.typeId, { ...member.place, offset: at + member.place.offset }, item);
      if (before !== null && before.some((byte, i) => byte !== to.bytes[i])) {
        throw wrong(to, 'E_VALUE_UNION', 'it contradicts another member of the same union');
      }
      written = [...written, member];
      to.path.pop();
    }
  });
}

function overlap(btf: Btf, a: PlacedMember, b: PlacedMember): boolean {
  const [startA, endA] = bitsOf(btf, a);
  const [startB, endB] = bitsOf(btf, b);
  return startA < endB && startB < endA;
}

function bitsOf(btf: Btf, { place, typeId }: PlacedMember): [start: number, end: number] {
  const start = place.offset * 8 + place.bitOffset;
  return [start, start + (place.bitSize > 0 ? place.bitSize : sizeOfType(btf, typeId) * 8)];
}

function deeper(to: Target, run: () => void): void {
  if (to.path.length > maxDepth) throw wrong(to, 'E_VALUE_TYPE', 'the value is nested too deep');
  run();
}

function wrong(to: Target, code: string, why: string): UsageError {
  let field = '';
  for (const step of to.path) field += typeof step === 'number' ? `[${step}]` : field === '' ? step : `.${step}`;
  return new UsageError({ code, what: 'a value does not fit its type', where: field === '' ? {} : { field }, why });
}

function outside(to: Target, typeId: number): FormatError {
  return new FormatError({ code: 'E_BTF_MEMBER', what: 'a member lies outside of its type', where: { ...to.btf.where(), type: typeId } });
}

function describe(btf: Btf, typeId: number, place: MemberPlace): string {
  const type = resolveType(btf, typeId);
  const whole = type.kind !== 'INT' || type.size * 8 === place.bitSize;
  return whole ? typeText(btf, typeId) : `${place.bitSize} bits of ${typeText(btf, typeId)}`;
}

/** A type in words, for messages. */
function typeText(btf: Btf, typeId: number): string {
  const type = resolveType(btf, typeId);
  const name = typeNamesOf(btf, typeId)[0] ?? '';
  switch (type.kind) {
    case 'STRUCT':
    case 'UNION':
    case 'ENUM':
    case 'ENUM64': {
      const word = type.kind === 'ENUM64' ? 'enum' : type.kind.toLowerCase();
      if (name === '') return `an anonymous ${word}`;
      return name === type.name ? `${word} ${name}` : name;
    }
    case 'ARRAY':
      return name === '' ? `${typeText(btf, type.typeId)}[${type.count}]` : name;
    case 'PTR':
      return 'a pointer';
    default:
      return name;
  }
}

function nameOfKind(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return 'a Uint8Array';
  if (value === undefined) return 'nothing';
  return `a${/^[aeiou]/.test(typeof value) ? 'n' : ''} ${typeof value}`;
}
