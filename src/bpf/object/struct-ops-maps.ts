import type { Btf } from '../../btf/btf.ts';
import { skipModifiersAndTypedefs } from '../../btf/resolve.ts';
import type { ElfSection } from '../../elf/types.ts';
import { FormatError, type RawbpfError } from '../../error.ts';
import { BPF_F, BPF_MAP_TYPE } from '../uapi/index.ts';
import { type MapDraft, newMap } from './map-spec.ts';

/** The maps of a .struct_ops section: one for each variable, whose struct holds data and pointers to programs. */
export function readStructOpsMaps(section: ElfSection, btf: Btf): MapDraft[] {
  const bad = (variable: string, why: string): RawbpfError =>
    new FormatError({ code: 'E_STRUCT_OPS', what: 'malformed struct_ops variable', where: { section: section.name, variable }, why });
  const id = btf.findByName(section.name, 'DATASEC');
  const datasec = id === null ? null : btf.type(id);
  if (datasec?.kind !== 'DATASEC') throw bad('', `there is no DATASEC ${section.name} in the BTF`);
  return datasec.variables.map((info) => {
    const name = btf.nameOf(info.typeId);
    const variable = btf.type(info.typeId);
    const typeId = skipModifiersAndTypedefs(btf, variable.kind === 'VAR' ? variable.typeId : info.typeId);
    const type = btf.type(typeId);
    if (type.kind !== 'STRUCT' || type.name === '')
      throw bad(name, type.kind === 'STRUCT' ? 'its struct has no name' : `it is not a struct but ${type.kind}`);
    if (info.offset + type.size > section.data.length)
      throw bad(name, `bytes ${info.offset} to ${info.offset + type.size} of a section of ${section.data.length}`);
    const map = newMap(name, 'struct_ops', { sectionName: section.name, sectionIndex: section.index, sectionOffset: info.offset });
    map.type = BPF_MAP_TYPE.BPF_MAP_TYPE_STRUCT_OPS;
    map.keySize = 4;
    map.valueSize = type.size;
    map.maxEntries = 1;
    map.flags = section.name.endsWith('.struct_ops.link') ? BPF_F.BPF_F_LINK : 0;
    map.valueTypeId = typeId;
    map.autocreate = !section.name.startsWith('?');
    map.data = section.data.slice(info.offset, info.offset + type.size);
    map.structOps = { typeId, programs: [] };
    return map;
  });
}
