import { struct, type StructLayout } from '../../bytes/struct.ts';

/** union bpf_attr of BPF_MAP_CREATE (include/uapi/linux/bpf.h). */
export const mapCreateAttr: StructLayout = struct('bpf_attr', [
  ['map_type', 'u32'],
  ['key_size', 'u32'],
  ['value_size', 'u32'],
  ['max_entries', 'u32'],
  ['map_flags', 'u32'],
  ['inner_map_fd', 'u32'],
  ['numa_node', 'u32'],
  ['map_name', 'char[16]'],
  ['map_ifindex', 'u32'],
  ['btf_fd', 'u32'],
  ['btf_key_type_id', 'u32'],
  ['btf_value_type_id', 'u32'],
  ['btf_vmlinux_value_type_id', 'u32'],
  ['map_extra', 'u64'],
  ['value_type_btf_obj_fd', 's32'],
  ['map_token_fd', 's32'],
  ['excl_prog_hash', 'ptr'],
  ['excl_prog_hash_size', 'u32'],
]);

/** union bpf_attr of BPF_MAP_{LOOKUP,UPDATE,DELETE,LOOKUP_AND_DELETE}_ELEM, BPF_MAP_GET_NEXT_KEY and BPF_MAP_FREEZE. */
export const mapElemAttr: StructLayout = struct('bpf_attr', [
  ['map_fd', 'u32'],
  ['key', 'ptr'],
  ['value', 'ptr', 16],
  ['next_key', 'ptr', 16],
  ['flags', 'u64', 24],
]);

/** union bpf_attr of BPF_MAP_*_BATCH. */
export const mapBatchAttr: StructLayout = struct('bpf_attr.batch', [
  ['in_batch', 'ptr'],
  ['out_batch', 'ptr'],
  ['keys', 'ptr'],
  ['values', 'ptr'],
  ['count', 'u32'],
  ['map_fd', 'u32'],
  ['elem_flags', 'u64'],
  ['flags', 'u64'],
]);
