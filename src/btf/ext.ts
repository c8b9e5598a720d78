import { Cursor } from '../bytes/cursor.ts';
import { plainBytes } from '../bytes/plain.ts';
import { FormatError, UnsupportedError } from '../error.ts';
import type { Btf } from './btf.ts';
import { readMagic } from './header.ts';

/** One CO-RE relocation record of .BTF.ext. */
export interface CoreRelo {
  /** Byte offset of the instruction in its section. */
  readonly insnOffset: number;
  readonly typeId: number;
  /** The access string: `0:1:2`, or an enumerator's index. */
  readonly access: string;
  /** Where that string is in the strings of the BTF. */
  readonly accessOffset?: number;
  /** enum bpf_core_relo_kind. */
  readonly kind: number;
}

/**
 * func_info or line_info of one section, raw: records of `recordSize` bytes whose first u32 is the byte offset of the
 * instruction, in the byte order of the object.
 */
export interface BtfExtSection {
  readonly sectionName: string;
  readonly recordSize: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** The CO-RE relocations of one section, in file order. */
export interface CoreReloSection {
  readonly sectionName: string;
  readonly relos: readonly CoreRelo[];
}

/** Parsed .BTF.ext. */
export interface BtfExt {
  readonly littleEndian: boolean;
  readonly funcInfo: readonly BtfExtSection[];
  readonly lineInfo: readonly BtfExtSection[];
  /** CO-RE relocations by section name, in file order. */
  readonly coreRelos: readonly CoreReloSection[];
}

/** Bytes of a record that this version knows; a file's records may be longer. */
const funcInfoSize = 8;
const lineInfoSize = 16;
const coreReloSize = 16;
/** struct btf_ext_header up to line_info_len, and with core_relo_off and core_relo_len. */
const headerSize = 24;
const headerCoreSize = 32;

/** What is read with: the bytes after the header, and where they lie. */
interface ExtPlace {
  readonly data: Uint8Array;
  readonly headerLength: number;
  readonly littleEndian: boolean;
  readonly btf: Btf;
  /** Access strings by their offset, as far as they were met. */
  readonly accesses: Map<number, string>;
}

/**
 * Parses .BTF.ext: function and line records (kept raw), CO-RE relocations; `btf` is the object's, whose strings name
 * the sections. Throws {@link FormatError} `E_BTF_EXT`. Source: Documentation/bpf/btf.rst, ".BTF.ext section".
 *
 * @example
 * import { btfExtFromElf, btfFromElf, lineAt } from 'rawbpf/btf';
 * import { parseElf } from 'rawbpf/elf';
 * function where(object: Uint8Array, section: string, offset: number) {
 *   const elf = parseElf(object);
 *   const btf = btfFromElf(elf);
 *   const ext = btf && btfExtFromElf(elf, btf);
 *   return btf && ext && lineAt(ext, btf, section, offset);
 * }
 */
export function parseBtfExt(bytes: Uint8Array, btf: Btf): BtfExt {
  const data = plainBytes(bytes);
  const littleEndian = readMagic(data, { structure: '.BTF.ext' });
  const cursor = new Cursor(data, { littleEndian, structure: 'BTF.ext header', code: 'E_BTF_EXT' });
  cursor.seek(2).ensure(1, 6, 'struct btf_ext_header');
  const version = cursor.u8();
  if (version !== 1) {
    throw new UnsupportedError({
      code: 'E_BTF_VERSION',
      what: 'unknown BTF.ext version',
      where: { field: 'version', offset: 2 },
      why: `it is ${version}`,
    });
  }
  const headerLength = cursor.skip(1).u32();
  if (headerLength < headerSize || headerLength > data.length) {
    throw extError(`hdr_len is ${headerLength} of ${data.length} bytes, the least is ${headerSize}`, { field: 'hdr_len', offset: 4 });
  }
  const place: ExtPlace = { data, headerLength, littleEndian, btf, accesses: new Map() };
  const funcInfo = readInfo(place, 'func_info', cursor.u32(), cursor.u32(), funcInfoSize);
  const lineInfo = readInfo(place, 'line_info', cursor.u32(), cursor.u32(), lineInfoSize);
  const core = headerLength < headerCoreSize ? [] : readInfo(place, 'core_relo', cursor.u32(), cursor.u32(), coreReloSize);
  return { littleEndian, funcInfo, lineInfo, coreRelos: core.map((section) => readCoreRelos(section, place)) };
}

/** One of the three parts: a record size, then for each section its name, a count and the records. */
function readInfo(place: ExtPlace, part: string, offset: number, length: number, knownSize: number): BtfExtSection[] {
  if (length === 0) return [];
  const at = place.headerLength + offset;
  if (at + length > place.data.length) throw extError(`it ends at ${at + length} of ${place.data.length} bytes`, { part, offset: at });
  if (offset % 4 !== 0) throw extError('it is not aligned to 4', { part, offset: at });
  const bytes = place.data.subarray(at, at + length);
  const cursor = new Cursor(bytes, { littleEndian: place.littleEndian, structure: `BTF.ext ${part}`, code: 'E_BTF_EXT', base: at });
  const recordSize = cursor.u32();
  if (recordSize < knownSize || recordSize % 4 !== 0) {
    throw extError(`the record size ${recordSize} must be a multiple of 4 and at least ${knownSize}`, { part, offset: at });
  }
  const sections: BtfExtSection[] = [];
  while (cursor.remaining > 0) {
    const sectionName = place.btf.nameAt(cursor.u32());
    const count = cursor.u32();
    if (count === 0) cursor.fail('a section without records');
    cursor.ensure(count, recordSize, 'num_info');
    sections.push({ sectionName, recordSize, count, bytes: cursor.take(count * recordSize) });
  }
  return sections;
}

function readCoreRelos(section: BtfExtSection, place: ExtPlace): CoreReloSection {
  const { bytes, count, recordSize } = section;
  const { btf, littleEndian } = place;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const relos: CoreRelo[] = [];
  for (let i = 0, at = 0; i < count; i++, at += recordSize) {
    const accessOffset = view.getUint32(at + 8, littleEndian);
    // Few among hundreds of relocations differ.
    let access = place.accesses.get(accessOffset);
    if (access === undefined) place.accesses.set(accessOffset, (access = btf.nameAt(accessOffset)));
    const typeId = view.getUint32(at + 4, littleEndian);
    relos.push({ insnOffset: view.getUint32(at, littleEndian), typeId, access, accessOffset, kind: view.getUint32(at + 12, littleEndian) });
  }
  return { sectionName: section.sectionName, relos };
}

function extError(why: string, where: Readonly<Record<string, string | number>>): FormatError {
  return new FormatError({ code: 'E_BTF_EXT', what: 'malformed .BTF.ext', where, why });
}
