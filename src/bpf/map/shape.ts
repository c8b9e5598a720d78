import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';

/** What the kernel was told when the map was made. */
export interface MapShape {
  readonly name: string;
  /** BPF_MAP_TYPE_* number. */
  readonly type: number;
  /** Bytes. */
  readonly keySize: number;
  /** Bytes, of one CPU's value where there is one for each. */
  readonly valueSize: number;
  readonly maxEntries: number;
  /** BPF_F_* of the creation. */
  readonly flags: number;
  readonly mapExtra: bigint;
}

const T = BPF_MAP_TYPE;

function has(types: readonly number[]): (type: number) => boolean {
  const set = new Set(types);
  return (type) => set.has(type);
}

/** One value for each possible CPU. */
export const isPerCpu: (type: number) => boolean = has([
  T.BPF_MAP_TYPE_PERCPU_HASH,
  T.BPF_MAP_TYPE_PERCPU_ARRAY,
  T.BPF_MAP_TYPE_LRU_PERCPU_HASH,
  T.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
]);

/** Values are maps: file descriptors going in, ids coming out. */
export const isMapInMap: (type: number) => boolean = has([T.BPF_MAP_TYPE_ARRAY_OF_MAPS, T.BPF_MAP_TYPE_HASH_OF_MAPS]);

/** Without keys: push, pop and peek. */
export const isQueue: (type: number) => boolean = has([T.BPF_MAP_TYPE_QUEUE, T.BPF_MAP_TYPE_STACK]);

/** Keys are 0 to maxEntries - 1 and always there. */
export const isArray: (type: number) => boolean = has([T.BPF_MAP_TYPE_ARRAY, T.BPF_MAP_TYPE_PERCPU_ARRAY]);

/** Types for which the kernel takes no BTF key and value ids. */
export const refusesBtf: (type: number) => boolean = has([
  T.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  T.BPF_MAP_TYPE_CGROUP_ARRAY,
  T.BPF_MAP_TYPE_STACK_TRACE,
  T.BPF_MAP_TYPE_ARRAY_OF_MAPS,
  T.BPF_MAP_TYPE_HASH_OF_MAPS,
  T.BPF_MAP_TYPE_DEVMAP,
  T.BPF_MAP_TYPE_DEVMAP_HASH,
  T.BPF_MAP_TYPE_CPUMAP,
  T.BPF_MAP_TYPE_XSKMAP,
  T.BPF_MAP_TYPE_SOCKMAP,
  T.BPF_MAP_TYPE_SOCKHASH,
  T.BPF_MAP_TYPE_QUEUE,
  T.BPF_MAP_TYPE_STACK,
  T.BPF_MAP_TYPE_ARENA,
]);

/** Bytes of one CPU's value as the kernel copies it: rounded up to 8. */
export function perCpuStride(valueSize: number): number {
  return Math.ceil(valueSize / 8) * 8;
}

/** Bytes of a value as the kernel copies it to and from us. */
export function copiedValueSize(type: number, valueSize: number, possibleCpus: number): number {
  if (isPerCpu(type)) return perCpuStride(valueSize) * possibleCpus;
  // An fd array's look-up copies the id, a u32, whatever value_size says (fd_array_map_lookup_elem).
  return isMapInMap(type) ? 4 : valueSize;
}

/** Splits what the kernel copied into one value per possible CPU. */
export function splitPerCpu(bytes: Uint8Array, valueSize: number): Uint8Array[] {
  const stride = perCpuStride(valueSize);
  return Array.from({ length: Math.floor(bytes.length / stride) }, (_, i) => bytes.slice(i * stride, i * stride + valueSize));
}

/** Joins one value per possible CPU into what the kernel wants. */
export function joinPerCpu(values: readonly Uint8Array[], valueSize: number): Uint8Array {
  const stride = perCpuStride(valueSize);
  const bytes = new Uint8Array(stride * values.length);
  values.forEach((value, i) => bytes.set(value, i * stride));
  return bytes;
}
