import { openObject } from '../../src/bpf/object/open.ts';
import type { ObjectSpec } from '../../src/bpf/object/spec.ts';
import type { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { BPF_MAP_TYPE } from '../../src/bpf/uapi/map-type.gen.ts';
import { nameOf } from '../../src/bpf/uapi/names.ts';
import { fixture } from '../fixture.ts';

/** The fixture with maps of many kinds, less those of kinds that came after this kernel, and which those are. */
export interface Kinds {
  readonly spec: ObjectSpec;
  /** Why there is no such map, by its name. */
  readonly lacking: ReadonlyMap<string, string>;
}

/** Opens it for this kernel, whose own BTF says which kinds of maps it knows. */
export function openKinds(kernel: Kernel): Kinds {
  const spec = openObject(fixture('kinds.bpf.o'), { name: 'kinds' });
  const known = mapTypesOf(kernel);
  const lacking = new Map<string, string>();
  for (const map of spec.maps) {
    const type = nameOf(BPF_MAP_TYPE, map.type) ?? '';
    if (known.has(type)) continue;
    map.autocreate = false;
    lacking.set(map.name, `this kernel has no ${type}`);
  }
  if (lacking.has('commands')) for (const program of spec.programs) if (program.name === 'drain') program.autoload = false;
  return { spec, lacking };
}

function mapTypesOf(kernel: Kernel): ReadonlySet<string> {
  const btf = kernel.vmlinuxBtf();
  const id = btf?.findByName('bpf_map_type', 'ENUM') ?? null;
  const type = btf === null || id === null ? null : btf.type(id);
  return new Set(type?.kind === 'ENUM' ? type.values.map(({ name }) => name) : []);
}
