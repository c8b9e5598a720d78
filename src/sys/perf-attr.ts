import { struct, type StructLayout } from '../bytes/struct.ts';
import { UsageError } from '../error.ts';

/** struct perf_event_attr (include/uapi/linux/perf_event.h); its bit fields are the u64 `flags`, see {@link perfFlags}. */
export const perfEventAttr: StructLayout = struct('perf_event_attr', [
  ['type', 'u32'],
  ['size', 'u32'],
  ['config', 'u64'],
  ['sample_period', 'u64', 16],
  ['sample_freq', 'u64', 16],
  ['sample_type', 'u64', 24],
  ['read_format', 'u64'],
  ['flags', 'u64'],
  ['wakeup_events', 'u32', 48],
  ['wakeup_watermark', 'u32', 48],
  ['bp_type', 'u32', 52],
  ['bp_addr', 'u64', 56],
  ['kprobe_func', 'ptr', 56],
  ['uprobe_path', 'ptr', 56],
  ['config1', 'u64', 56],
  ['bp_len', 'u64', 64],
  ['kprobe_addr', 'u64', 64],
  ['probe_offset', 'u64', 64],
  ['config2', 'u64', 64],
  ['branch_sample_type', 'u64', 72],
  ['sample_regs_user', 'u64'],
  ['sample_stack_user', 'u32'],
  ['clockid', 's32'],
  ['sample_regs_intr', 'u64'],
  ['aux_watermark', 'u32'],
  ['sample_max_stack', 'u16'],
  ['aux_sample_size', 'u32', 112],
  ['aux_action', 'u32', 116],
  ['sig_data', 'u64', 120],
  ['config3', 'u64'],
  ['config4', 'u64'],
]);

/** The bit fields of struct perf_event_attr: first bit and width. */
export const PERF_ATTR_BITS = {
  disabled: [0, 1],
  inherit: [1, 1],
  pinned: [2, 1],
  exclusive: [3, 1],
  exclude_user: [4, 1],
  exclude_kernel: [5, 1],
  exclude_hv: [6, 1],
  exclude_idle: [7, 1],
  mmap: [8, 1],
  comm: [9, 1],
  freq: [10, 1],
  inherit_stat: [11, 1],
  enable_on_exec: [12, 1],
  task: [13, 1],
  watermark: [14, 1],
  precise_ip: [15, 2],
  mmap_data: [17, 1],
  sample_id_all: [18, 1],
  exclude_host: [19, 1],
  exclude_guest: [20, 1],
  exclude_callchain_kernel: [21, 1],
  exclude_callchain_user: [22, 1],
  mmap2: [23, 1],
  comm_exec: [24, 1],
  use_clockid: [25, 1],
  context_switch: [26, 1],
  write_backward: [27, 1],
  namespaces: [28, 1],
  ksymbol: [29, 1],
  bpf_event: [30, 1],
  aux_output: [31, 1],
  cgroup: [32, 1],
  text_poke: [33, 1],
  build_id: [34, 1],
  inherit_thread: [35, 1],
  remove_on_exec: [36, 1],
  sigtrap: [37, 1],
  defer_callchain: [38, 1],
  defer_output: [39, 1],
} as const;

export type PerfAttrBit = keyof typeof PERF_ATTR_BITS;

/** The `flags` of {@link perfEventAttr} with these bit fields set: `perfFlags({ disabled: 1, freq: 1 })`. */
export function perfFlags(bits: Readonly<Partial<Record<PerfAttrBit, number>>>): bigint {
  let flags = 0n;
  for (const [name, value] of Object.entries(bits)) {
    const [shift, width] = PERF_ATTR_BITS[name as PerfAttrBit];
    if (!Number.isInteger(value) || value < 0 || value >= 1 << width) {
      throw new UsageError({
        code: 'E_STRUCT_VALUE',
        what: 'cannot encode perf_event_attr',
        where: { field: name },
        why: `${value} does not fit in ${width} bit`,
      });
    }
    flags |= BigInt(value) << BigInt(shift);
  }
  return flags;
}

/** The fields of struct perf_event_mmap_page that a reader of the ring needs. */
export const perfMmapPage: StructLayout = struct('perf_event_mmap_page', [
  ['version', 'u32', 0],
  ['compat_version', 'u32', 4],
  ['lock', 'u32', 8],
  ['index', 'u32', 12],
  ['offset', 's64', 16],
  ['time_enabled', 'u64', 24],
  ['time_running', 'u64', 32],
  ['capabilities', 'u64', 40],
  ['pmc_width', 'u16', 48],
  ['time_shift', 'u16', 50],
  ['time_mult', 'u32', 52],
  ['time_offset', 'u64', 56],
  ['time_zero', 'u64', 64],
  ['size', 'u32', 72],
  ['time_cycles', 'u64', 80],
  ['time_mask', 'u64', 88],
  ['data_head', 'u64', 1024],
  ['data_tail', 'u64', 1032],
  ['data_offset', 'u64', 1040],
  ['data_size', 'u64', 1048],
  ['aux_head', 'u64', 1056],
  ['aux_tail', 'u64', 1064],
  ['aux_offset', 'u64', 1072],
  ['aux_size', 'u64', 1080],
]);
