import type { Btf } from '../../btf/btf.ts';
import { BTF_LINKAGE } from '../../btf/types.ts';
import { BPF_F, BPF_MAP_TYPE } from '../uapi/index.ts';
import { dataMapName, type MapDraft, newMap } from './map-spec.ts';
import type { DataSection } from './sections.ts';
import type { MapOrigin } from './spec.ts';

/** The map that holds a data section: an array of one value, read-only for programs where the section is. */
export function dataMap({ section, origin }: DataSection, btf: Btf | null, objectName: string): MapDraft {
  const place = { sectionName: section.name, sectionIndex: section.index, sectionOffset: 0 };
  const data = origin === 'bss' ? new Uint8Array(section.size) : section.data.slice();
  return internalMap(newMap(section.name, origin, place), data, btf, objectName);
}

/** The map of kconfig values; its contents are known when the object is linked for a kernel. */
export function kconfigMap(size: number, symbolTableIndex: number, btf: Btf | null, objectName: string): MapDraft {
  const map = newMap('.kconfig', 'kconfig', { sectionName: '.kconfig', sectionIndex: symbolTableIndex, sectionOffset: 0 });
  return internalMap(map, new Uint8Array(size), btf, objectName);
}

function internalMap(map: MapDraft, data: Uint8Array, btf: Btf | null, objectName: string): MapDraft {
  map.libbpfName = dataMapName(objectName, map.name, map.origin);
  map.type = BPF_MAP_TYPE.BPF_MAP_TYPE_ARRAY;
  map.keySize = 4;
  map.valueSize = data.length;
  map.maxEntries = 1;
  map.flags = isReadOnly(map.origin) ? BPF_F.BPF_F_RDONLY_PROG : 0;
  // Sections of merged strings (.rodata.str1.1) have no BTF.
  map.valueTypeId = btf?.findByName(map.name) ?? 0;
  if (btf !== null && isMmapable(btf, map.valueTypeId)) map.flags |= BPF_F.BPF_F_MMAPABLE;
  map.data = data;
  return map;
}

export function isReadOnly(origin: MapOrigin): boolean {
  return origin === 'rodata' || origin === 'kconfig';
}

/** Mapped into memory only where a variable is visible to user space: global, and not hidden. */
function isMmapable(btf: Btf, datasecId: number): boolean {
  const datasec = btf.type(datasecId);
  if (datasec.kind !== 'DATASEC') return false;
  return datasec.variables.some((info) => {
    const variable = btf.type(info.typeId);
    return variable.kind === 'VAR' && variable.linkage !== BTF_LINKAGE.STATIC;
  });
}
