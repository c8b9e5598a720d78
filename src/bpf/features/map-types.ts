import { bpf } from '../../sys/bpf.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { loadProbeBtf, probeBtfs } from '../kernel/probe-btf.ts';

export type MapTypeName = keyof typeof BPF_MAP_TYPE;

const T = BPF_MAP_TYPE;
type Shape = Readonly<Record<string, number>>;

/** Where the smallest map of a type differs from 4 bytes of key, 4 of value and one entry. */
function shapeOf(type: number, pageSize: number): Shape {
  switch (type) {
    case T.BPF_MAP_TYPE_STACK_TRACE:
      return { value_size: 8 };
    case T.BPF_MAP_TYPE_LPM_TRIE:
      return { key_size: 8, value_size: 8, map_flags: BPF_F.BPF_F_NO_PREALLOC };
    case T.BPF_MAP_TYPE_RHASH:
      return { map_flags: BPF_F.BPF_F_NO_PREALLOC };
    case T.BPF_MAP_TYPE_CGROUP_STORAGE:
    case T.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE:
      // struct bpf_cgroup_storage_key.
      return { key_size: 16, value_size: 8, max_entries: 0 };
    case T.BPF_MAP_TYPE_QUEUE:
    case T.BPF_MAP_TYPE_STACK:
    case T.BPF_MAP_TYPE_BLOOM_FILTER:
      return { key_size: 0 };
    case T.BPF_MAP_TYPE_SK_STORAGE:
    case T.BPF_MAP_TYPE_INODE_STORAGE:
    case T.BPF_MAP_TYPE_TASK_STORAGE:
    case T.BPF_MAP_TYPE_CGRP_STORAGE:
      return { max_entries: 0, map_flags: BPF_F.BPF_F_NO_PREALLOC, btf_key_type_id: 1, btf_value_type_id: 1 };
    case T.BPF_MAP_TYPE_RINGBUF:
    case T.BPF_MAP_TYPE_USER_RINGBUF:
      return { key_size: 0, value_size: 0, max_entries: pageSize };
    case T.BPF_MAP_TYPE_ARENA:
      return { key_size: 0, value_size: 0, map_flags: BPF_F.BPF_F_MMAPABLE };
    case T.BPF_MAP_TYPE_INSN_ARRAY:
      return { value_size: 16 };
    case T.BPF_MAP_TYPE_STRUCT_OPS:
      return { btf_vmlinux_value_type_id: 1 };
    default:
      return {};
  }
}

/** Whether maps of a type can be made here. */
export function hasMapType(kernel: Kernel, name: MapTypeName): boolean {
  const type = T[name];
  const shape = shapeOf(type, kernel.pageSize);
  const { sys } = kernel;
  const create = (extra: Shape): number =>
    bpf(sys, 'BPF_MAP_CREATE', { map_type: type, key_size: 4, value_size: 4, max_entries: 1, ...shape, ...extra });
  const inner =
    type === T.BPF_MAP_TYPE_ARRAY_OF_MAPS || type === T.BPF_MAP_TYPE_HASH_OF_MAPS
      ? bpf(sys, 'BPF_MAP_CREATE', { map_type: T.BPF_MAP_TYPE_HASH, key_size: 4, value_size: 4, max_entries: 1 })
      : -1;
  const btf = shape['btf_key_type_id'] === undefined ? -1 : loadProbeBtf(sys, probeBtfs.int);
  const fd = create({ ...(inner >= 0 ? { inner_map_fd: inner } : {}), ...(btf >= 0 ? { btf_fd: btf } : {}) });
  for (const open of [fd, inner, btf]) if (open >= 0) sys.call('close', open);
  // A type id that is no struct_ops gives ENOTSUPP where struct_ops is known.
  return type === T.BPF_MAP_TYPE_STRUCT_OPS ? fd === -524 : fd >= 0;
}

/** Every type that this version of rawbpf knows, older names left out. */
export const mapTypes: readonly MapTypeName[] = (Object.keys(T) as MapTypeName[]).filter(
  (name) => name !== 'BPF_MAP_TYPE_UNSPEC' && !name.endsWith('_DEPRECATED'),
);
