import { relocationsOf } from '../../elf/relocation.ts';
import { SHN, STB, STT } from '../../elf/constants.ts';
import type { ElfRelocation, ElfSection, ElfSymbol } from '../../elf/types.ts';
import { FormatError } from '../../error.ts';
import { InsnSlots } from '../insn/insn.ts';
import { BPF_OPCODE } from '../insn/opcodes.ts';
import { BPF_PSEUDO } from '../uapi/index.ts';
import type { PlacedExtern } from './extern.ts';
import { functionAt, type FunctionTable, isExtern } from './functions.ts';
import type { MapDraft } from './map-spec.ts';
import type { ObjectSections } from './sections.ts';
import type { InsnRelocation, RelocationTarget } from './spec.ts';

/** What relocations of code can refer to. */
export interface RelocationWorld {
  readonly sections: ObjectSections;
  readonly functions: FunctionTable;
  readonly maps: readonly MapDraft[];
  readonly externs: readonly PlacedExtern[];
  /** The arena's map, which the globals of .addr_space.1 are in. */
  readonly arena: MapDraft | null;
  readonly strict: boolean;
}

/** The world with what is looked up often. */
interface Lookup extends RelocationWorld {
  readonly externBySymbol: ReadonlyMap<number, PlacedExtern>;
  readonly dataMapBySection: ReadonlyMap<number, MapDraft>;
  readonly mapByPlace: ReadonlyMap<string, MapDraft>;
  readonly code: ReadonlySet<number>;
}

/** Relocations of every code section, by its index, sorted by instruction. */
export function collectCodeRelocations(
  world: RelocationWorld,
  insnsOf: (section: number) => Uint8Array,
): ReadonlyMap<number, readonly InsnRelocation[]> {
  const declared = world.maps.filter((map) => map.origin === 'btf' || map.origin === 'legacy');
  const data = world.maps.filter((map) => map.origin === 'data' || map.origin === 'rodata' || map.origin === 'bss');
  const lookup: Lookup = {
    ...world,
    externBySymbol: new Map(world.externs.map((extern) => [extern.symbolIndex, extern])),
    dataMapBySection: new Map(data.map((map) => [map.sectionIndex, map])),
    // toReversed: of maps at one place the first counts.
    mapByPlace: new Map(declared.toReversed().map((map) => [placeKey(map.sectionIndex, BigInt(map.sectionOffset)), map])),
    code: new Set(world.sections.code.map((section) => section.index)),
  };
  const bySection = new Map<number, InsnRelocation[]>();
  for (const { table, target } of world.sections.relocations) {
    if (!lookup.code.has(target.index)) continue;
    const slots = new InsnSlots(insnsOf(target.index));
    const functions = world.functions.get(target.index) ?? [];
    const list = bySection.get(target.index) ?? [];
    for (const relocation of relocationsOf(world.sections.elf, table)) {
      const symbol = world.sections.elf.symbols[relocation.symbolIndex];
      const fail = failure(target, relocation, symbol);
      if (symbol === undefined) throw fail('its symbol does not exist');
      if (relocation.offset % 8 !== 0 || relocation.offset >= target.data.length) throw fail('it is not at an instruction of the section');
      const insn = relocation.offset / 8;
      // Code of a weak function that static linking replaced stays behind, with its relocations.
      if (functionAt(functions, insn) === null) continue;
      list.push({ insn, target: targetOf(lookup, slots, insn, relocation, symbol, fail) });
    }
    bySection.set(target.index, list);
  }
  for (const list of bySection.values()) list.sort((a, b) => a.insn - b.insn);
  return bySection;
}

type Fail = (why: string, next?: string) => FormatError;

function targetOf(
  world: Lookup,
  slots: InsnSlots,
  insn: number,
  relocation: ElfRelocation,
  symbol: ElfSymbol,
  fail: Fail,
): RelocationTarget {
  const code = slots.code(insn);
  const isCall = code === BPF_OPCODE.CALL;
  if (!isCall && (code !== BPF_OPCODE.LDIMM64 || insn + 1 >= slots.count)) throw fail(`opcode 0x${code.toString(16)} takes no relocation`);
  // A RELA record replaces what the instruction holds.
  const addend = relocation.addend === null ? slots.imm(insn) : Number(BigInt.asIntN(32, relocation.addend));
  if (isExtern(symbol)) return externTarget(world, symbol, isCall, fail);
  const { sectionIndex } = symbol;
  if (isCall) return callTarget(world, slots, insn, symbol, fail);

  if (sectionIndex === SHN.UNDEF || sectionIndex >= SHN.LORESERVE) {
    throw fail('its symbol is in no section', 'give the global variable an initial value, or link the object that defines it');
  }
  const value = symbol.value;
  if (isSubprogram(world, symbol)) {
    const offset = Number(value) + addend;
    if (value % 8n !== 0n || addend % 8 !== 0 || offset < 0) throw fail(`a function cannot begin at ${value}+${addend}`);
    return { kind: 'func', sectionIndex, offset, symbol: symbolName(world, symbol) };
  }
  if (world.sections.arena?.index === sectionIndex) {
    if (world.arena === null) throw fail('the object has no arena map', 'declare a map of type BPF_MAP_TYPE_ARENA');
    return { kind: 'map_value', map: world.arena.name, offset: low32(value, addend) };
  }
  if (world.sections.jumpTables?.index === sectionIndex) {
    return { kind: 'insn_array', offset: Number(BigInt.asUintN(32, value)), size: Number(BigInt.asUintN(32, symbol.size)) };
  }
  const data = world.dataMapBySection.get(sectionIndex);
  if (data !== undefined) return { kind: 'map_value', map: data.name, offset: low32(value, addend) };
  const map = world.mapByPlace.get(placeKey(sectionIndex, value));
  if (map !== undefined) return { kind: 'map', map: map.name };
  const section = world.sections.elf.sections[sectionIndex];
  if (section === undefined) throw fail(`section ${sectionIndex} does not exist`);
  throw fail(
    `there is no map at offset ${value} of section ${section.name}`,
    'only maps, global variables and functions can be referred to',
  );
}

function externTarget(world: Lookup, symbol: ElfSymbol, isCall: boolean, fail: Fail): RelocationTarget {
  const extern = world.externBySymbol.get(symbol.index);
  if (extern === undefined) {
    if (world.strict) throw fail('the object neither defines the symbol nor says in its BTF what it is');
    return { kind: 'undefined', symbol: symbol.name };
  }
  return { kind: isCall ? 'extern_call' : 'extern_var', extern: extern.name };
}

/** For a static function the symbol is the section's and imm its place; for a global one imm is -1. */
function callTarget(world: Lookup, slots: InsnSlots, insn: number, symbol: ElfSymbol, fail: Fail): RelocationTarget {
  if (slots.src(insn) !== BPF_PSEUDO.BPF_PSEUDO_CALL) throw fail('the call is not one of a BPF function');
  const { sectionIndex } = symbol;
  const allowed = world.strict ? sectionIndex !== 0 && sectionIndex === world.sections.textIndex : world.code.has(sectionIndex);
  if (!allowed) throw fail('calls go to functions in .text');
  if (symbol.value % 8n !== 0n) throw fail(`a function cannot begin at ${symbol.value}`);
  const offset = Number(symbol.value) + (slots.imm(insn) + 1) * 8;
  return { kind: 'call', sectionIndex, offset, symbol: symbolName(world, symbol) };
}

/** A function in .text, or .text itself with an addend for static functions; elsewhere only without strict. */
function isSubprogram(world: Lookup, symbol: ElfSymbol): boolean {
  if (!world.code.has(symbol.sectionIndex)) return false;
  if (!world.strict) return symbol.type === STT.FUNC || symbol.type === STT.SECTION;
  if (symbol.sectionIndex !== world.sections.textIndex) return false;
  return symbol.binding === STB.LOCAL ? symbol.type === STT.SECTION : symbol.type === STT.FUNC;
}

function symbolName(world: Lookup, symbol: ElfSymbol): string {
  return symbol.name !== '' ? symbol.name : (world.sections.elf.sections[symbol.sectionIndex]?.name ?? '');
}

function placeKey(section: number, offset: bigint): string {
  return `${section}:${offset}`;
}

/** What libbpf puts into the second slot: the sum, cut to 32 bits. */
function low32(value: bigint, addend: number): number {
  return Number(BigInt.asUintN(32, value + BigInt(addend)));
}

function failure(section: ElfSection, relocation: ElfRelocation, symbol: ElfSymbol | undefined): Fail {
  return (why, next) =>
    new FormatError({
      code: 'E_RELOCATION',
      what: 'cannot relocate an instruction',
      where: { section: section.name, insn: Math.floor(relocation.offset / 8), symbol: symbol?.name ?? relocation.symbolIndex },
      why,
      ...(next === undefined ? {} : { next }),
    });
}
