import type { Btf } from '../../btf/btf.ts';
import { BTF_LINKAGE } from '../../btf/types.ts';
import { STB, STT, STV } from '../../elf/constants.ts';
import type { ElfFile } from '../../elf/types.ts';
import type { MapDraft } from './map-spec.ts';
import type { VariableSpec } from './spec.ts';

/** The global variables of the data maps: from the BTF, and where a section has none there, from its symbols. */
export function collectVariables(maps: readonly MapDraft[], elf: ElfFile, btf: Btf | null): VariableSpec[] {
  return maps.flatMap((map) => {
    if (map.origin !== 'data' && map.origin !== 'rodata' && map.origin !== 'bss') return [];
    const datasec = btf === null ? null : btf.type(map.valueTypeId);
    if (btf === null || datasec?.kind !== 'DATASEC') return fromSymbols(map, elf);
    return datasec.variables.flatMap(({ typeId, offset, size }): VariableSpec[] => {
      const variable = btf.type(typeId);
      if (variable.kind !== 'VAR' || offset + size > map.valueSize) return [];
      const linkage = variable.linkage === BTF_LINKAGE.STATIC ? 'static' : 'global';
      return [{ name: variable.name, map: map.name, offset, size, typeId: variable.typeId, linkage }];
    });
  });
}

function fromSymbols(map: MapDraft, elf: ElfFile): VariableSpec[] {
  const variables: VariableSpec[] = [];
  for (const symbol of elf.symbols) {
    if (symbol.sectionIndex !== map.sectionIndex || symbol.type !== STT.OBJECT || symbol.name === '') continue;
    if (symbol.value + symbol.size > BigInt(map.valueSize)) continue;
    const hidden = symbol.binding === STB.LOCAL || symbol.visibility === STV.HIDDEN || symbol.visibility === STV.INTERNAL;
    const linkage = hidden ? 'static' : 'global';
    variables.push({ name: symbol.name, map: map.name, offset: Number(symbol.value), size: Number(symbol.size), typeId: 0, linkage });
  }
  return variables.toSorted((a, b) => a.offset - b.offset);
}
