import { Cursor } from '../bytes/cursor.ts';
import { cString } from '../bytes/text.ts';
import { FormatError, UnsupportedError } from '../error.ts';
import { SHN, SHT } from './constants.ts';
import { parseSegments } from './segment.ts';
import type { ElfSection, ElfSegment } from './types.ts';

/** Gives bytes of a file, fewer where it ends before. */
export type ReadAt = (offset: number, length: number) => Uint8Array;

/** A section without its bytes. */
export type SectionOutline = Pick<ElfSection, 'index' | 'name' | 'type' | 'flags' | 'addr' | 'offset' | 'size' | 'link' | 'entsize'>;

/** Where the parts of an ELF file lie: all that is needed to read a few of them out of a large one. */
export interface ElfOutline {
  readonly littleEndian: boolean;
  readonly machine: number;
  readonly sections: readonly SectionOutline[];
  readonly segments: readonly ElfSegment[];
}

const ehdrSize = 64;
const shdrSize = 64;
const phdrSize = 56;
/** Binaries with a section for each function have some 100,000. */
const maxSections = 1 << 18;
const maxNames = 32 << 20;

/**
 * Reads the header, section and program header tables of an ELF64 file, and nothing else of it: a browser's binary of 200 MB
 * costs a few reads.
 *
 * Throws FormatError `E_ELF_HEADER`, `E_ELF_SECTION` or `E_ELF_SEGMENT`, and UnsupportedError `E_ELF_CLASS` for ELF32.
 * Source: System V gABI, chapters 4 and 5.
 */
export function outlineElf(read: ReadAt): ElfOutline {
  const head = read(0, ehdrSize);
  if (head.length < ehdrSize || head[0] !== 0x7f || head[1] !== 0x45 || head[2] !== 0x4c || head[3] !== 0x46) {
    throw outlineError('E_ELF_HEADER', 'the file does not start as ELF files do');
  }
  if (head[4] !== 2) throw new UnsupportedError({ code: 'E_ELF_CLASS', what: 'not an ELF64 file', where: { field: 'EI_CLASS' } });
  if (head[5] !== 1 && head[5] !== 2) throw outlineError('E_ELF_HEADER', `byte order ${head[5]} is unknown`);
  const littleEndian = head[5] === 1;
  const cursor = new Cursor(head, { littleEndian, structure: 'ELF header', code: 'E_ELF_HEADER' }).seek(18);
  const machine = cursor.u16();
  const phoff = cursor.skip(12).size64();
  const shoff = cursor.size64();
  const phentsize = cursor.skip(6).u16();
  const phnum = cursor.u16();
  const shentsize = cursor.u16();
  const shnum = cursor.u16();
  const shstrndx = cursor.u16();
  const sections = shoff === 0 ? [] : readSections(read, { littleEndian, shoff, shentsize, shnum, shstrndx });
  const phdrs = read(phoff, phnum * phdrSize);
  const segments = parseSegments(phdrs, { littleEndian, phoff: 0, phentsize, phnum });
  return { littleEndian, machine, sections, segments };
}

interface Place {
  readonly littleEndian: boolean;
  readonly shoff: number;
  readonly shentsize: number;
  readonly shnum: number;
  readonly shstrndx: number;
}

function readSections(read: ReadAt, place: Place): readonly SectionOutline[] {
  const { littleEndian, shoff } = place;
  if (place.shentsize !== shdrSize) throw outlineError('E_ELF_SECTION', `e_shentsize is ${place.shentsize}, an Elf64_Shdr has 64`);
  // More than 0xfeff sections: the count and the index of the names are in section 0 (gABI, "Extended section numbering").
  const options = { littleEndian, structure: 'ELF section header', code: 'E_ELF_SECTION' };
  const first = new Cursor(read(shoff, shdrSize), options);
  const count = place.shnum === 0 ? first.skip(32).size64() : place.shnum;
  if (count > maxSections) throw outlineError('E_ELF_SECTION', `there are ${count} sections`);
  const cursor = new Cursor(read(shoff, count * shdrSize), options);
  cursor.ensure(count, shdrSize, 'e_shnum');
  const raw: (Omit<SectionOutline, 'name'> & { readonly nameAt: number })[] = [];
  for (let index = 0; index < count; index++) {
    cursor.seek(index * shdrSize);
    const nameAt = cursor.u32();
    const type = cursor.u32();
    const flags = cursor.u64();
    const addr = cursor.u64();
    const offset = cursor.size64();
    const size = cursor.size64();
    const link = cursor.u32();
    const entsize = cursor.skip(12).size64();
    raw.push({ index, nameAt, type, flags, addr, offset, size, link, entsize });
  }
  const namesIndex = place.shstrndx === SHN.XINDEX ? raw[0]?.link : place.shstrndx;
  const table = raw[namesIndex ?? 0];
  const names = table === undefined || table.type !== SHT.STRTAB ? new Uint8Array(0) : read(table.offset, Math.min(table.size, maxNames));
  return raw.map(({ nameAt, ...section }) => ({ ...section, name: cString(names.subarray(nameAt, nameAt + 256)) }));
}

function outlineError(code: string, why: string): FormatError {
  return new FormatError({ code, what: 'malformed ELF file', why });
}
