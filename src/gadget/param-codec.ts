import type { Btf } from '../btf/btf.ts';
import { membersOf } from '../btf/value/reader.ts';
import { resolveType, sizeOfType, typeNamesOf } from '../btf/value/resolve.ts';
import { readText } from '../btf/value/text.ts';
import { BTF_INT, type BtfEnum } from '../btf/types.ts';
import { didYouMean } from '../bytes/suggest.ts';
import { toUtf8 } from '../bytes/text.ts';
import type { ParamTypeHint } from './params.ts';
import { float32Text } from './read.ts';
import { ip4Text, ip6Text, parseIp } from './special/ip.ts';

/** Turns a parameter's text into the bytes of its C type and back. */
export interface ParamCodec {
  readonly typeHint: ParamTypeHint;
  readonly size: number;
  readonly range: readonly [least: string, greatest: string] | null;
  readonly maxBytes: number | null;
  readonly possibleValues: readonly string[];
  /** The bytes, or why there are none. */
  parse(text: string): Uint8Array | string;
  format(bytes: Uint8Array): string;
}

const plain = { range: null, maxBytes: null, possibleValues: [] } as const;

/** The codec of a variable's type; null for types that cannot be set from text. */
export function makeParamCodec(btf: Btf, typeId: number): ParamCodec | null {
  const type = resolveType(btf, typeId);
  switch (type.kind) {
    case 'INT':
      if ((type.encoding & BTF_INT.BOOL) !== 0) return boolCodec(type.size);
      return integerCodec(type.size, (type.encoding & BTF_INT.SIGNED) !== 0);
    case 'ENUM':
    case 'ENUM64':
      return enumCodec(type);
    case 'FLOAT':
      return type.size === 4 || type.size === 8 ? floatCodec(type.size) : null;
    case 'ARRAY': {
      const element = resolveType(btf, type.typeId);
      const isChar = element.kind === 'INT' && element.size === 1 && typeNamesOf(btf, type.typeId).at(-1) === 'char';
      return isChar && type.count > 0 ? textCodec(type.count) : null;
    }
    case 'STRUCT':
      return type.name === 'gadget_l3endpoint_t' ? ipCodec(btf, typeId) : null;
    default:
      return null;
  }
}

function boolCodec(size: number): ParamCodec {
  const values: ReadonlyMap<string, number> = new Map([
    ['true', 1],
    ['1', 1],
    ['yes', 1],
    ['on', 1],
    ['', 1],
    ['false', 0],
    ['0', 0],
    ['no', 0],
    ['off', 0],
  ]);
  return {
    ...plain,
    typeHint: 'bool',
    size,
    parse(text) {
      const value = values.get(text.toLowerCase());
      if (value === undefined) return 'it takes true or false';
      const bytes = new Uint8Array(size);
      bytes[0] = value;
      return bytes;
    },
    format: (bytes) => (bytes.some((byte) => byte !== 0) ? 'true' : 'false'),
  };
}

function integerCodec(size: number, signed: boolean): ParamCodec | null {
  if (![1, 2, 4, 8, 16].includes(size)) return null;
  const [least, greatest] = rangeOf(size, signed);
  return {
    ...plain,
    typeHint: `${signed ? '' : 'u'}int${size * 8}` as ParamTypeHint,
    size,
    range: [String(least), String(greatest)],
    parse(text) {
      const value = parseInteger(text);
      if (value === null) return `it takes a whole number from ${least} to ${greatest}`;
      if (value < least || value > greatest) return `it must be from ${least} to ${greatest}`;
      return integerBytes(value, size);
    },
    format: (bytes) => String(bytesInteger(bytes, signed)),
  };
}

function enumCodec(type: BtfEnum): ParamCodec {
  const { size, signed } = type;
  const byName = new Map(type.values.map(({ name, value }) => [name, value]));
  const [least, greatest] = rangeOf(size, signed);
  return {
    ...plain,
    typeHint: 'enum',
    size,
    possibleValues: type.values.length <= 64 ? [...byName.keys()] : [],
    parse(text) {
      const named = byName.get(text) ?? type.values.find(({ name }) => name.toLowerCase() === text.toLowerCase())?.value;
      const value = named ?? parseInteger(text);
      if (value === null) {
        const hint = didYouMean(text, byName.keys());
        return hint === '' ? `it takes a name of enum ${type.name} or a number` : hint;
      }
      if (BigInt.asIntN(size * 8, value) !== value && BigInt.asUintN(size * 8, value) !== value)
        return `it must be from ${least} to ${greatest}`;
      return integerBytes(value, size);
    },
    format(bytes) {
      const value = bytesInteger(bytes, signed);
      return type.values.find((entry) => entry.value === value)?.name ?? String(value);
    },
  };
}

function floatCodec(size: 4 | 8): ParamCodec {
  return {
    ...plain,
    typeHint: size === 4 ? 'float32' : 'float64',
    size,
    parse(text) {
      const value = /^(?:nan|[+-]?inf(?:inity)?)$/i.test(text)
        ? Number(
            text
              .toLowerCase()
              .replace(/inf(?:inity)?$/, 'Infinity')
              .replace('nan', 'NaN'),
          )
        : /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(text)
          ? Number(text)
          : null;
      if (value === null) return 'it takes a number';
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      if (size === 4) {
        if (Number.isFinite(value) && !Number.isFinite(Math.fround(value))) return 'it is too large for a 32-bit float';
        view.setFloat32(0, value, true);
      } else view.setFloat64(0, value, true);
      return bytes;
    },
    format(bytes) {
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
      return size === 4 ? float32Text(view.getFloat32(0, true)) : String(view.getFloat64(0, true));
    },
  };
}

function textCodec(size: number): ParamCodec {
  return {
    ...plain,
    typeHint: 'string',
    size,
    maxBytes: size,
    parse(text) {
      if (text.includes('\0')) return 'it takes no NUL';
      const encoded = toUtf8(text);
      // A full array without a NUL is allowed, as in the kernel's comm comparisons of all bytes.
      if (encoded.length > size) return `it takes at most ${size} bytes, these are ${encoded.length}`;
      const bytes = new Uint8Array(size);
      bytes.set(encoded);
      return bytes;
    },
    format: (bytes) => readText(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length),
  };
}

/** `struct gadget_l3endpoint_t`, by the places its members have in this object. */
function ipCodec(btf: Btf, typeId: number): ParamCodec | null {
  const members = membersOf(btf, resolveType(btf, typeId));
  const address = members.find((member) => member.name === 'addr_raw' || member.name === 'addr');
  const version = members.find((member) => member.name === 'version');
  if (address === undefined || version === undefined || sizeOfType(btf, address.typeId) < 16) return null;
  const size = sizeOfType(btf, typeId);
  const at = address.place.offset;
  return {
    ...plain,
    typeHint: 'ip',
    size,
    parse(text) {
      const parsed = parseIp(text);
      if (parsed === null) return 'it takes an IPv4 or IPv6 address';
      const bytes = new Uint8Array(size);
      bytes.set(parsed, at);
      bytes[version.place.offset] = parsed.length === 4 ? 4 : 6;
      return bytes;
    },
    format: (bytes) => (bytes[version.place.offset] === 6 ? ip6Text(bytes, at) : ip4Text(bytes, at)),
  };
}

/** Decimal, or with the prefixes 0x, 0o and 0b, with a sign; null for anything else. */
export function parseInteger(text: string): bigint | null {
  const match = /^([+-]?)(\d+|0x[0-9a-f]+|0o[0-7]+|0b[01]+)$/i.exec(text.trim());
  if (match === null || text.length > 160) return null;
  const value = BigInt(match[2] as string);
  return match[1] === '-' ? -value : value;
}

function rangeOf(size: number, signed: boolean): readonly [bigint, bigint] {
  const bits = BigInt(size * 8);
  return signed ? [-(1n << (bits - 1n)), (1n << (bits - 1n)) - 1n] : [0n, (1n << bits) - 1n];
}

function integerBytes(value: bigint, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let rest = BigInt.asUintN(size * 8, value);
  for (let i = 0; i < size; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
  return bytes;
}

function bytesInteger(bytes: Uint8Array, signed: boolean): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] as number);
  return signed ? BigInt.asIntN(bytes.length * 8, value) : value;
}
