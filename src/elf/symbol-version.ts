import { Cursor } from '../bytes/cursor.ts';
import { SHT } from './constants.ts';
import { StringTable } from './strings.ts';
import type { ElfFile, ElfSection } from './types.ts';

/** Bytes of an Elf64_Verdef. */
const verdefSize = 20;
/** VERSYM_HIDDEN of glibc's elf.h: only who asks for this version by name gets the symbol. */
const hiddenBit = 0x8000;

/** The version of a dynamic symbol. */
export interface SymbolVersion {
  /** `GLIBC_2.14`. */
  readonly name: string;
  /** Whether programs linked today get this one (`memcpy@@GLIBC_2.14`); else only those linked when it was current. */
  readonly isDefault: boolean;
}

/**
 * Tells the version that a file gives to each of its own dynamic symbols, by the symbol's index; null for one without, and for
 * all in a file without versions (Linux Standard Base, "Symbol Versioning"). Throws FormatError `E_ELF_VERSION`, or `E_ELF_STRING`
 * for a name.
 *
 * @example
 * import { parseElf, symbolVersions } from 'rawbpf/elf';
 * export function versionsOf(bytes: Uint8Array, name: string): string[] {
 *   const elf = parseElf(bytes);
 *   const version = symbolVersions(elf);
 *   return elf.dynamicSymbols.flatMap((symbol) => (symbol.name === name ? [version(symbol.index)?.name ?? ''] : []));
 * }
 */
export function symbolVersions(elf: ElfFile): (symbolIndex: number) => SymbolVersion | null {
  const { littleEndian } = elf.header;
  const versym = elf.sections.find(({ type }) => type === SHT.GNU_VERSYM);
  const verdef = elf.sections.find(({ type }) => type === SHT.GNU_VERDEF);
  if (versym === undefined || verdef === undefined) return () => null;
  const names = definedVersions(elf, verdef);
  const numbers = versionCursor(versym, littleEndian);
  return (index) => {
    if ((index + 1) * 2 > versym.data.length) return null;
    const value = numbers.seek(index * 2).u16();
    const name = names.get(value & ~hiddenBit);
    return name === undefined ? null : { name, isDefault: (value & hiddenBit) === 0 };
  };
}

/** Names of the versions that the file defines, by number; 0 and 1 (local, and global without a version) have none. */
function definedVersions(elf: ElfFile, verdef: ElfSection): ReadonlyMap<number, string> {
  const { littleEndian } = elf.header;
  const strings = new StringTable(elf.sections[verdef.link]?.data ?? new Uint8Array(0), 'names of ELF symbol versions');
  const cursor = versionCursor(verdef, littleEndian);
  const names = new Map<number, string>();
  // sh_info has the count; the entries cannot be more than fit one after the other.
  const most = Math.min(verdef.info, Math.floor(verdef.data.length / verdefSize));
  let at = 0;
  for (let i = 0; i < most; i++) {
    const number = cursor.seek(at + 4).u16();
    const aux = cursor.seek(at + 12).u32();
    const next = cursor.u32();
    const name = cursor.seek(at + aux).u32();
    // The first is the name of the file.
    if (number > 1) names.set(number, strings.at(name, { section: verdef.index, field: 'vda_name', offset: verdef.offset + at + aux }));
    if (next === 0) break;
    at += next;
  }
  return names;
}

function versionCursor(section: ElfSection, littleEndian: boolean): Cursor {
  return new Cursor(section.data, { littleEndian, structure: 'ELF symbol versions', code: 'E_ELF_VERSION', base: section.offset });
}
