import { readFileSync } from 'node:fs';
import { patchInsn } from '../../../src/bpf/insn/core-patch.ts';
import { Btf } from '../../../src/btf/btf.ts';
import type { CoreTargets } from '../../../src/btf/core/candidates.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import type { BtfExt, CoreRelo } from '../../../src/btf/ext.ts';
import { BtfBuilder, btfExtFromElf, btfFromElf, type BtfNewType } from '../../../src/btf/index.ts';
import { type ElfFile, parseElf } from '../../../src/elf/index.ts';

const folder = new URL('../../../../fixtures/core/', import.meta.url);

export interface CoreObject {
  readonly elf: ElfFile;
  readonly btf: Btf;
  readonly ext: BtfExt;
}

export function readFixture(name: string): string {
  return readFileSync(new URL(name, folder), 'utf8');
}

export function fixtureBtf(name: string): Btf {
  const btf = btfFromElf(parseElf(readFileSync(new URL(name, folder))));
  if (btf === null) throw new Error(`${name} has no BTF`);
  return btf;
}

export function fixtureObject(name: string): CoreObject {
  const elf = parseElf(readFileSync(new URL(name, folder)));
  const btf = btfFromElf(elf);
  const ext = btf === null ? null : btfExtFromElf(elf, btf);
  if (btf === null || ext === null) throw new Error(`${name} has no .BTF.ext`);
  return { elf, btf, ext };
}

/** The relocations of one program, byte offsets from its own start, and its instructions. */
export function programOf(object: CoreObject, name: string): { insns: Uint8Array; relos: CoreRelo[] } {
  const symbol = object.elf.symbols.find((s) => s.name === name);
  const section = symbol === undefined ? undefined : object.elf.sections[symbol.sectionIndex];
  if (symbol === undefined || section === undefined) throw new Error(`no program ${name}`);
  const start = Number(symbol.value);
  const end = start + Number(symbol.size);
  const relos = object.ext.coreRelos
    .filter((part) => part.sectionName === section.name)
    .flatMap((part) => part.relos)
    .filter((relo) => relo.insnOffset >= start && relo.insnOffset < end)
    .map((relo) => ({ ...relo, insnOffset: relo.insnOffset - start }));
  return { insns: Uint8Array.from(section.data.subarray(start, end)), relos };
}

/** One program, relocated alone. */
export function relocate(object: CoreObject, name: string, targets: CoreTargets): Uint8Array {
  const { insns, relos } = programOf(object, name);
  const resolver = new CoreResolver(object.btf, targets);
  for (const relo of relos) patchInsn(insns, relo.insnOffset / 8, resolver.resolve(relo));
  return insns;
}

export function kernel(vmlinux: Btf | null, more: Partial<CoreTargets> = {}): CoreTargets {
  return { vmlinux: () => vmlinux, modules: () => [], extra: [], ringbuf: true, ...more };
}

/** BTF of the given types, ids from 1 in their order. */
export function btfOf(types: readonly BtfNewType[], base?: Btf): Btf {
  const builder = new BtfBuilder(base === undefined ? {} : { base });
  for (const type of types) builder.add(type);
  return Btf.parse(builder.encode(), base === undefined ? {} : { base });
}

export const INT: BtfNewType = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 };

/** A struct whose members are all `int` (type 1), at the byte offsets given. */
export function structOf(name: string, members: Readonly<Record<string, number>>): BtfNewType {
  const list = Object.entries(members).map(([member, offset]) => ({ name: member, typeId: 1, bitOffset: offset * 8, bitSize: 0 }));
  return { kind: 'STRUCT', name, size: Math.max(0, ...Object.values(members)) + 4, members: list };
}
