import { Cursor } from '../bytes/cursor.ts';
import { plainBytes } from '../bytes/plain.ts';
import { FormatError, UnsupportedError } from '../error.ts';
import { SHT } from './constants.ts';
import { parseSections, type SectionTable } from './section.ts';
import { parseSegments } from './segment.ts';
import { parseSymbols } from './symbol.ts';
import type { ElfFile, ElfHeader, ElfSection, ElfSegment, ElfSymbol } from './types.ts';

const magic = 0x7f454c46; // "\x7fELF", read as big endian
const elfClass64 = 2;
/** e_phnum of a file with more than 0xfffe program headers: the count is in section 0's sh_info. */
const phnumExtended = 0xffff;

/**
 * Parses an ELF64 file of either byte order; nothing is copied, sections are views of `bytes`.
 *
 * The tables are read now and checked; symbols are read when first asked for. Throws a {@link FormatError} (`E_ELF_*`, with
 * structure, index and offset) for malformed bytes, and an {@link UnsupportedError} `E_ELF_CLASS` for ELF32.
 * Source: System V gABI, chapters 4 and 5.
 *
 * @example
 * import { parseElf } from 'rawbpf/elf';
 * const head = new Uint8Array(64);
 * head.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
 * head.set([1, 0, 247, 0, 1], 16);
 * head[52] = 64;
 * console.log(parseElf(head).header.machine); // 247
 */
export function parseElf(bytes: Uint8Array): ElfFile {
  return new ParsedElf(plainBytes(bytes));
}

class ParsedElf implements ElfFile {
  readonly bytes: Uint8Array;
  readonly header: ElfHeader;
  readonly sections: readonly ElfSection[];
  readonly segments: readonly ElfSegment[];
  #symbols: readonly ElfSymbol[] | null = null;
  #dynamicSymbols: readonly ElfSymbol[] | null = null;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    const { header, table, segments } = parseTables(bytes);
    this.header = header;
    this.sections = table.sections;
    this.segments = segments;
  }

  get symbols(): readonly ElfSymbol[] {
    return (this.#symbols ??= parseSymbols(this.sections, SHT.SYMTAB, this.header.littleEndian));
  }

  get dynamicSymbols(): readonly ElfSymbol[] {
    return (this.#dynamicSymbols ??= parseSymbols(this.sections, SHT.DYNSYM, this.header.littleEndian));
  }
}

function parseTables(bytes: Uint8Array): { header: ElfHeader; table: SectionTable; segments: readonly ElfSegment[] } {
  const littleEndian = parseIdent(bytes);
  const cursor = new Cursor(bytes, { littleEndian, structure: 'ELF header', code: 'E_ELF_TRUNCATED' }).seek(16);
  const type = cursor.u16();
  const machine = cursor.u16();
  const version = cursor.u32();
  if (version !== 1) throw headerError(`version ${version} is unknown`, 'e_version', 20);
  const entry = cursor.u64();
  const phoff = cursor.size64();
  const shoff = cursor.size64();
  const flags = cursor.u32();
  const ehsize = cursor.u16();
  if (ehsize < 64) throw headerError(`${ehsize} bytes are too few for an Elf64_Ehdr`, 'e_ehsize', 52);
  const phentsize = cursor.u16();
  const phnum = cursor.u16();
  const shentsize = cursor.u16();
  const shnum = cursor.u16();
  const shstrndx = cursor.u16();
  const table = parseSections(bytes, { littleEndian, shoff, shentsize, shnum, shstrndx });
  const segmentCount = phnum === phnumExtended && table.sections.length > 0 ? table.extendedPhnum : phnum;
  const segments = parseSegments(bytes, { littleEndian, phoff, phentsize, phnum: segmentCount });
  return { header: { littleEndian, type, machine, entry, flags }, table, segments };
}

/** Checks e_ident and gives the byte order. */
function parseIdent(bytes: Uint8Array): boolean {
  const cursor = new Cursor(bytes, { littleEndian: false, structure: 'ELF header', code: 'E_ELF_TRUNCATED' });
  if (bytes.length >= 4 && cursor.u32() !== magic) {
    throw new FormatError({
      code: 'E_ELF_MAGIC',
      what: 'not an ELF file',
      where: { offset: 0 },
      why: 'the first four bytes are not \\x7fELF',
      next: 'give a program, a library or an object file, not a script or a text',
    });
  }
  const fileClass = cursor.seek(Math.min(4, bytes.length)).u8();
  const order = cursor.u8();
  const version = cursor.u8();
  if (fileClass !== elfClass64) {
    throw new UnsupportedError({
      code: 'E_ELF_CLASS',
      what: 'not an ELF64 file',
      where: { field: 'EI_CLASS', offset: 4 },
      why: fileClass === 1 ? 'it is ELF32' : `class ${fileClass} is unknown`,
      next: 'BPF objects are ELF64: compile with clang -target bpf',
    });
  }
  if (order !== 1 && order !== 2) throw headerError(`byte order ${order} is unknown`, 'EI_DATA', 5);
  if (version !== 1) throw headerError(`version ${version} is unknown`, 'EI_VERSION', 6);
  return order === 1;
}

function headerError(why: string, field: string, offset: number): FormatError {
  return new FormatError({ code: 'E_ELF_HEADER', what: 'malformed ELF header', where: { field, offset }, why });
}
