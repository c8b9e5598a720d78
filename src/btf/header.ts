import { Cursor } from '../bytes/cursor.ts';
import { FormatError, UnsupportedError } from '../error.ts';

/** struct btf_header, offsets turned into absolute ones. */
export interface BtfHeader {
  readonly littleEndian: boolean;
  readonly flags: number;
  /** hdr_len: 24, or 32 with the layout fields. */
  readonly length: number;
  /** Absolute offset of the type section. */
  readonly typesAt: number;
  readonly typesLength: number;
  /** Absolute offset of the string section. */
  readonly stringsAt: number;
  readonly stringsLength: number;
  /** Absolute offset of the layout section, which tells how long types of each kind are. */
  readonly layoutAt: number;
  /** 0 where there is none. */
  readonly layoutLength: number;
}

export const BTF_MAGIC = 0xeb9f;
/** The header up to str_len, as kernels before the layout section write it. */
export const btfHeaderSize = 24;
/** The header with layout_off and layout_len. */
export const btfHeaderLayoutSize = 32;

/** Reads and checks a BTF header, with the checks of libbpf and the kernel (btf_parse_hdr). */
export function parseHeader(bytes: Uint8Array, name: string): BtfHeader {
  const where = name === '' ? {} : { btf: name };
  const fail = (why: string, field: string, offset: number): never => {
    throw new FormatError({ code: 'E_BTF_HEADER', what: 'malformed BTF header', where: { ...where, field, offset }, why });
  };
  const littleEndian = readMagic(bytes, where);
  const cursor = new Cursor(bytes, { littleEndian, structure: 'BTF header', code: 'E_BTF_HEADER' });
  cursor.seek(2).ensure(1, btfHeaderSize - 2, 'struct btf_header');
  const version = cursor.u8();
  if (version !== 1) {
    throw new UnsupportedError({
      code: 'E_BTF_VERSION',
      what: 'unknown BTF version',
      where: { ...where, field: 'version', offset: 2 },
      why: `it is ${version}`,
    });
  }
  const flags = cursor.u8();
  const length = cursor.u32();
  if (length < btfHeaderSize || length > bytes.length) fail(`${length} bytes of a blob of ${bytes.length}`, 'hdr_len', 4);
  const typeOff = cursor.u32();
  const typesLength = cursor.u32();
  const strOff = cursor.u32();
  const stringsLength = cursor.u32();
  const withLayout = length >= btfHeaderLayoutSize;
  const layoutOff = withLayout ? cursor.u32() : 0;
  const layoutLength = withLayout ? cursor.u32() : 0;
  const left = bytes.length - length;
  if (strOff + stringsLength > left)
    fail(`the strings end ${strOff + stringsLength} bytes after the header, ${left} are left`, 'str_len', 20);
  if (typeOff + typesLength > strOff) fail('the types run into the strings', 'type_len', 12);
  if (typeOff % 4 !== 0) fail(`${typeOff} is not a multiple of 4`, 'type_off', 8);
  if (layoutLength > 0) {
    if (layoutOff % 4 !== 0 || layoutLength % 4 !== 0) fail('the layout section is not aligned to 4', 'layout_off', 24);
    if (layoutOff < typeOff + typesLength || layoutOff + layoutLength > strOff)
      fail('the layout is not between types and strings', 'layout_off', 24);
  }
  return {
    littleEndian,
    flags,
    length,
    typesAt: length + typeOff,
    typesLength,
    stringsAt: length + strOff,
    stringsLength,
    layoutAt: length + layoutOff,
    layoutLength,
  };
}

/** Checks the magic of .BTF and .BTF.ext and gives the byte order it says. */
export function readMagic(bytes: Uint8Array, where: Readonly<Record<string, string>>): boolean {
  const first = bytes[0] ?? 0;
  const second = bytes[1] ?? 0;
  if (bytes.length >= 2 && first === (BTF_MAGIC & 0xff) && second === BTF_MAGIC >> 8) return true;
  if (bytes.length >= 2 && first === BTF_MAGIC >> 8 && second === (BTF_MAGIC & 0xff)) return false;
  throw new FormatError({
    code: 'E_BTF_MAGIC',
    what: 'not BTF',
    where: { ...where, offset: 0 },
    why: bytes.length < 2 ? `it has ${bytes.length} bytes` : 'the first two bytes are not the magic 0xeb9f',
  });
}
