import { STB, STT, STV, SHN } from '../elf/constants.ts';
import { sectionNamed } from '../elf/lookup.ts';
import type { ElfFile, ElfSymbol } from '../elf/types.ts';
import type { Btf } from './btf.ts';
import { datasecError, variableWord } from './datasec.ts';
import { placeKconfig, placeKsyms } from './externs.ts';
import { infoWord } from './encode.ts';
import { BtfRewrite } from './rewrite.ts';
import { BTF_KIND, BTF_LINKAGE, type BtfDatasec } from './types.ts';

/**
 * Completes the BTF of an object from its ELF symbols, as the kernel wants it and compilers leave it: DATASEC sizes and
 * offsets of their variables (sorted), hidden variables and hidden functions of .text made static, and externs (.kconfig,
 * .ksyms) made allocated variables: those of .kconfig keep their types and are laid out by alignment, size and name, those
 * of .ksyms become 4-byte ints. Ids stay, at most one type is appended. Gives new bytes, in the object's byte order.
 *
 * Throws a FormatError `E_BTF_DATASEC` where section, symbol or extern is missing. The same rules as libbpf's.
 */
export function fixupDatasecs(btf: Btf, elf: ElfFile): Uint8Array {
  const rewrite = new BtfRewrite(btf);
  const symbols = symbolsByUse(elf);
  hideFunctions(btf, rewrite, elf);
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DATASEC) continue;
    const section = btf.type(id) as BtfDatasec;
    if (section.name === '.kconfig') placeKconfig(btf, rewrite, section, symbols.externs);
    else if (section.name === '.ksyms') placeKsyms(btf, rewrite, section, symbols.externs);
    else fixupSection(btf, rewrite, section, elf, symbols.variables);
    sortVariables(rewrite, section);
  }
  return rewrite.encode({ layout: true });
}

/** Sets size and offsets where the compiler left zeroes (a static linker does not), and the linkage of hidden variables. */
function fixupSection(btf: Btf, rewrite: BtfRewrite, section: BtfDatasec, elf: ElfFile, symbols: ReadonlyMap<string, ElfSymbol>): void {
  const incomplete = section.size === 0;
  if (incomplete) {
    const size = sectionNamed(elf, section.name)?.size ?? 0;
    if (size === 0 || size > 0xffffffff) throw datasecError(btf, section, `the ELF section of this name has ${size} bytes`);
    rewrite.setWord(section.id, 2, size);
  }
  section.variables.forEach((variable, i) => {
    const type = btf.type(variable.typeId);
    if (type.kind !== 'VAR') throw datasecError(btf, section, `its element ${i} is a ${type.kind}, not a VAR`);
    if (type.linkage !== BTF_LINKAGE.GLOBAL) return;
    const symbol = symbols.get(type.name);
    if (symbol === undefined) throw datasecError(btf, section, 'the ELF file has no symbol for a variable', type.name);
    if (symbol.value > 0xffffffffn) throw datasecError(btf, section, `a symbol's value is ${symbol.value}`, type.name);
    if (incomplete) rewrite.setWord(section.id, variableWord(i) + 1, Number(symbol.value));
    if (isHidden(symbol)) rewrite.setWord(variable.typeId, 3, BTF_LINKAGE.STATIC);
  });
}

/** The kernel wants variables by offset. */
function sortVariables(rewrite: BtfRewrite, section: BtfDatasec): void {
  const variables = section.variables.map((_, i) => {
    const at = variableWord(i);
    return [rewrite.word(section.id, at), rewrite.word(section.id, at + 1), rewrite.word(section.id, at + 2)] as const;
  });
  variables.sort((a, b) => a[1] - b[1]);
  variables.forEach((words, i) => words.forEach((word, k) => rewrite.setWord(section.id, variableWord(i) + k, word)));
}

/** Hidden global subprograms are verified as part of their callers, like static ones. */
function hideFunctions(btf: Btf, rewrite: BtfRewrite, elf: ElfFile): void {
  const text = sectionNamed(elf, '.text');
  if (text === null) return;
  const hidden = new Set<string>();
  for (const symbol of elf.symbols) {
    if (symbol.type !== STT.FUNC || symbol.sectionIndex !== text.index || symbol.binding === STB.LOCAL) continue;
    if (isHidden(symbol)) hidden.add(symbol.name);
  }
  if (hidden.size === 0) return;
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.FUNC || (rewrite.word(id, 1) & 0xffffff) !== BTF_LINKAGE.GLOBAL) continue;
    // delete: of several functions with this name libbpf marks the first.
    if (hidden.delete(btf.nameOf(id))) rewrite.setWord(id, 1, infoWord(BTF_KIND.FUNC, BTF_LINKAGE.STATIC));
  }
}

interface Symbols {
  /** Global and weak objects by name, the first of each. */
  readonly variables: ReadonlyMap<string, ElfSymbol>;
  readonly externs: ReadonlySet<string>;
}

function symbolsByUse(elf: ElfFile): Symbols {
  const variables = new Map<string, ElfSymbol>();
  const externs = new Set<string>();
  for (const symbol of elf.symbols) {
    if (symbol.binding !== STB.GLOBAL && symbol.binding !== STB.WEAK) continue;
    if (symbol.type === STT.OBJECT && !variables.has(symbol.name)) variables.set(symbol.name, symbol);
    else if (symbol.type === STT.NOTYPE && symbol.sectionIndex === SHN.UNDEF && symbol.name !== '') externs.add(symbol.name);
  }
  return { variables, externs };
}

function isHidden(symbol: ElfSymbol): boolean {
  return symbol.visibility === STV.HIDDEN || symbol.visibility === STV.INTERNAL;
}
