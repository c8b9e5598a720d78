import { STT } from '../../elf/constants.ts';
import { fileOffsetOf } from '../../elf/segment.ts';
import { readBinary } from './binary.ts';

/** Offsets of functions in ELF files; each file is read once, however many functions are asked for. */
export class FunctionOffsets {
  readonly #files = new Map<string, Functions>();

  /** Where a function begins in a file; null where the file has none of this name. Throws E_BINARY where it cannot be read, FormatError where it is no ELF file. */
  find(path: string, name: string): number | null {
    return this.#of(path).offsets.get(name) ?? null;
  }

  /** As {@link find}, of the functions that a file shows to the dynamic linker. */
  findExported(path: string, name: string): number | null {
    const { offsets, exported } = this.#of(path);
    return exported.has(name) ? (offsets.get(name) ?? null) : null;
  }

  #of(path: string): Functions {
    let functions = this.#files.get(path);
    if (functions === undefined) {
      functions = functionsOf(path);
      this.#files.set(path, functions);
    }
    return functions;
  }
}

interface Functions {
  readonly offsets: ReadonlyMap<string, number>;
  readonly exported: ReadonlySet<string>;
}

function functionsOf(path: string): Functions {
  const elf = readBinary(path);
  const functions = new Map<string, number>();
  const exported = new Set<string>();
  for (const symbols of [elf.dynamicSymbols, elf.symbols]) {
    for (const { type, name, value, sectionIndex } of symbols) {
      // STT_GNU_IFUNC would be the function that chooses, not the one that is called.
      if (type !== STT.FUNC || value === 0n || sectionIndex === 0) continue;
      // `name@@VERSION` is what programs get that are linked today, `name@VERSION` what older ones got.
      const [plain = '', ...version] = name.split('@');
      if (functions.has(plain) && version.length < 2) continue;
      const offset = fileOffsetOf(elf, value);
      if (offset !== null) functions.set(plain, offset);
      if (symbols === elf.dynamicSymbols) exported.add(plain);
    }
  }
  return { offsets: functions, exported };
}
