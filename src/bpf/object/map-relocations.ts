import { relocationsOf } from '../../elf/relocation.ts';
import type { ElfSymbol } from '../../elf/types.ts';
import type { Btf } from '../../btf/btf.ts';
import { skipModifiersAndTypedefs } from '../../btf/resolve.ts';
import { FormatError, type RawbpfError } from '../../error.ts';
import { BPF_MAP_TYPE, BPF_PROG_TYPE } from '../uapi/index.ts';
import type { PlacedMap } from './btf-maps.ts';
import { isMapInMap } from './map-def.ts';
import type { MapDraft } from './map-spec.ts';
import type { ObjectSections } from './sections.ts';
import type { MapSlot, ProgramSpec } from './spec.ts';

/** No kernel map is larger; slots are listed one by one. */
const maxSlots = 2 ** 20;

/** Reads the `values` of map-in-maps and program arrays: each relocation of .maps fills one slot. */
export function fillMapSlots(sections: ObjectSections, placed: readonly PlacedMap[], programs: readonly ProgramSpec[]): void {
  const { elf, maps: section } = sections;
  for (const { table, target } of sections.relocations) {
    if (section === null || target.index !== section.index) continue;
    const slots = new Map<MapDraft, Map<number, MapSlot>>();
    for (const relocation of relocationsOf(elf, table)) {
      const symbol = elf.symbols[relocation.symbolIndex];
      const where = { section: '.maps', offset: relocation.offset, symbol: symbol?.name ?? relocation.symbolIndex };
      const fail = (why: string): RawbpfError => new FormatError({ code: 'E_MAP_VALUES', what: 'cannot fill a slot of a map', where, why });
      const holder = placed.find(({ offset, size }) => offset <= relocation.offset && relocation.offset + 8 <= offset + size);
      if (symbol === undefined || holder === undefined) throw fail('it lies in no map');
      if (holder.valuesAt === null) throw fail(`map ${holder.map.name} has no member \`values\` at its end`);
      const at = relocation.offset - holder.offset - holder.valuesAt;
      const index = at / 8;
      if (!Number.isInteger(index) || index < 0 || index >= maxSlots) throw fail(`byte ${at} is no slot of map ${holder.map.name}`);
      const slot = slotOf(holder.map, index, symbol, sections, placed, programs, fail);
      const known = slots.get(holder.map);
      if (known === undefined) slots.set(holder.map, new Map([[index, slot]]));
      else known.set(index, slot);
    }
    for (const [map, byIndex] of slots) map.slots = [...byIndex.values()].toSorted((a, b) => a.index - b.index);
  }
}

function slotOf(
  map: MapDraft,
  index: number,
  symbol: ElfSymbol,
  sections: ObjectSections,
  placed: readonly PlacedMap[],
  programs: readonly ProgramSpec[],
  fail: (why: string) => RawbpfError,
): MapSlot {
  const { name } = symbol;
  if (isMapInMap(map.type)) {
    if (symbol.sectionIndex !== sections.maps?.index) throw fail('it is not a map of .maps');
    if (map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_HASH_OF_MAPS && map.keySize !== 4)
      throw fail(`the keys of hash of maps ${map.name} are not 4 bytes`);
    if (!placed.some((other) => other.map.name === name)) throw fail('it is not a map');
    return { index, kind: 'map', name };
  }
  if (map.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_PROG_ARRAY) throw fail(`map ${map.name} holds neither maps nor programs`);
  const program = programs.find((other) => other.name === name);
  if (program === undefined) throw fail('it is not a program');
  if (program.sectionIndex !== symbol.sectionIndex || BigInt(program.sectionInsn * 8) !== symbol.value)
    throw fail('it is not the entry of a program');
  return { index, kind: 'program', name };
}

/** Reads the function pointers of struct_ops variables. */
export function fillStructOps(sections: ObjectSections, maps: readonly MapDraft[], programs: readonly ProgramSpec[], btf: Btf): void {
  const { elf } = sections;
  for (const { table, target } of sections.relocations) {
    if (!sections.structOps.includes(target)) continue;
    for (const relocation of relocationsOf(elf, table)) {
      const symbol = elf.symbols[relocation.symbolIndex];
      const where = { section: target.name, offset: relocation.offset, symbol: symbol?.name ?? relocation.symbolIndex };
      const fail = (why: string): RawbpfError =>
        new FormatError({ code: 'E_STRUCT_OPS', what: 'cannot fill a struct_ops member', where, why });
      const map = maps.find(
        ({ sectionIndex, sectionOffset, data }) =>
          sectionIndex === target.index && sectionOffset <= relocation.offset && relocation.offset < sectionOffset + (data?.length ?? 0),
      );
      if (symbol === undefined || map === undefined || map.structOps === null) throw fail('it lies in no struct_ops variable');
      const type = btf.type(map.structOps.typeId);
      if (type.kind !== 'STRUCT') throw fail('its variable is no struct');
      const bit = (relocation.offset - map.sectionOffset) * 8;
      const member = type.members.findIndex((candidate) => candidate.bitOffset === bit);
      const pointer = type.members[member];
      if (pointer === undefined) throw fail(`struct ${type.name} has no member at byte ${bit / 8}`);
      if (!isFunctionPointer(btf, pointer.typeId)) throw fail(`member ${pointer.name} is no pointer to a function`);
      const program = programs.find(
        ({ sectionIndex, sectionInsn, insns }) =>
          sectionIndex === symbol.sectionIndex &&
          symbol.value >= BigInt(sectionInsn * 8) &&
          symbol.value < BigInt(sectionInsn * 8 + insns.length),
      );
      if (program === undefined) throw fail(`member ${pointer.name} points to no program`);
      if (program.type !== BPF_PROG_TYPE.BPF_PROG_TYPE_STRUCT_OPS)
        throw fail(`program ${program.name} is in section ${program.sectionName}, not struct_ops`);
      const others = map.structOps.programs.filter((other) => other.member !== member);
      map.structOps = { ...map.structOps, programs: [...others, { member, program: program.name }] };
    }
  }
}

function isFunctionPointer(btf: Btf, typeId: number): boolean {
  const pointer = btf.type(skipModifiersAndTypedefs(btf, typeId));
  return pointer.kind === 'PTR' && btf.type(skipModifiersAndTypedefs(btf, pointer.typeId)).kind === 'FUNC_PROTO';
}
