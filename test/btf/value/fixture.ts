import { readFileSync } from 'node:fs';
import { Btf, btfFromElf } from '../../../src/btf/index.ts';
import { parseElf, sectionNamed } from '../../../src/elf/index.ts';

/** An object of fixtures/btf: its BTF and a view of each global variable's initial bytes, placed by the symbol table. */
export interface ValueFixture {
  readonly btf: Btf;
  variable(name: string): { readonly view: DataView; readonly offset: number; readonly length: number };
}

export function valueFixture(file: string): ValueFixture {
  const elf = parseElf(readFileSync(new URL(`../../../../fixtures/btf/${file}`, import.meta.url)));
  const btf = btfFromElf(elf);
  const data = sectionNamed(elf, '.data')?.data;
  if (btf === null || data === undefined) throw new Error(`${file} has no BTF or no .data`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  return {
    btf,
    variable(name) {
      const symbol = elf.symbols.find((candidate) => candidate.name === name);
      if (symbol === undefined) throw new Error(`${file} has no symbol ${name}`);
      return { view, offset: Number(symbol.value), length: Number(symbol.size) };
    },
  };
}

/** The id of a type that must be there. */
export function idOf(btf: Btf, name: string): number {
  const id = btf.findByName(name);
  if (id === null) throw new Error(`no type ${name}`);
  return id;
}
