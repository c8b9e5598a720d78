import { struct, type StructLayout } from '../../bytes/struct.ts';

/** union bpf_attr of BPF_OBJ_PIN and BPF_OBJ_GET (include/uapi/linux/bpf.h). */
export const objAttr: StructLayout = struct('bpf_attr', [
  ['pathname', 'ptr'],
  ['bpf_fd', 'u32'],
  ['file_flags', 'u32'],
  ['path_fd', 's32'],
]);

/** union bpf_attr of BPF_*_GET_FD_BY_ID and BPF_*_GET_NEXT_ID. */
export const getIdAttr: StructLayout = struct('bpf_attr', [
  ['start_id', 'u32', 0],
  ['prog_id', 'u32', 0],
  ['map_id', 'u32', 0],
  ['btf_id', 'u32', 0],
  ['link_id', 'u32', 0],
  ['next_id', 'u32', 4],
  ['open_flags', 'u32', 8],
  ['fd_by_id_token_fd', 's32', 12],
]);

/** union bpf_attr of BPF_OBJ_GET_INFO_BY_FD. */
export const infoAttr: StructLayout = struct('bpf_attr.info', [
  ['bpf_fd', 'u32'],
  ['info_len', 'u32'],
  ['info', 'ptr'],
]);

/** union bpf_attr of BPF_BTF_LOAD. */
export const btfLoadAttr: StructLayout = struct('bpf_attr', [
  ['btf', 'ptr'],
  ['btf_log_buf', 'ptr'],
  ['btf_size', 'u32'],
  ['btf_log_size', 'u32'],
  ['btf_log_level', 'u32'],
  ['btf_log_true_size', 'u32'],
  ['btf_flags', 'u32'],
  ['btf_token_fd', 's32'],
]);

/** union bpf_attr of BPF_TASK_FD_QUERY. */
export const taskFdQueryAttr: StructLayout = struct('bpf_attr.task_fd_query', [
  ['pid', 'u32'],
  ['fd', 'u32'],
  ['flags', 'u32'],
  ['buf_len', 'u32'],
  ['buf', 'ptr'],
  ['prog_id', 'u32'],
  ['fd_type', 'u32'],
  ['probe_offset', 'u64'],
  ['probe_addr', 'u64'],
]);

/** union bpf_attr of BPF_ENABLE_STATS. */
export const enableStatsAttr: StructLayout = struct('bpf_attr.enable_stats', [['type', 'u32']]);

/** union bpf_attr of BPF_TOKEN_CREATE. */
export const tokenCreateAttr: StructLayout = struct('bpf_attr.token_create', [
  ['flags', 'u32'],
  ['bpffs_fd', 'u32'],
]);
