import { struct, type StructLayout } from '../../bytes/struct.ts';

/** union bpf_attr of BPF_PROG_LOAD (include/uapi/linux/bpf.h). */
export const progLoadAttr: StructLayout = struct('bpf_attr', [
  ['prog_type', 'u32'],
  ['insn_cnt', 'u32'],
  ['insns', 'ptr'],
  ['license', 'ptr'],
  ['log_level', 'u32'],
  ['log_size', 'u32'],
  ['log_buf', 'ptr'],
  ['kern_version', 'u32'],
  ['prog_flags', 'u32'],
  ['prog_name', 'char[16]'],
  ['prog_ifindex', 'u32'],
  ['expected_attach_type', 'u32'],
  ['prog_btf_fd', 'u32'],
  ['func_info_rec_size', 'u32'],
  ['func_info', 'ptr'],
  ['func_info_cnt', 'u32'],
  ['line_info_rec_size', 'u32'],
  ['line_info', 'ptr'],
  ['line_info_cnt', 'u32'],
  ['attach_btf_id', 'u32'],
  ['attach_prog_fd', 'u32', 112],
  ['attach_btf_obj_fd', 'u32', 112],
  ['core_relo_cnt', 'u32', 116],
  ['fd_array', 'ptr'],
  ['core_relos', 'ptr'],
  ['core_relo_rec_size', 'u32'],
  ['log_true_size', 'u32'],
  ['prog_token_fd', 's32'],
  ['fd_array_cnt', 'u32'],
  ['signature', 'ptr'],
  ['signature_size', 'u32'],
  ['keyring_id', 's32'],
]);

/** union bpf_attr of BPF_PROG_ATTACH and BPF_PROG_DETACH. */
export const progAttachAttr: StructLayout = struct('bpf_attr', [
  ['target_fd', 'u32', 0],
  ['target_ifindex', 'u32', 0],
  ['attach_bpf_fd', 'u32'],
  ['attach_type', 'u32'],
  ['attach_flags', 'u32'],
  ['replace_bpf_fd', 'u32'],
  ['relative_fd', 'u32', 20],
  ['relative_id', 'u32', 20],
  ['expected_revision', 'u64', 24],
]);

/** union bpf_attr of BPF_PROG_QUERY. */
export const progQueryAttr: StructLayout = struct('bpf_attr.query', [
  ['target_fd', 'u32', 0],
  ['target_ifindex', 'u32', 0],
  ['attach_type', 'u32'],
  ['query_flags', 'u32'],
  ['attach_flags', 'u32'],
  ['prog_ids', 'ptr'],
  ['prog_cnt', 'u32', 24],
  ['count', 'u32', 24],
  ['prog_attach_flags', 'ptr', 32],
  ['link_ids', 'ptr'],
  ['link_attach_flags', 'ptr'],
  ['revision', 'u64'],
]);

/** union bpf_attr of BPF_PROG_TEST_RUN. */
export const progTestRunAttr: StructLayout = struct('bpf_attr.test', [
  ['prog_fd', 'u32'],
  ['retval', 'u32'],
  ['data_size_in', 'u32'],
  ['data_size_out', 'u32'],
  ['data_in', 'ptr'],
  ['data_out', 'ptr'],
  ['repeat', 'u32'],
  ['duration', 'u32'],
  ['ctx_size_in', 'u32'],
  ['ctx_size_out', 'u32'],
  ['ctx_in', 'ptr'],
  ['ctx_out', 'ptr'],
  ['flags', 'u32'],
  ['cpu', 'u32'],
  ['batch_size', 'u32'],
]);

/** union bpf_attr of BPF_PROG_BIND_MAP. */
export const progBindMapAttr: StructLayout = struct('bpf_attr.prog_bind_map', [
  ['prog_fd', 'u32'],
  ['map_fd', 'u32'],
  ['flags', 'u32'],
]);

/** union bpf_attr of BPF_PROG_STREAM_READ_BY_FD. */
export const progStreamReadAttr: StructLayout = struct('bpf_attr.prog_stream_read', [
  ['stream_buf', 'ptr'],
  ['stream_buf_len', 'u32'],
  ['stream_id', 'u32'],
  ['prog_fd', 'u32'],
]);

/** union bpf_attr of BPF_PROG_ASSOC_STRUCT_OPS. */
export const progAssocStructOpsAttr: StructLayout = struct('bpf_attr.prog_assoc_struct_ops', [
  ['map_fd', 'u32'],
  ['prog_fd', 'u32'],
  ['flags', 'u32'],
]);
