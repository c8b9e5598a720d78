import { FormatError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { BTF_INT, type BtfArray, type BtfEnum, type BtfInt } from '../types.ts';
import { isTextArray, placeMember, resolveType, sizeOfType, type MemberPlace, type ResolvedType } from './resolve.ts';
import {
  bigintBitsReader,
  bigintReader,
  boolBitsReader,
  boolReader,
  floatReader,
  numberBitsReader,
  numberReader,
  pointerReader,
  type BigintReader,
  type BoolReader,
  type NumberReader,
} from './scalar.ts';
import { bytesReader, textReader, type BytesReader, type TextReader } from './text.ts';

/** Reads an array: of numbers, bigints, booleans, texts, objects or arrays. */
export interface ArrayReader {
  readonly kind: 'array';
  readonly element: ValueReader;
  readonly count: number;
  read(view: DataView, offset: number): unknown[];
}
/** Reads a struct or union as a plain object whose own properties are the members; a union gives all its members. */
export interface ObjectReader {
  readonly kind: 'object';
  read(view: DataView, offset: number): Record<string, unknown>;
}
/** What has no value: void, functions, structs that are only declared. */
export interface NullReader {
  readonly kind: 'null';
  read(view: DataView, offset: number): null;
}

/**
 * How one type's bytes become a value; `kind` says what `read` returns, and it never changes between reads.
 * `read` takes the offset in the view of the type's (or, from {@link fieldReader}, of the record's) first byte.
 */
export type ValueReader = NumberReader | BigintReader | BoolReader | TextReader | BytesReader | ArrayReader | ObjectReader | NullReader;

/** Choices about the values' shapes. */
export interface ReadOptions {
  /** `bytes` gives char arrays whole and undecoded, as Uint8Array; `utf8` (the default) as text up to the first NUL. */
  readonly text?: 'utf8' | 'bytes';
}

/** Nested structs deeper than this are refused; C programs have under 20. */
const maxDepth = 64;
/** Values one record may hold: bounds the time a hostile BTF can take (overlapping structs in structs grow exponentially). */
const maxValues = 1 << 22;
/** Members of one struct with anonymous ones inlined; Linux has no struct with 10,000. */
const maxMembers = 1 << 17;

interface BuiltComposite {
  readonly reader: ObjectReader | ArrayReader;
  readonly values: number;
}

/** Makes readers of one BTF; structs met twice share their reader. */
export class ReaderBuilder {
  readonly #btf: Btf;
  readonly #options: ReadOptions;
  readonly #composites = new Map<number, BuiltComposite>();
  #depth = 0;
  /** Values that the reader built last reads. */
  #values = 0;

  constructor(btf: Btf, options: ReadOptions = {}) {
    this.#btf = btf;
    this.#options = options;
  }

  /** The reader of a type that lies `at` bytes from the offset given to it. */
  reader(typeId: number, at = 0): ValueReader {
    return this.memberReader(resolveType(this.#btf, typeId), { offset: at, bitOffset: 0, bitSize: 0 });
  }

  /** The reader of a resolved type at a place; a bitfield's place says so. */
  memberReader(type: ResolvedType, place: MemberPlace): ValueReader {
    this.#values = 1;
    const at = place.offset;
    if (place.bitSize > 0) return bitsReader(type, place);
    switch (type.kind) {
      case 'INT':
        return intReader(type, at);
      case 'ENUM':
      case 'ENUM64':
        return numberReader(type.size, type.signed, at) ?? bigintReader(type.size, type.signed, at) ?? bytesReader(type.size, at);
      case 'PTR':
        return pointerReader(this.#btf.pointerSize, at);
      case 'FLOAT':
        return floatReader(type.size, at) ?? bytesReader(type.size, at);
      case 'ARRAY':
        return this.#byteArray(type, type.count, at) ?? moved(this.#composite(type), at);
      case 'STRUCT':
      case 'UNION':
      case 'DATASEC':
        return moved(this.#composite(type), at);
      default:
        return { kind: 'null', read: () => null };
    }
  }

  /** The reader of an array with another number of elements than its type says: a flexible array that got some. */
  arrayReader(type: BtfArray, count: number): ValueReader {
    return this.#byteArray(type, count, 0) ?? this.#array(type, count);
  }

  #byteArray(type: BtfArray, count: number, at: number): TextReader | BytesReader | null {
    if (isBytes(this.#btf, type, this.#options)) return bytesReader(count, at);
    return isTextArray(this.#btf, type) ? textReader(count, at) : null;
  }

  #composite(type: Extract<ResolvedType, { kind: 'ARRAY' | 'STRUCT' | 'UNION' | 'DATASEC' }>): ObjectReader | ArrayReader {
    let built = this.#composites.get(type.id);
    if (built === undefined) {
      if (++this.#depth > maxDepth) throw formatError('E_BTF_DEPTH', 'structs are nested too deep', type.id);
      const reader = type.kind === 'ARRAY' ? this.#array(type, type.count) : this.#object(type);
      this.#depth--;
      built = { reader, values: this.#values };
      this.#composites.set(type.id, built);
    }
    this.#values = built.values;
    return built.reader;
  }

  #array(type: BtfArray, count: number): ArrayReader {
    const size = sizeOfType(this.#btf, type.typeId);
    const element = this.reader(type.typeId);
    // Elements without a size would make a count of four thousand million out of nothing.
    const length = size === 0 ? 0 : count;
    this.#values = this.#limited(1 + this.#values * length, type.id);
    return {
      kind: 'array',
      element,
      count: length,
      read: (view, offset) => {
        const values: unknown[] = [];
        for (let i = 0, at = offset; i < length; i++, at += size) values.push(element.read(view, at));
        return values;
      },
    };
  }

  #object(type: Extract<ResolvedType, { kind: 'STRUCT' | 'UNION' | 'DATASEC' }>): ObjectReader {
    const names: string[] = [];
    const readers: ValueReader[] = [];
    let values = 1;
    for (const member of membersOf(this.#btf, type)) {
      names.push(member.name);
      readers.push(this.memberReader(member.type, member.place));
      values = this.#limited(values + this.#values, type.id);
    }
    this.#values = values;
    const count = names.length;
    const Values = plainConstructor();
    if (names.includes('__proto__')) return carefulReader(names, readers);
    return {
      kind: 'object',
      read: (view, offset) => {
        const object = new Values();
        for (let i = 0; i < count; i++) object[names[i] as string] = (readers[i] as ValueReader).read(view, offset);
        return object;
      },
    };
  }

  #limited(values: number, typeId: number): number {
    if (values > maxValues) throw formatError('E_BTF_SIZE', `a type holds more than ${maxValues} values`, typeId);
    return values;
  }
}

/** A named member with anonymous structs and unions taken away around it. */
export interface PlacedMember {
  readonly name: string;
  readonly typeId: number;
  readonly type: ResolvedType;
  readonly place: MemberPlace;
}

/** Lists the members of a struct, union or data section; anonymous structs and unions are inlined as C does. */
export function membersOf(btf: Btf, type: ResolvedType): readonly PlacedMember[] {
  const walk: MemberWalk = { btf, placed: [], visited: 0 };
  if (type.kind === 'STRUCT' || type.kind === 'UNION' || type.kind === 'DATASEC') placeMembers(walk, type, 0, 0);
  return walk.placed;
}

interface MemberWalk {
  readonly btf: Btf;
  readonly placed: PlacedMember[];
  visited: number;
}

function placeMembers(
  walk: MemberWalk,
  type: Extract<ResolvedType, { kind: 'STRUCT' | 'UNION' | 'DATASEC' }>,
  base: number,
  depth: number,
): void {
  const { btf, placed } = walk;
  if (depth > maxDepth) throw formatError('E_BTF_DEPTH', 'structs are nested too deep', type.id);
  walk.visited += 1 + (type.kind === 'DATASEC' ? type.variables.length : type.members.length);
  if (walk.visited > maxMembers) throw formatError('E_BTF_SIZE', `a type has more than ${maxMembers} members`, type.id);
  if (type.kind === 'DATASEC') {
    for (const { typeId, offset } of type.variables) {
      const resolved = resolveType(btf, typeId);
      const name = btf.nameOf(typeId);
      if (name !== '') placed.push({ name, typeId, type: resolved, place: { offset, bitOffset: 0, bitSize: 0 } });
    }
    return;
  }
  for (const member of type.members) {
    const { name, typeId } = member;
    const resolved = resolveType(btf, typeId);
    const inner = placeMember(member, resolved);
    checkInside(btf, type, inner.offset, resolved, inner.bitSize === 0 ? 0 : inner.bitOffset + inner.bitSize);
    const place: MemberPlace = { ...inner, offset: base + inner.offset };
    if (name !== '') placed.push({ name, typeId, type: resolved, place });
    else if (resolved.kind === 'STRUCT' || resolved.kind === 'UNION') placeMembers(walk, resolved, place.offset, depth + 1);
  }
}

function checkInside(
  btf: Btf,
  type: { readonly id: number; readonly size: number },
  offset: number,
  member: ResolvedType,
  bits: number,
): void {
  const length = bits > 0 ? Math.ceil(bits / 8) : sizeOfType(btf, member.id);
  if (offset + length > type.size) throw formatError('E_BTF_MEMBER', 'a member lies outside of its type', type.id);
}

function bitsReader(type: ResolvedType, place: MemberPlace): ValueReader {
  const { offset, bitOffset, bitSize } = place;
  const isInt = type.kind === 'INT';
  if (!isInt && type.kind !== 'ENUM' && type.kind !== 'ENUM64')
    throw formatError('E_BTF_MEMBER', `a bitfield of kind ${type.kind}`, type.id);
  if (bitSize > type.size * 8) throw formatError('E_BTF_MEMBER', `a bitfield of ${bitSize} bits in ${type.size} bytes`, type.id);
  if (isInt && (type.encoding & BTF_INT.BOOL) !== 0 && bitSize <= 32) return boolBitsReader(offset, bitOffset, bitSize);
  const signed = isSigned(type);
  if (type.size <= 4) return numberBitsReader(offset, bitOffset, bitSize, signed);
  return bigintBitsReader(offset, bitOffset, bitSize, signed);
}

function intReader(type: BtfInt, at: number): ValueReader {
  if (type.bitOffset !== 0 || type.bits !== type.size * 8) {
    if (type.bits === 0) return { kind: 'null', read: () => null };
    if (type.bitOffset + type.bits > type.size * 8) throw formatError('E_BTF_MEMBER', 'bits of an integer lie outside of it', type.id);
    const place = { offset: at + (type.bitOffset >>> 3), bitOffset: type.bitOffset & 7, bitSize: type.bits };
    return bitsReader(type, place);
  }
  if ((type.encoding & BTF_INT.BOOL) !== 0 && type.size === 1) return boolReader(at);
  const signed = isSigned(type);
  return (
    numberReader(type.size, signed, at) ??
    bigintReader(type.size, signed, at) ??
    (type.size < 4 ? numberBitsReader(at, 0, type.bits, signed) : bytesReader(type.size, at))
  );
}

function isSigned(type: BtfInt | BtfEnum): boolean {
  return type.kind === 'INT' ? (type.encoding & BTF_INT.SIGNED) !== 0 : type.signed;
}

/** Arrays of unsigned bytes are binary data; so are char arrays on demand. */
function isBytes(btf: Btf, array: BtfArray, options: ReadOptions): boolean {
  const element = resolveType(btf, array.typeId);
  if (element.kind !== 'INT' || element.size !== 1 || element.bits !== 8 || (element.encoding & BTF_INT.BOOL) !== 0) return false;
  if (isTextArray(btf, array)) return options.text === 'bytes';
  return !isSigned(element);
}

function moved(reader: ObjectReader | ArrayReader, at: number): ObjectReader | ArrayReader {
  if (at === 0) return reader;
  if (reader.kind === 'object') return { kind: 'object', read: (view, offset) => reader.read(view, offset + at) };
  return { ...reader, read: (view, offset) => reader.read(view, offset + at) };
}

/** A constructor of plain objects for one struct: its instances share one hidden class, with room for all members. */
function plainConstructor(): new () => Record<string, unknown> {
  const Values = function (): void {} as unknown as { new (): Record<string, unknown>; prototype: object };
  Values.prototype = Object.prototype;
  return Values;
}

/** Sets an own property whatever its name. */
export function setOwn(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name === '__proto__') Object.defineProperty(object, name, { value, writable: true, enumerable: true, configurable: true });
  else object[name] = value;
}

/** For a struct with a member called `__proto__`, which an assignment would take for the prototype. */
function carefulReader(names: readonly string[], readers: readonly ValueReader[]): ObjectReader {
  return {
    kind: 'object',
    read: (view, offset) => {
      const object: Record<string, unknown> = {};
      for (const [i, name] of names.entries()) setOwn(object, name, (readers[i] as ValueReader).read(view, offset));
      return object;
    },
  };
}

function formatError(code: string, what: string, typeId: number): FormatError {
  return new FormatError({ code, what, where: { type: typeId } });
}
