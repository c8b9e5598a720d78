import { Cursor } from '../bytes/cursor.ts';
import { FormatError } from '../error.ts';
import { SHF, SHN, SHT } from './constants.ts';
import { StringTable } from './strings.ts';
import type { ElfCompression, ElfSection } from './types.ts';

/** Bytes of an Elf64_Shdr. */
const shdrSize = 64;
/** Bytes of an Elf64_Chdr. */
const chdrSize = 24;
/** No real file's sections claim together more than this many times the file: a bound on the work of all who walk them. */
const maxOverlap = 16;

/** The fields of the file header that say where the section headers are. */
export interface SectionTablePlace {
  readonly littleEndian: boolean;
  readonly shoff: number;
  readonly shentsize: number;
  readonly shnum: number;
  readonly shstrndx: number;
}

/** The section header table, and the values that overflow from the file header into section 0. */
export interface SectionTable {
  readonly sections: readonly ElfSection[];
  /** sh_info of section 0: the count of program headers where e_phnum is PN_XNUM. */
  readonly extendedPhnum: number;
}

interface RawSection extends Omit<ElfSection, 'name'> {
  readonly nameOffset: number;
}

export function parseSections(bytes: Uint8Array, place: SectionTablePlace): SectionTable {
  const { littleEndian, shoff } = place;
  if (shoff === 0) {
    if (place.shnum > 0) throw sectionError('there are section headers, but e_shoff is 0', { field: 'e_shnum', offset: 60 });
    return { sections: [], extendedPhnum: 0 };
  }
  if (place.shentsize !== shdrSize)
    throw sectionError(`e_shentsize is ${place.shentsize}, an Elf64_Shdr has 64`, { field: 'e_shentsize', offset: 58 });
  const cursor = new Cursor(bytes, { littleEndian, structure: 'ELF section header', code: 'E_ELF_SECTION' });
  cursor.seek(shoff).ensure(1, shdrSize, 'section header');
  const first = readHeader(cursor.seek(shoff), bytes, 0);
  // More than 0xfeff sections: the count and the index of the names are in section 0 (gABI, "Extended section numbering").
  const count = place.shnum === 0 ? first.size : place.shnum;
  cursor.seek(shoff).ensure(count, shdrSize, 'e_shnum');
  const raw: RawSection[] = [];
  let claimed = 0;
  for (let index = 0; index < count; index++) {
    const section = readHeader(cursor.seek(shoff + index * shdrSize), bytes, index);
    raw.push(section);
    claimed += section.data.length;
    if (claimed > bytes.length * maxOverlap) {
      throw sectionError(`the sections up to here claim ${claimed} bytes of a file of ${bytes.length}`, {
        section: index,
        field: 'sh_size',
      });
    }
  }
  const stringIndex = place.shstrndx === SHN.XINDEX ? first.link : place.shstrndx;
  const names = namesTable(raw, stringIndex);
  const sections = raw.map(({ nameOffset, ...section }): ElfSection => {
    const name =
      names === null ? '' : names.at(nameOffset, { section: section.index, field: 'sh_name', offset: shoff + section.index * shdrSize });
    const compression = (section.flags & SHF.COMPRESSED) === 0n ? null : readCompression(section, littleEndian);
    return compression === null ? { ...section, name } : { ...section, name, data: new Uint8Array(0), compression };
  });
  return { sections, extendedPhnum: first.info };
}

function readHeader(cursor: Cursor, bytes: Uint8Array, index: number): RawSection {
  const at = cursor.offset;
  const nameOffset = cursor.u32();
  const type = cursor.u32();
  const flags = cursor.u64();
  const addr = cursor.u64();
  const offset = cursor.u64();
  const size = cursor.size64();
  const link = cursor.u32();
  const info = cursor.u32();
  const addralign = cursor.size64();
  const entsize = cursor.size64();
  // Section 0 holds no bytes: its sh_size may be the count of sections.
  const empty = type === SHT.NOBITS || type === SHT.NULL;
  if (!empty && offset + BigInt(size) > BigInt(bytes.length)) {
    throw sectionError(`bytes ${offset} to ${offset + BigInt(size)} of a file of ${bytes.length}`, {
      section: index,
      field: 'sh_offset',
      offset: at,
    });
  }
  // NOBITS and NULL sections may lie anywhere; what they claim is never read.
  const start = offset > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(offset);
  const data = empty ? new Uint8Array(0) : bytes.subarray(start, start + size);
  return { index, nameOffset, type, flags, addr, offset: start, size, link, info, addralign, entsize, data, compression: null };
}

function namesTable(sections: readonly RawSection[], index: number): StringTable | null {
  if (index === SHN.UNDEF) return null;
  const section = sections[index];
  if (section === undefined) throw sectionError(`there are ${sections.length} sections`, { field: 'e_shstrndx', value: index, offset: 62 });
  if (section.type !== SHT.STRTAB)
    throw sectionError(`the section has type ${section.type}, not SHT_STRTAB`, { field: 'e_shstrndx', section: index });
  return new StringTable(section.data, 'ELF section names');
}

function readCompression(section: Omit<RawSection, 'nameOffset'>, littleEndian: boolean): ElfCompression {
  const cursor = new Cursor(section.data, {
    littleEndian,
    structure: 'ELF compression header',
    code: 'E_ELF_SECTION',
    base: section.offset,
  });
  cursor.ensure(1, chdrSize, 'Elf64_Chdr');
  const type = cursor.u32();
  return { type, size: cursor.skip(4).size64(), addralign: cursor.size64() };
}

function sectionError(why: string, where: Readonly<Record<string, string | number>>): FormatError {
  return new FormatError({ code: 'E_ELF_SECTION', what: 'malformed ELF section table', where, why });
}
