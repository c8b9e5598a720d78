import { didYouMean } from '../../bytes/suggest.ts';
import { STB, STT } from '../../elf/constants.ts';
import { fileOffsetOf } from '../../elf/segment.ts';
import { symbolVersions } from '../../elf/symbol-version.ts';
import type { ElfFile, ElfSymbol } from '../../elf/types.ts';
import { UsageError } from '../../error.ts';
import { readBinary } from './binary.ts';

/** A function of an ELF file, under one of its names. */
export interface ElfFunction {
  /** Without the version. */
  readonly name: string;
  /** `GLIBC_2.14`; empty for one without. */
  readonly version: string;
  /** In the file: what uprobes are attached by. */
  readonly offset: number;
  /** Whether the dynamic linker sees it. */
  readonly exported: boolean;
  /** Of several of one name the highest is meant: global before weak, local, and old versions kept for old programs. */
  readonly rank: number;
}

/** The functions of an ELF file that are in it, by each of their names. */
export function* functionsOf(elf: ElfFile): Generator<ElfFunction> {
  const versionOf = symbolVersions(elf);
  for (const symbols of [elf.dynamicSymbols, elf.symbols]) {
    for (const symbol of symbols) {
      // STT_GNU_IFUNC would be the function that chooses, not the one that is called.
      if (symbol.type !== STT.FUNC || symbol.value === 0n || symbol.sectionIndex === 0) continue;
      const offset = fileOffsetOf(elf, symbol.value);
      if (offset === null) continue;
      // .symtab has the version in the name: `name@@VERSION` is what programs get that are linked today.
      const [name = '', ...rest] = symbol.name.split('@');
      const exported = symbols === elf.dynamicSymbols;
      const version = exported ? versionOf(symbol.index) : null;
      const isOld = version === null ? rest.length === 1 : !version.isDefault;
      yield { name, version: version?.name ?? rest.at(-1) ?? '', offset, exported, rank: isOld ? 0 : rankOf(symbol) };
    }
  }
}

function rankOf({ binding }: ElfSymbol): number {
  return binding === STB.LOCAL ? 1 : binding === STB.WEAK ? 2 : 3;
}

/**
 * The file offset of a function in a program or library: `malloc`, or an old version of one as `memcpy@GLIBC_2.2.5`; without a
 * version, the one that programs get which are linked today. Throws E_SYMBOL, with suggestions, where there is none, and where
 * several files that the program was made from have one of this name.
 */
export function functionOffset(path: string, symbol: string): number {
  const elf = readBinary(path);
  const [name = '', ...rest] = symbol.split('@');
  const version = rest.at(-1) ?? '';
  const all = [...functionsOf(elf)];
  const named = all.filter((each) => each.name === name);
  const meant = version === '' ? named : named.filter((each) => each.version === version);
  const best = Math.max(...meant.map(({ rank }) => rank));
  const offsets = [...new Set(meant.filter(({ rank }) => rank === best).map(({ offset }) => offset))];
  const [offset] = offsets;
  if (offset !== undefined && offsets.length === 1) return offset;
  const where = { path, function: symbol };
  if (offset !== undefined) {
    throw new UsageError({
      code: 'E_SYMBOL',
      what: 'the file has several functions of this name',
      where,
      why: `they are at ${offsets.map((each) => `0x${each.toString(16)}`).join(' and ')}`,
      next: 'give the offset in the file of the one that is meant',
    });
  }
  const versions = [...new Set(named.map((each) => each.version))].filter((each) => each !== '');
  const next = versions.length > 0 ? `it has ${versions.join(' and ')}` : didYouMean(name, new Set(all.map((each) => each.name)));
  throw new UsageError({
    code: 'E_SYMBOL',
    what: named.length > 0 ? 'the function has no such version' : 'the file has no such function',
    where,
    ...(next === '' ? { why: 'its symbols may be stripped', next: 'give the offset in the file' } : { next }),
  });
}

/** Offsets of functions in ELF files; each file is read once, however many functions are asked for. */
export class FunctionOffsets {
  readonly #files = new Map<string, ReadonlyMap<string, ElfFunction>>();

  /** Where a function begins in a file; null where the file has none of this name. Throws E_BINARY where it cannot be read, FormatError where it is no ELF file. */
  find(path: string, name: string): number | null {
    return this.#of(path).get(name)?.offset ?? null;
  }

  /** As {@link find}, of the functions that a file shows to the dynamic linker. */
  findExported(path: string, name: string): number | null {
    const found = this.#of(path).get(name);
    return found?.exported === true ? found.offset : null;
  }

  #of(path: string): ReadonlyMap<string, ElfFunction> {
    let functions = this.#files.get(path);
    if (functions === undefined) {
      functions = bestByName(readBinary(path));
      this.#files.set(path, functions);
    }
    return functions;
  }
}

/** Of each name the function that is meant by it, the first of equal ones. */
function bestByName(elf: ElfFile): ReadonlyMap<string, ElfFunction> {
  const functions = new Map<string, ElfFunction>();
  for (const each of functionsOf(elf)) {
    const before = functions.get(each.name);
    if (before === undefined || before.rank < each.rank) functions.set(each.name, each);
  }
  return functions;
}
