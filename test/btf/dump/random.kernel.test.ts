// Random C types through clang, BTF and our header back to clang: the same tables must come out. Needs clang-19, not root.
import t from 'tap';
import { btfFromElf, dumpC } from '../../../src/btf/index.ts';
import { parseElf, type ElfFile } from '../../../src/elf/index.ts';
import { compile } from './clang.ts';
import { randomProgram } from './random-c.ts';

const seeds = (process.env['RAWBPF_SEEDS'] ?? '1,2,3,4').split(',').map(Number);
const flags = ['-g', '-fdata-sections', '-Wno-everything'];

for (const seed of seeds) {
  t.test(`types of seed ${seed}`, (t) => {
    const { definitions, tables, variables } = randomProgram(seed, 60);
    const original = compile(definitions + tables, { flags });
    t.equal(original.errors, '');
    const elf = parseElf(original.object ?? new Uint8Array());
    const btf = btfFromElf(elf);
    if (btf === null) throw new Error('no BTF');
    const header = [...dumpC(btf)].join('');
    const warned = compile(`#include "types.h"\n`, { headers: { 'types.h': header }, flags: ['-Wall', '-Werror'] });
    t.equal(warned.errors, '', 'the header compiles by itself with -Wall -Werror');
    const again = compile(`#include "types.h"\n${tables}`, { headers: { 'types.h': header }, flags });
    t.equal(again.errors, '');
    const copy = parseElf(again.object ?? new Uint8Array());
    const different = variables.filter((name) => contents(elf, name) !== contents(copy, name));
    t.same(different, [], `${variables.length} tables of sizes, offsets and initialised instances`);
    t.end();
  });
}

/** The bytes of a global variable, as hex. */
function contents(elf: ElfFile, name: string): string {
  const symbol = elf.symbols.find((candidate) => candidate.name === name);
  const section = symbol && elf.sections[symbol.sectionIndex];
  if (symbol === undefined || section === undefined) throw new Error(`no variable ${name}`);
  const at = Number(symbol.value);
  const bytes = section.data.length === 0 ? new Uint8Array(Number(symbol.size)) : section.data.subarray(at, at + Number(symbol.size));
  return Buffer.from(bytes).toString('hex');
}
