import { Cursor } from '../bytes/cursor.ts';
import { FormatError } from '../error.ts';
import { SHT } from './constants.ts';
import type { ElfFile, ElfRelocation, ElfSection } from './types.ts';

/** Bytes of an Elf64_Rel and an Elf64_Rela. */
const relSize = 16;
const relaSize = 24;

const sectionsByTarget = new WeakMap<ElfFile, ReadonlyMap<number, readonly ElfSection[]>>();

/**
 * The relocation records that apply to a section (of every SHT_REL and SHT_RELA section whose sh_info is its index), or
 * those of one relocation section where that is given; in file order. Offsets and symbol indices are as in the
 * file: only symbol indices are checked against .symtab.
 */
export function relocationsOf(elf: ElfFile, section: ElfSection): ElfRelocation[] {
  if (isRelocationSection(section)) return readRelocations(elf, section);
  const tables = relocationSectionsOf(elf, section.index);
  return tables.length === 1 ? readRelocations(elf, tables[0] as ElfSection) : tables.flatMap((table) => readRelocations(elf, table));
}

/** The SHT_REL and SHT_RELA sections that apply to the section with this index. */
export function relocationSectionsOf(elf: ElfFile, index: number): readonly ElfSection[] {
  let byTarget = sectionsByTarget.get(elf);
  if (byTarget === undefined) sectionsByTarget.set(elf, (byTarget = groupByTarget(elf)));
  return byTarget.get(index) ?? [];
}

function groupByTarget(elf: ElfFile): ReadonlyMap<number, readonly ElfSection[]> {
  const byTarget = new Map<number, ElfSection[]>();
  for (const table of elf.sections.filter(isRelocationSection)) {
    const tables = byTarget.get(table.info);
    if (tables === undefined) byTarget.set(table.info, [table]);
    else tables.push(table);
  }
  return byTarget;
}

function isRelocationSection(section: ElfSection): boolean {
  return section.type === SHT.REL || section.type === SHT.RELA;
}

function readRelocations(elf: ElfFile, table: ElfSection): ElfRelocation[] {
  const withAddend = table.type === SHT.RELA;
  const size = withAddend ? relaSize : relSize;
  if (table.compression !== null) throw relocationError(table, 'the section is compressed');
  if (table.entsize !== size) throw relocationError(table, `sh_entsize is ${table.entsize}, a record has ${size}`);
  if (table.size % size !== 0) throw relocationError(table, `its ${table.size} bytes are no multiple of ${size}`);
  // A BPF object links to .symtab; relocations of executables may link to .dynsym.
  const linked = elf.sections[table.link];
  const symbolCount = linked?.type === SHT.DYNSYM ? elf.dynamicSymbols.length : elf.symbols.length;
  const cursor = new Cursor(table.data, {
    littleEndian: elf.header.littleEndian,
    structure: 'ELF relocation table',
    code: 'E_ELF_RELOCATION',
    base: table.offset,
  });
  const relocations: ElfRelocation[] = [];
  for (let index = 0; cursor.remaining > 0; index++) {
    const offset = cursor.size64();
    const info = cursor.u64();
    const addend = withAddend ? cursor.s64() : null;
    const symbolIndex = Number(info >> 32n);
    if (symbolIndex !== 0 && symbolIndex >= symbolCount) {
      throw relocationError(table, `symbol ${symbolIndex} of ${symbolCount}`, index, index * size);
    }
    relocations.push({ offset, type: Number(info & 0xffffffffn), symbolIndex, addend });
  }
  return relocations;
}

function relocationError(table: ElfSection, why: string, relocation?: number, at = 0): FormatError {
  const where = { section: table.index, ...(relocation === undefined ? {} : { relocation }), offset: table.offset + at };
  return new FormatError({ code: 'E_ELF_RELOCATION', what: 'malformed ELF relocation table', where, why });
}
