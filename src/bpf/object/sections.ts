import { cString } from '../../bytes/text.ts';
import { SHF, SHT } from '../../elf/constants.ts';
import type { ElfFile, ElfSection } from '../../elf/types.ts';
import { FormatError, UnsupportedError } from '../../error.ts';

/** A section whose bytes become a map: .data, .rodata, .bss and their dotted kin. */
export interface DataSection {
  readonly section: ElfSection;
  readonly origin: 'data' | 'rodata' | 'bss';
}

/** A relocation section and the section it applies to. */
export interface RelocationTable {
  readonly table: ElfSection;
  readonly target: ElfSection;
}

/** The sections of an object by what they mean to a BPF loader. */
export interface ObjectSections {
  readonly elf: ElfFile;
  readonly license: string;
  readonly kernVersion: number;
  /** Section index of .text, where subprograms are; 0 where there is none. */
  readonly textIndex: number;
  readonly code: readonly ElfSection[];
  readonly data: readonly DataSection[];
  readonly maps: ElfSection | null;
  readonly legacyMaps: readonly ElfSection[];
  readonly structOps: readonly ElfSection[];
  readonly arena: ElfSection | null;
  readonly jumpTables: ElfSection | null;
  readonly btf: ElfSection | null;
  readonly btfExt: ElfSection | null;
  /** In file order, for code, .maps and struct_ops; others are ignored. */
  readonly relocations: readonly RelocationTable[];
}

/** The kernel's license string has at most 128 bytes; libbpf keeps 63. */
const maxLicense = 63;
/** .bss has no bytes in the file, so its size needs a bound of its own. */
const maxBss = 2 ** 30;
const structOpsNames: readonly string[] = ['.struct_ops', '.struct_ops.link', '?.struct_ops', '?.struct_ops.link'];

/** Sorts an object's sections; `strict` refuses what libbpf refuses. */
export function collectSections(elf: ElfFile, strict: boolean): ObjectSections {
  let license = '';
  let kernVersion = 0;
  let textIndex = 0;
  const code: ElfSection[] = [];
  const data: DataSection[] = [];
  const legacyMaps: ElfSection[] = [];
  const structOps: ElfSection[] = [];
  const relocations: RelocationTable[] = [];
  let maps: ElfSection | null = null;
  let arena: ElfSection | null = null;
  let jumpTables: ElfSection | null = null;
  let btf: ElfSection | null = null;
  let btfExt: ElfSection | null = null;
  let bssSize = 0;

  if (elf.sections.filter((section) => section.type === SHT.SYMTAB).length > 1)
    throw sectionError('the file has several symbol tables', '.symtab', 0);
  for (const section of elf.sections) {
    const { name } = section;
    if (isIgnored(section)) continue;
    if (name === 'license') {
      license = cString(section.data.subarray(0, maxLicense));
    } else if (name === 'version') {
      if (section.data.length !== 4) throw sectionError(`it has ${section.data.length} bytes, a version has 4`, name, section.index);
      kernVersion = new DataView(section.data.buffer, section.data.byteOffset).getUint32(0, elf.header.littleEndian);
    } else if (name === 'maps' || (!strict && name.startsWith('maps/'))) {
      if (strict) throw legacyMapsError(section);
      legacyMaps.push(section);
    } else if (name === '.maps') {
      maps = section;
    } else if (name === '.BTF' || name === '.BTF.ext') {
      if (section.type !== SHT.PROGBITS) throw sectionError(`its type is ${section.type}, not SHT_PROGBITS`, name, section.index);
      if (name === '.BTF') btf = section;
      else btfExt = section;
    } else if (section.type === SHT.PROGBITS && section.data.length > 0) {
      if (isCode(section)) {
        if (name === '.text') textIndex = section.index;
        code.push(section);
      } else if (isDataName(name, '.data')) data.push({ section, origin: 'data' });
      else if (isDataName(name, '.rodata')) data.push({ section, origin: 'rodata' });
      else if (structOpsNames.includes(name)) structOps.push(section);
      else if (name === '.addr_space.1') arena = section;
      else if (name === '.jumptables') jumpTables = section;
    } else if (section.type === SHT.NOBITS && isDataName(name, '.bss') && section.size > 0) {
      bssSize += section.size;
      if (bssSize > maxBss) throw sectionError(`${bssSize} bytes of zeroes are past any map`, name, section.index);
      data.push({ section, origin: 'bss' });
    } else if (section.type === SHT.REL || (!strict && section.type === SHT.RELA)) {
      const target = elf.sections[section.info];
      if (target === undefined) throw sectionError(`sh_info ${section.info} is no section`, name, section.index);
      if (isCode(target) || target.name === '.maps' || structOpsNames.includes(target.name)) relocations.push({ table: section, target });
    }
  }
  return { elf, license, kernVersion, textIndex, code, data, maps, legacyMaps, structOps, arena, jumpTables, btf, btfExt, relocations };
}

function isCode(section: ElfSection): boolean {
  return (section.flags & SHF.EXECINSTR) !== 0n;
}

/** Sections that say nothing of the program: strings, DWARF, address-significance tables, and an empty .text. */
function isIgnored(section: ElfSection): boolean {
  if (section.type === SHT.STRTAB || section.type === SHT.NULL || section.type === SHT.SYMTAB) return true;
  if (section.type === SHT.LLVM_ADDRSIG) return true;
  const name = section.name.startsWith('.rel') ? section.name.slice(section.name.startsWith('.rela') ? 5 : 4) : section.name;
  if (name.startsWith('.debug_')) return true;
  return name !== section.name && (name === '.BTF' || name === '.BTF.ext');
}

function isDataName(name: string, base: string): boolean {
  return name === base || name.startsWith(`${base}.`);
}

function sectionError(why: string, section: string, index: number): FormatError {
  return new FormatError({ code: 'E_OBJECT_SECTION', what: 'malformed BPF object', where: { section, index }, why });
}

function legacyMapsError(section: ElfSection): UnsupportedError {
  return new UnsupportedError({
    code: 'E_LEGACY_MAPS',
    what: 'the object declares maps the old way',
    where: { section: section.name, index: section.index },
    why: 'libbpf does not take struct bpf_map_def since 1.0',
    next: 'declare the maps in SEC(".maps"), or open the object without strict',
  });
}
