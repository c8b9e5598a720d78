import { Btf } from '../../../btf/btf.ts';
import { type BtfExt, parseBtfExt } from '../../../btf/ext.ts';
import { BTF_KIND, BTF_LINKAGE, type BtfDatasec } from '../../../btf/types.ts';
import { EM, ET, R_BPF, SHF, SHN, SHT, STB, STT, STV } from '../../../elf/constants.ts';
import { parseElf } from '../../../elf/file.ts';
import { relocationsOf } from '../../../elf/relocation.ts';
import type { ElfFile, ElfRelocation, ElfSection } from '../../../elf/types.ts';
import { linkError } from './error.ts';
import type { OutputSection } from './output.ts';

/** A section of an input object, with its place in the output. */
export interface InputSection {
  readonly name: string;
  /** Null for the shells of .kconfig, .ksyms and the like, which only BTF knows. */
  readonly elf: ElfSection | null;
  /** BTF id of its DATASEC, 0 where there is none. */
  datasecId: number;
  /** Left out: strings, DWARF, BTF; and a license that is there already. */
  skipped: boolean;
  output: OutputSection | null;
  /** Where its bytes begin in the output section. */
  offset: number;
}

/** One object to be linked. */
export interface InputObject {
  readonly name: string;
  readonly elf: ElfFile;
  readonly btf: Btf | null;
  readonly ext: BtfExt | null;
  /** By ELF section index; shells come after. */
  readonly sections: InputSection[];
  readonly relocations: readonly InputRelocations[];
  /** For each symbol its index in the output; -1 where it is left out. */
  readonly symbolMap: Int32Array;
  /** Ids of the output's BTF by ids of this one's; 0 where a type is left out. */
  typeMap: Uint32Array;
}

export interface InputRelocations {
  readonly table: InputSection;
  readonly target: InputSection;
  readonly records: readonly ElfRelocation[];
}

/** A DATASEC whose externs the linker itself has to find. */
export const externSection = '.extern';

const relocationTypes: readonly number[] = [R_BPF['64_64'], R_BPF['64_32'], R_BPF['64_ABS64'], R_BPF['64_ABS32']];

/** Reads and checks an object; `bytes` must not change afterwards. */
export function readInput(name: string, bytes: Uint8Array): InputObject {
  const elf = parseElf(bytes);
  const bad = (why: string, where: Record<string, string | number> = {}) =>
    linkError('E_STATIC_LINK_INPUT', { object: name, ...where }, why);
  if (elf.header.type !== ET.REL || elf.header.machine !== EM.BPF) throw bad('it is no relocatable BPF object');
  const sections = elf.sections.map((section): InputSection => ({
    name: section.name,
    elf: section,
    datasecId: 0,
    skipped: isIgnored(section),
    output: null,
    offset: 0,
  }));
  for (const { elf: section, skipped } of sections) {
    if (skipped || section === null) continue;
    const known = section.type === SHT.PROGBITS || section.type === SHT.NOBITS || section.type === SHT.REL || section.type === SHT.SYMTAB;
    if (!known) throw bad(`a section of type ${section.type} is not known`, { section: section.name });
  }
  checkSymbols(elf, bad);
  const btfSection = elf.sections.find((section) => section.name === '.BTF' && section.type === SHT.PROGBITS);
  const extSection = elf.sections.find((section) => section.name === '.BTF.ext' && section.type === SHT.PROGBITS);
  const btf = btfSection === undefined ? null : Btf.parse(btfSection.data, { name });
  const ext = extSection === undefined || btf === null ? null : parseBtfExt(extSection.data, btf);
  const relocations = readRelocations(elf, sections, bad);
  const input = {
    name,
    elf,
    btf,
    ext,
    sections,
    relocations,
    symbolMap: new Int32Array(elf.symbols.length).fill(-1),
    typeMap: new Uint32Array(0),
  };
  if (btf !== null) matchDatasecs(btf, sections);
  return input;
}

type Bad = (why: string, where?: Record<string, string | number>) => Error;

function isIgnored(section: ElfSection): boolean {
  if (section.type === SHT.NULL || section.type === SHT.STRTAB || section.type === SHT.LLVM_ADDRSIG) return true;
  if (section.type === SHT.PROGBITS && section.size === 0 && section.name === '.text') return true;
  const { name } = section;
  const target = name.startsWith('.rel') ? name.slice(4) : name;
  return target.startsWith('.debug_') || target === '.BTF' || target === '.BTF.ext';
}

function checkSymbols(elf: ElfFile, bad: Bad): void {
  for (const symbol of elf.symbols.slice(1)) {
    const where = { symbol: symbol.name, index: symbol.index };
    if (symbol.binding !== STB.LOCAL && symbol.binding !== STB.GLOBAL && symbol.binding !== STB.WEAK)
      throw bad(`binding ${symbol.binding} is not known`, where);
    if (symbol.visibility !== STV.DEFAULT && symbol.visibility !== STV.HIDDEN)
      throw bad(`visibility ${symbol.visibility} is not known`, where);
    if (symbol.sectionIndex === SHN.UNDEF) {
      if (symbol.type !== STT.NOTYPE || symbol.binding === STB.LOCAL || symbol.value !== 0n || symbol.size !== 0n)
        throw bad('it is a malformed extern', where);
    } else if (symbol.sectionIndex < SHN.LORESERVE && symbol.sectionIndex >= elf.sections.length)
      throw bad(`section ${symbol.sectionIndex} does not exist`, where);
    if (symbol.value > 0xffffffffn || symbol.size > 0xffffffffn) throw bad('its value or size is past any section', where);
  }
}

function readRelocations(elf: ElfFile, sections: readonly InputSection[], bad: Bad): InputRelocations[] {
  return sections.flatMap((table): InputRelocations[] => {
    if (table.skipped || table.elf?.type !== SHT.REL) return [];
    const target = sections[table.elf.info];
    const where = { section: table.name };
    if (target?.elf === undefined || target.elf === null) throw bad(`section ${table.elf.info} does not exist`, where);
    if (table.name !== `.rel${target.name}`) throw bad(`it is for section ${target.name}, and not named after it`, where);
    if (target.skipped) return [];
    if (target.elf.type !== SHT.PROGBITS && target.elf.type !== SHT.NOBITS)
      throw bad(`it is for section ${target.name} of type ${target.elf.type}`, where);
    const isCode = (target.elf.flags & SHF.EXECINSTR) !== 0n;
    const records = relocationsOf(elf, table.elf);
    for (const [index, record] of records.entries()) {
      const place = { ...where, relocation: index };
      if (!relocationTypes.includes(record.type)) throw bad(`relocation type ${record.type} is not known`, place);
      if (record.symbolIndex === 0) throw bad('it has no symbol', place);
      if (isCode ? record.offset % 8 !== 0 || record.offset + 8 > target.elf.size : record.offset >= target.elf.size)
        throw bad(`offset ${record.offset} is no place in section ${target.name}`, place);
    }
    return [{ table, target, records }];
  });
}

/** Notes which DATASEC describes which section; those without an ELF section get a shell. */
function matchDatasecs(btf: Btf, sections: InputSection[]): void {
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DATASEC) continue;
    const name = btf.nameOf(id);
    if (name === externSection) continue;
    let section = sections.find((candidate) => candidate.name === name);
    if (section === undefined) {
      section = { name, elf: null, datasecId: 0, skipped: false, output: null, offset: 0 };
      sections.push(section);
    }
    section.datasecId = id;
  }
}

/** The offset of each variable of a DATASEC: compilers leave that of global ones to the symbols. */
export function variableOffsets(input: InputObject, section: InputSection, datasec: BtfDatasec): number[] {
  const { btf, elf } = input;
  return datasec.variables.map(({ typeId, offset }) => {
    const variable = btf?.type(typeId);
    if (variable?.kind !== 'VAR' || variable.linkage !== BTF_LINKAGE.GLOBAL) return offset;
    const symbol = elf.symbols.find(
      ({ name, type, sectionIndex }) => name === variable.name && type === STT.OBJECT && sectionIndex === section.elf?.index,
    );
    if (symbol === undefined)
      throw linkError(
        'E_STATIC_LINK_BTF',
        { object: input.name, section: section.name, variable: variable.name },
        'there is no symbol for it',
      );
    return Number(symbol.value);
  });
}
