import { Cursor } from '../bytes/cursor.ts';
import { FormatError } from '../error.ts';
import { SHN, SHT } from './constants.ts';
import { StringTable } from './strings.ts';
import type { ElfSection, ElfSymbol } from './types.ts';

/** Bytes of an Elf64_Sym. */
const symSize = 24;

/** Reads the first symbol table of a type (SHT_SYMTAB or SHT_DYNSYM); none gives an empty list. */
export function parseSymbols(sections: readonly ElfSection[], type: number, littleEndian: boolean): readonly ElfSymbol[] {
  const table = sections.find((section) => section.type === type);
  if (table === undefined) return [];
  if (table.compression !== null) throw symbolError(table, 'the section is compressed');
  if (table.entsize !== symSize) throw symbolError(table, `sh_entsize is ${table.entsize}, an Elf64_Sym has ${symSize}`);
  if (table.size % symSize !== 0) throw symbolError(table, `its ${table.size} bytes are no multiple of ${symSize}`);
  const strings = sections[table.link];
  if (strings === undefined || strings.type !== SHT.STRTAB || strings.compression !== null) {
    throw symbolError(table, `its sh_link ${table.link} is not a string table`);
  }
  const names = new StringTable(strings.data, 'ELF symbol names');
  const wide = sections.find((section) => section.type === SHT.SYMTAB_SHNDX && section.link === table.index);
  const cursor = new Cursor(table.data, { littleEndian, structure: 'ELF symbol table', code: 'E_ELF_SYMBOL', base: table.offset });
  const symbols: ElfSymbol[] = [];
  for (let index = 0; cursor.remaining > 0; index++) {
    const at = table.offset + cursor.offset;
    const name = names.at(cursor.u32(), { section: table.index, symbol: index, field: 'st_name', offset: at });
    const info = cursor.u8();
    const other = cursor.u8();
    const shndx = cursor.u16();
    const value = cursor.u64();
    const size = cursor.u64();
    const sectionIndex = shndx === SHN.XINDEX ? wideIndex(table, wide, index, littleEndian) : shndx;
    symbols.push({ index, name, value, size, type: info & 15, binding: info >> 4, visibility: other & 3, sectionIndex });
  }
  return symbols;
}

function wideIndex(table: ElfSection, wide: ElfSection | undefined, index: number, littleEndian: boolean): number {
  if (wide === undefined) throw symbolError(table, 'a symbol says SHN_XINDEX, but there is no SHT_SYMTAB_SHNDX section', index);
  const cursor = new Cursor(wide.data, {
    littleEndian,
    structure: 'ELF extended section indices',
    code: 'E_ELF_SYMBOL',
    base: wide.offset,
  });
  if ((index + 1) * 4 > wide.data.length)
    throw symbolError(table, `the SHT_SYMTAB_SHNDX section has ${wide.data.length / 4} entries`, index);
  return cursor.seek(index * 4).u32();
}

function symbolError(table: ElfSection, why: string, symbol?: number): FormatError {
  const where = { section: table.index, ...(symbol === undefined ? {} : { symbol }), offset: table.offset + (symbol ?? 0) * symSize };
  return new FormatError({ code: 'E_ELF_SYMBOL', what: 'malformed ELF symbol table', where, why });
}
