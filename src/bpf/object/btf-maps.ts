import type { Btf } from '../../btf/btf.ts';
import { skipModifiersAndTypedefs } from '../../btf/resolve.ts';
import { BTF_KIND, BTF_LINKAGE, type BtfDatasec } from '../../btf/types.ts';
import type { ElfSection } from '../../elf/types.ts';
import { FormatError, type RawbpfError, UnsupportedError } from '../../error.ts';
import { BPF_MAP_TYPE } from '../uapi/index.ts';
import { readMapDef } from './map-def.ts';
import { type MapDraft, newMap, ringbufSize } from './map-spec.ts';

/** How BTF-defined maps are read. */
export interface BtfMapOptions {
  readonly strict: boolean;
  readonly pageSize: number;
}

/** A map with the extent of its variable, which relocations of its `values` fall into. */
export interface PlacedMap {
  readonly map: MapDraft;
  readonly offset: number;
  readonly size: number;
  /** Offset of the `values` member within the variable, null where there is none. */
  readonly valuesAt: number | null;
}

/** The maps of the .maps section, in the order of their offsets. */
export function readBtfMaps(section: ElfSection, btf: Btf, options: BtfMapOptions): PlacedMap[] {
  const id = btf.findByName('.maps', 'DATASEC');
  if (id === null) {
    throw new FormatError({
      code: 'E_MAPS_BTF',
      what: 'the maps have no BTF',
      where: { section: '.maps' },
      why: 'there is no DATASEC .maps',
      next: 'compile with -g',
    });
  }
  const datasec = btf.type(id) as BtfDatasec;
  const tags = tagsByVariable(btf);
  return datasec.variables.map((info, index) => {
    const variable = btf.type(info.typeId);
    if (variable.kind !== 'VAR') throw mapError(`#${index}`, `its type is not a VAR but ${variable.kind}`);
    const { name } = variable;
    if (name === '') throw mapError(`#${index}`, 'it has no name');
    if (info.offset + info.size > section.size)
      throw mapError(name, `bytes ${info.offset} to ${info.offset + info.size} of a section of ${section.size}`);
    if (variable.linkage !== BTF_LINKAGE.GLOBAL) throw linkageError(name, variable.linkage);
    const def = btf.type(skipModifiersAndTypedefs(btf, variable.typeId));
    if (def.kind !== 'STRUCT') throw mapError(name, `it is not a struct but ${def.kind}`);
    if (def.size > info.size) throw mapError(name, `its struct has ${def.size} bytes, the variable ${info.size}`);

    const place = { sectionName: section.name, sectionIndex: section.index, sectionOffset: info.offset };
    const map = newMap(name, 'btf', place);
    readMapDef(map, btf, def, { newInner: () => newMap(`${name}.inner`, 'btf', place), depth: 0, strict: options.strict });
    map.tags = tags.get(info.typeId) ?? [];
    for (let at: MapDraft | null = map; at !== null; at = at.inner) adjust(at, options);
    const values = def.members.at(-1);
    const valuesAt = values?.name === 'values' ? Math.floor(values.bitOffset / 8) : null;
    return { map, offset: info.offset, size: info.size, valuesAt };
  });
}

function adjust(map: MapDraft, options: BtfMapOptions): void {
  const ring = map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF || map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_USER_RINGBUF;
  if (!ring) return;
  map.maxEntries = ringbufSize(map.maxEntries, options.pageSize);
  // Gadgets name the type of a ring's records as its value; the kernel wants no key and no value there.
  if (!options.strict) map.keySize = map.valueSize = 0;
}

/** Decl tags on whole variables: `__attribute__((btf_decl_tag("...")))`. */
function tagsByVariable(btf: Btf): ReadonlyMap<number, readonly string[]> {
  const tags = new Map<number, string[]>();
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== BTF_KIND.DECL_TAG) continue;
    const type = btf.type(id);
    if (type.kind !== 'DECL_TAG' || type.componentIndex !== -1) continue;
    const known = tags.get(type.typeId);
    if (known === undefined) tags.set(type.typeId, [type.name]);
    else known.push(type.name);
  }
  return tags;
}

function mapError(map: string, why: string): RawbpfError {
  return new FormatError({ code: 'E_MAP_DEF', what: 'malformed map definition', where: { section: '.maps', map }, why });
}

function linkageError(map: string, linkage: number): RawbpfError {
  const what = linkage === BTF_LINKAGE.STATIC ? 'static' : linkage === BTF_LINKAGE.EXTERN ? 'extern' : `of linkage ${linkage}`;
  return new UnsupportedError({
    code: 'E_MAP_LINKAGE',
    what: `a map is ${what}`,
    where: { section: '.maps', map },
    why: 'maps are global variables',
    next: linkage === BTF_LINKAGE.EXTERN ? 'link the object that defines it first' : 'remove static',
  });
}
