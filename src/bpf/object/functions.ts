import { SHN, STB, STT, STV } from '../../elf/constants.ts';
import type { ElfFile, ElfSection, ElfSymbol } from '../../elf/types.ts';
import { FormatError, UnsupportedError } from '../../error.ts';
import type { FunctionSymbol } from './spec.ts';

/** Functions of every code section, by section index, each list sorted by its first instruction. */
export type FunctionTable = ReadonlyMap<number, readonly FunctionSymbol[]>;

/**
 * Finds the functions of the code sections; a function that is not whole instructions within its section is an error. Without strict, the global
 * labels of a section that has no functions are taken for some: LLVM before 7 gave symbols neither type nor size.
 */
export function collectFunctions(elf: ElfFile, code: readonly ElfSection[], strict: boolean): FunctionTable {
  const sections = new Map(code.map((section) => [section.index, section]));
  const table = new Map<number, FunctionSymbol[]>(code.map((section) => [section.index, []]));
  const labels = new Map<number, ElfSymbol[]>();
  for (const symbol of elf.symbols) {
    const section = sections.get(symbol.sectionIndex);
    if (section === undefined) continue;
    if (symbol.type === STT.FUNC) table.get(section.index)?.push(functionOf(symbol, section));
    else if (!strict && symbol.type === STT.NOTYPE && symbol.binding !== STB.LOCAL) {
      const known = labels.get(section.index);
      if (known === undefined) labels.set(section.index, [symbol]);
      else known.push(symbol);
    }
  }
  for (const [index, symbols] of labels) {
    const functions = table.get(index);
    const section = sections.get(index);
    if (section !== undefined && functions?.length === 0) functions.push(...functionsOfLabels(symbols, section));
  }
  for (const functions of table.values()) functions.sort((a, b) => a.insn - b.insn);
  return table;
}

/** Each label's function ends where the next one begins. */
function functionsOfLabels(symbols: readonly ElfSymbol[], section: ElfSection): FunctionSymbol[] {
  const sorted = symbols.toSorted((a, b) => (a.value < b.value ? -1 : 1));
  return sorted.map((symbol, i) => {
    const end = sorted[i + 1]?.value ?? BigInt(section.data.length);
    return functionOf({ ...symbol, size: end - symbol.value }, section);
  });
}

function functionOf(symbol: ElfSymbol, section: ElfSection): FunctionSymbol {
  const { name, value, size } = symbol;
  const where = { section: section.name, symbol: name, offset: value };
  const bad = (why: string): FormatError => new FormatError({ code: 'E_OBJECT_FUNCTION', what: 'malformed BPF function', where, why });
  if (value + size > BigInt(section.data.length)) throw bad(`its ${size} bytes pass the end of the section's ${section.data.length}`);
  if (size === 0n || size % 8n !== 0n || value % 8n !== 0n) throw bad(`${size} bytes at ${value} are not whole instructions`);
  return {
    name,
    insn: Number(value / 8n),
    insnCount: Number(size / 8n),
    binding: symbol.binding,
    visibility: symbol.visibility,
  };
}

/** The function that holds an instruction of a section; null where none does (an overridden weak function leaves its code behind). */
export function functionAt(functions: readonly FunctionSymbol[], insn: number): FunctionSymbol | null {
  let low = 0;
  let high = functions.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((functions[middle] as FunctionSymbol).insn <= insn) low = middle;
    else high = middle - 1;
  }
  const found = functions[low];
  return found !== undefined && insn >= found.insn && insn < found.insn + found.insnCount ? found : null;
}

/** Whether a function is a program's entry: not in .text, and not static. */
export function isEntryPoint(symbol: FunctionSymbol, section: ElfSection, textIndex: number, strict: boolean): boolean {
  if (section.index === textIndex) return false;
  if (symbol.binding !== STB.LOCAL) return true;
  if (!strict) return false;
  throw new UnsupportedError({
    code: 'E_STATIC_PROGRAM',
    what: 'a program is static',
    where: { section: section.name, symbol: symbol.name },
    why: 'libbpf takes no static function outside of .text',
  });
}

/** Whether a function is visible outside of the object, so that the kernel would verify it on its own, but is said to be hidden. */
export function isHidden(symbol: FunctionSymbol): boolean {
  return symbol.binding !== STB.LOCAL && (symbol.visibility === STV.HIDDEN || symbol.visibility === STV.INTERNAL);
}

/** A symbol that the object uses and does not define. */
export function isExtern(symbol: ElfSymbol): boolean {
  return (
    symbol.sectionIndex === SHN.UNDEF &&
    symbol.type === STT.NOTYPE &&
    (symbol.binding === STB.GLOBAL || symbol.binding === STB.WEAK) &&
    symbol.name !== ''
  );
}
