import { UsageError } from '../../error.ts';
import type { Btf } from '../../btf/btf.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { hasMapType, type MapTypeName } from '../features/map-types.ts';
import { ringbufSize } from '../object/map-spec.ts';
import type { MapSpec } from '../object/spec.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { nameOf, valueOf } from '../uapi/names.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { kernelObjectName } from '../object-name.ts';
import { BpfMap, type MapTypes } from './map.ts';
import { isMapInMap, type MapShape, refusesBtf } from './shape.ts';

/** A map to be made from nothing but these numbers. */
export interface MapOptions {
  readonly name?: string;
  /** `BPF_MAP_TYPE_HASH`, or its number. */
  readonly type: keyof typeof BPF_MAP_TYPE | number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags?: number;
  readonly numaNode?: number;
  readonly mapExtra?: bigint;
  /** For maps of maps: a map whose shape all inner maps have. */
  readonly inner?: BpfMap;
  /** Types of keys and values, for {@link BpfMap.typed}; they are also given to the kernel where `fd` is. */
  readonly btf?: MapBtf;
  /** SHA-256 over the instructions of the one program that may use the map (Linux 6.18); any may unless said. */
  readonly exclusiveHash?: Uint8Array;
}

/** BTF for a map's keys and values. */
export interface MapBtf {
  readonly btf: Btf;
  /** The descriptor of the loaded BTF object; -1 where the kernel is not to be told. */
  readonly fd: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/** Everything BPF_MAP_CREATE is told, worked out for this kernel. */
export interface MapCreation extends MapShape {
  readonly numaNode: number;
  readonly innerFd: number;
  readonly btf: MapBtf | null;
  /** For struct_ops: the type in the kernel's BTF, and its module's BTF descriptor (-1 for vmlinux). */
  readonly kernelValueType: { readonly typeId: number; readonly moduleFd: number } | null;
  /** SHA-256 over the instructions of the one program that may use the map; null for any program. */
  readonly exclusiveHash: Uint8Array | null;
  /** Data maps are mapped where the kernel can (5.5); arrays that ask for it themselves fail where it cannot. */
  readonly mmapOptional: boolean;
}

/**
 * Makes a map. Sizes are rounded as the kernel wants them (ring buffers to a power of two of pages), a perf event array of
 * no size gets one entry for each possible CPU.
 *
 * Throws SyscallError with the kernel's errno: EINVAL for a combination it does not take, EPERM explained.
 *
 * @example
 * import { createMap, defaultKernel } from 'rawbpf';
 * export function firstOut(): number | undefined {
 *   const queue = createMap(defaultKernel(), { type: 'BPF_MAP_TYPE_QUEUE', keySize: 0, valueSize: 4, maxEntries: 8 });
 *   try {
 *     queue.push(Uint8Array.of(1, 2, 3, 4));
 *     return queue.pop()?.[0]; // 1
 *   } finally {
 *     queue.close();
 *   }
 * }
 */
export function createMap(kernel: Kernel, options: MapOptions): BpfMap {
  const type = typeof options.type === 'number' ? options.type : valueOf(BPF_MAP_TYPE, options.type);
  if (type === null) throw new UsageError({ code: 'E_MAP_TYPE', what: `unknown map type ${options.type}` });
  return createFrom(kernel, {
    name: options.name ?? '',
    type,
    keySize: options.keySize,
    valueSize: options.valueSize,
    maxEntries: fitEntries(kernel, type, options.maxEntries),
    flags: options.flags ?? 0,
    mapExtra: options.mapExtra ?? 0n,
    numaNode: options.numaNode ?? 0,
    innerFd: options.inner?.fd ?? -1,
    btf: options.btf ?? null,
    kernelValueType: null,
    exclusiveHash: options.exclusiveHash ?? null,
    mmapOptional: false,
  });
}

/** What making a map from an object's spec needs besides the spec. */
export interface SpecMapOptions {
  readonly btf: { readonly btf: Btf; readonly fd: number } | null;
  /** Events go through perf buffers on this kernel and this map is a tracer's: it becomes a perf event array. */
  readonly asPerfArray?: boolean;
  readonly kernelValueType?: MapCreation['kernelValueType'];
  readonly exclusiveHash?: MapCreation['exclusiveHash'];
}

/** Makes the map that an object declares, inner map's template first. */
export function createSpecMap(kernel: Kernel, spec: MapSpec, options: SpecMapOptions): BpfMap {
  if (options.asPerfArray === true) return createFrom(kernel, perfArrayCreation(kernel, spec));
  // An inner map need only exist while the outer is made: the kernel keeps its shape.
  const inner = isMapInMap(spec.type) && spec.inner !== null ? createSpecMap(kernel, spec.inner, { btf: options.btf }) : null;
  try {
    return createFrom(kernel, {
      name: spec.libbpfName,
      type: spec.type,
      keySize: spec.keySize,
      valueSize: spec.valueSize,
      maxEntries: fitEntries(kernel, spec.type, spec.maxEntries),
      flags: spec.flags,
      mapExtra: spec.mapExtra,
      numaNode: spec.numaNode,
      innerFd: inner?.fd ?? -1,
      btf: options.btf === null ? null : { ...options.btf, keyTypeId: spec.keyTypeId, valueTypeId: spec.valueTypeId },
      kernelValueType: options.kernelValueType ?? null,
      exclusiveHash: options.exclusiveHash ?? null,
      mmapOptional: spec.data !== null,
    });
  } finally {
    inner?.close();
  }
}

function perfArrayCreation(kernel: Kernel, spec: MapSpec): MapCreation {
  return {
    name: spec.libbpfName,
    type: BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    keySize: 4,
    valueSize: 4,
    maxEntries: kernel.possibleCpus.length,
    flags: 0,
    mapExtra: 0n,
    numaNode: 0,
    innerFd: -1,
    btf: null,
    kernelValueType: null,
    exclusiveHash: null,
    mmapOptional: false,
  };
}

/** max_entries as this kernel wants it. */
export function fitEntries(kernel: Pick<Kernel, 'pageSize' | 'possibleCpus'>, type: number, maxEntries: number): number {
  switch (type) {
    case BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF:
    case BPF_MAP_TYPE.BPF_MAP_TYPE_USER_RINGBUF:
      return ringbufSize(maxEntries, kernel.pageSize);
    case BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY:
      return maxEntries === 0 ? kernel.possibleCpus.length : maxEntries;
    default:
      return maxEntries;
  }
}

/** Makes the map; what an older kernel does not know is left out where it does without. */
export function createFrom(kernel: Kernel, creation: MapCreation): BpfMap {
  const withBtf = creation.btf !== null && creation.btf.fd >= 0 && !refusesBtf(creation.type);
  const types: MapTypes | null = creation.btf === null ? null : creation.btf;
  let result = attempt(kernel, creation, withBtf, true);
  if (isErrno(result, 'EPERM') && kernel.retryAfterMemlock()) result = attempt(kernel, creation, withBtf, true);
  if (isErrno(result, 'EINVAL') && creation.mmapOptional && (creation.flags & BPF_F.BPF_F_MMAPABLE) !== 0 && !kernel.has('array_mmap')) {
    return createFrom(kernel, { ...creation, flags: creation.flags & ~BPF_F.BPF_F_MMAPABLE });
  }
  if (result < 0 && withBtf && !isErrno(result, 'ENOMEM') && !isErrno(result, 'EPERM')) {
    const plain = attempt(kernel, creation, false, true);
    if (plain >= 0) {
      kernel.notice({
        code: 'N_MAP_BTF',
        message: `map ${creation.name} was made without the types of its keys and values: the kernel refused them`,
      });
      result = plain;
    }
  }
  if (result < 0 && (isErrno(result, 'EINVAL') || isErrno(result, 'E2BIG')) && !kernel.has('prog_name')) {
    result = attempt(kernel, creation, false, false);
  }
  if (result < 0) throw creationError(kernel, creation, result);
  kernel.trace({
    step: 'map',
    name: creation.name,
    type: creation.type,
    keySize: creation.keySize,
    valueSize: creation.valueSize,
    maxEntries: creation.maxEntries,
    flags: creation.flags,
    fd: result,
    from: 'created',
  });
  return new BpfMap(kernel, result, creation, types);
}

function attempt(kernel: Kernel, creation: MapCreation, withBtf: boolean, withName: boolean): number {
  const { btf, kernelValueType, exclusiveHash } = creation;
  const moduleFd = kernelValueType?.moduleFd ?? -1;
  return bpf(kernel.sys, 'BPF_MAP_CREATE', {
    map_type: creation.type,
    key_size: creation.keySize,
    value_size: creation.valueSize,
    max_entries: creation.maxEntries,
    map_flags: creation.flags | (moduleFd >= 0 ? BPF_F.BPF_F_VTYPE_BTF_OBJ_FD : 0),
    map_extra: creation.mapExtra,
    numa_node: creation.numaNode,
    map_name: withName ? kernelObjectName(creation.name) : undefined,
    inner_map_fd: creation.innerFd >= 0 ? creation.innerFd : undefined,
    btf_fd: withBtf ? btf?.fd : undefined,
    btf_key_type_id: withBtf ? btf?.keyTypeId : undefined,
    btf_value_type_id: withBtf && kernelValueType === null ? btf?.valueTypeId : undefined,
    btf_vmlinux_value_type_id: kernelValueType?.typeId,
    value_type_btf_obj_fd: moduleFd >= 0 ? moduleFd : undefined,
    ...(exclusiveHash === null ? {} : { excl_prog_hash: exclusiveHash, excl_prog_hash_size: exclusiveHash.length }),
  });
}

function creationError(kernel: Kernel, creation: MapCreation, result: number): Error {
  const type = nameOf(BPF_MAP_TYPE, creation.type) ?? `type ${creation.type}`;
  const why = whyRefused(kernel, creation, result);
  return bpfError(kernel.sys, 'BPF_MAP_CREATE', result, {
    what: `cannot create map ${creation.name}`,
    where: {
      type,
      key_size: creation.keySize,
      value_size: creation.valueSize,
      max_entries: creation.maxEntries,
      map_flags: `0x${creation.flags.toString(16)}`,
    },
    ...(why === null ? {} : { why }),
  });
}

function whyRefused(kernel: Kernel, creation: MapCreation, result: number): string | null {
  if (isErrno(result, 'E2BIG')) return 'the map is larger than the kernel allows';
  if (isErrno(result, 'ENOMEM')) return 'the kernel has no memory for a map of this size';
  if (!isErrno(result, 'EINVAL')) return null;
  const type = nameOf(BPF_MAP_TYPE, creation.type);
  if (type !== null && !hasMapType(kernel, type as MapTypeName)) return 'this kernel has no maps of this type';
  if (creation.maxEntries === 0) return 'max_entries is 0: set the number of entries before loading';
  return 'the kernel does not know this type with these sizes and flags';
}
