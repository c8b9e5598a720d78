import { struct, type StructLayout } from '../../bytes/struct.ts';

/** union bpf_attr of BPF_LINK_CREATE: the arms of its union carry the arm's name, as in C (`kprobe_multi.syms`). */
export const linkCreateAttr: StructLayout = struct('bpf_attr.link_create', [
  ['prog_fd', 'u32', 0],
  ['map_fd', 'u32', 0],
  ['target_fd', 'u32', 4],
  ['target_ifindex', 'u32', 4],
  ['attach_type', 'u32', 8],
  ['flags', 'u32', 12],
  ['target_btf_id', 'u32', 16],
  ['iter_info', 'ptr', 16],
  ['iter_info_len', 'u32', 24],
  ['perf_event.bpf_cookie', 'u64', 16],
  ['kprobe_multi.flags', 'u32', 16],
  ['kprobe_multi.cnt', 'u32', 20],
  ['kprobe_multi.syms', 'ptr', 24],
  ['kprobe_multi.addrs', 'ptr', 32],
  ['kprobe_multi.cookies', 'ptr', 40],
  ['tracing.target_btf_id', 'u32', 16],
  ['tracing.cookie', 'u64', 24],
  ['netfilter.pf', 'u32', 16],
  ['netfilter.hooknum', 'u32', 20],
  ['netfilter.priority', 's32', 24],
  ['netfilter.flags', 'u32', 28],
  ['tcx.relative_fd', 'u32', 16],
  ['tcx.relative_id', 'u32', 16],
  ['tcx.expected_revision', 'u64', 24],
  ['uprobe_multi.path', 'ptr', 16],
  ['uprobe_multi.offsets', 'ptr', 24],
  ['uprobe_multi.ref_ctr_offsets', 'ptr', 32],
  ['uprobe_multi.cookies', 'ptr', 40],
  ['uprobe_multi.cnt', 'u32', 48],
  ['uprobe_multi.flags', 'u32', 52],
  ['uprobe_multi.pid', 'u32', 56],
  ['uprobe_multi.path_fd', 'u32', 60],
  ['netkit.relative_fd', 'u32', 16],
  ['netkit.relative_id', 'u32', 16],
  ['netkit.expected_revision', 'u64', 24],
  ['cgroup.relative_fd', 'u32', 16],
  ['cgroup.relative_id', 'u32', 16],
  ['cgroup.expected_revision', 'u64', 24],
  ['tracing_multi.ids', 'ptr', 16],
  ['tracing_multi.cookies', 'ptr', 24],
  ['tracing_multi.cnt', 'u32', 32],
]);

/** union bpf_attr of BPF_LINK_UPDATE. */
export const linkUpdateAttr: StructLayout = struct('bpf_attr.link_update', [
  ['link_fd', 'u32', 0],
  ['new_prog_fd', 'u32', 4],
  ['new_map_fd', 'u32', 4],
  ['flags', 'u32', 8],
  ['old_prog_fd', 'u32', 12],
  ['old_map_fd', 'u32', 12],
]);

/** union bpf_attr of BPF_LINK_DETACH. */
export const linkDetachAttr: StructLayout = struct('bpf_attr.link_detach', [['link_fd', 'u32']]);

/** union bpf_attr of BPF_ITER_CREATE. */
export const iterCreateAttr: StructLayout = struct('bpf_attr.iter_create', [
  ['link_fd', 'u32'],
  ['flags', 'u32'],
]);

/** union bpf_attr of BPF_RAW_TRACEPOINT_OPEN. */
export const rawTracepointAttr: StructLayout = struct('bpf_attr.raw_tracepoint', [
  ['name', 'ptr'],
  ['prog_fd', 'u32'],
  ['cookie', 'u64'],
]);

/** union bpf_iter_link_info, which `iter_info` of BPF_LINK_CREATE points to. */
export const iterLinkInfo: StructLayout = struct('bpf_iter_link_info', [
  ['map.map_fd', 'u32', 0],
  ['cgroup.order', 'u32', 0],
  ['cgroup.cgroup_fd', 'u32', 4],
  ['cgroup.cgroup_id', 'u64', 8],
  ['task.tid', 'u32', 0],
  ['task.pid', 'u32', 4],
  ['task.pid_fd', 'u32', 8],
]);
