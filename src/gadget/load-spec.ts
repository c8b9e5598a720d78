import type { Kernel } from '../bpf/kernel/kernel.ts';
import type { MapSpec, ObjectSpec } from '../bpf/object/spec.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { BPF_F, BPF_MAP_TYPE } from '../bpf/uapi/index.ts';
import { printable } from '../bytes/printable.ts';
import { FormatError, UnsupportedError } from '../error.ts';
import { GADGET_NAMES } from './contract.ts';
import { isAlternative } from './alternatives.ts';
import type { Gadget } from './gadget.ts';
import { splicePacketFilters } from './packet-filter/splice.ts';

/** The object as it is loaded: maps sized by their variables and as `valueSizes` say, and what the ring buffer path never uses made small. */
export function specToLoad(
  gadget: Gadget,
  kernel: Kernel,
  valueSizes: Readonly<Record<string, number>> = {},
  replaced: Readonly<Record<string, BpfMap>> = {},
): ObjectSpec {
  const { spec } = gadget;
  const maps = spec.maps.map((map) => {
    if (map.name === GADGET_NAMES.heapMap && heapIsUnused(spec, gadget, kernel)) {
      // The path that uses it is cut off by the verifier, and without its BTF types the size is free.
      return { ...map, valueSize: 8, keyTypeId: 0, valueTypeId: 0 };
    }
    if (map.name === GADGET_NAMES.heapMap && !kernel.ringbuf && map.valueSize > maxPerCpuValue) throw heapTooLarge(spec, map);
    const entries = sizeFromVariable(spec, map);
    const flags = flagsBeside(map, Object.hasOwn(replaced, map.name) ? replaced[map.name] : undefined);
    const sized = entries === null && flags === map.flags ? map : { ...map, flags, maxEntries: entries ?? map.maxEntries };
    const valueSize = Object.hasOwn(valueSizes, map.name) ? valueSizes[map.name] : undefined;
    // BTF types would contradict another size.
    return valueSize === undefined || valueSize === sized.valueSize ? sized : { ...sized, valueSize, keyTypeId: 0, valueTypeId: 0 };
  });
  // Alternatives are declared as SEC("?...") so that other loaders leave them alone.
  const programs = spec.programs.map((program) => {
    const enabled = isEnabled(gadget, program.name);
    if (enabled !== null) return { ...program, autoload: enabled };
    return isAlternative(gadget, program) ? { ...program, autoload: true } : program;
  });
  return splicePacketFilters({ ...spec, maps, programs }, gadget.params.packetFilters);
}

/** When the kernel takes a map's memory is a matter of whoever makes the map; programs cannot tell. */
function flagsBeside(map: MapSpec, replaced: BpfMap | undefined): number {
  if (replaced === undefined) return map.flags;
  return (map.flags & ~BPF_F.BPF_F_NO_PREALLOC) | (replaced.flags & BPF_F.BPF_F_NO_PREALLOC);
}

/** Whether one of the variables is true that gadget.yaml ties a program to (`enabledBy`); null where it ties it to none. */
function isEnabled(gadget: Gadget, program: string): boolean | null {
  const variables = gadget.metadata.programs.get(program)?.enabledBy ?? [];
  return variables.length === 0 ? null : variables.some((name) => isTrue(gadget.spec, name));
}

function isTrue(spec: ObjectSpec, name: string): boolean {
  const variable = spec.variables.find((candidate) => candidate.name === name);
  if (variable === undefined) {
    throw new FormatError({
      code: 'E_GADGET_YAML',
      what: `enabledBy names a variable that is not there: ${printable(name)}`,
      where: { object: spec.name },
    });
  }
  const data = spec.maps.find((candidate) => candidate.name === variable.map)?.data ?? null;
  return data !== null && data.subarray(variable.offset, variable.offset + variable.size).some((byte) => byte !== 0);
}

/** PCPU_MIN_UNIT_SIZE of include/linux/percpu.h: the longest value of a per-CPU map. */
const maxPerCpuValue = 32 * 1024;

function heapTooLarge(spec: ObjectSpec, { name, valueSize }: MapSpec): UnsupportedError {
  return new UnsupportedError({
    code: 'E_GADGET_EVENT_SIZE',
    what: 'the events that this gadget reserves are too large for a kernel without ring buffers',
    where: { object: spec.name, map: name, value_size: valueSize },
    why: `they wait in a per-CPU map, whose values have at most ${maxPerCpuValue} bytes`,
    next: 'define a smaller GADGET_MAX_EVENT_SIZE, or run it on Linux 5.8 or later',
  });
}

/** A constant `NAME_max_entries` says how large the map NAME is to be. */
function sizeFromVariable(spec: ObjectSpec, map: MapSpec): number | null {
  const variable = spec.variables.find((candidate) => candidate.name === `${map.name}_max_entries`);
  const data = spec.maps.find((candidate) => candidate.name === variable?.map)?.data ?? null;
  if (variable === undefined || data === null || variable.size !== 4 || variable.offset + 4 > data.length) return null;
  const size = new DataView(data.buffer, data.byteOffset, data.byteLength).getUint32(variable.offset, true);
  if (size > 0) return size;
  throw new FormatError({
    code: 'E_GADGET_MAP',
    what: 'the size of a map is zero',
    where: { object: spec.name, map: map.name, variable: variable.name },
  });
}

/** The heap holds events on their way to a perf event array; events that are only output never pass it. */
function heapIsUnused(spec: ObjectSpec, gadget: Gadget, kernel: Kernel): boolean {
  const { bufferMaps, tracers } = gadget.contract;
  if (!kernel.ringbuf || tracers.some(({ map }) => !bufferMaps.includes(map))) return false;
  return spec.maps.every((map) => !bufferMaps.includes(map.name) || map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF);
}
