export { BPF_ATTACH_TYPE } from './attach-type.gen.ts';
export { BPF_CMD } from './cmd.gen.ts';
export { BPF_CGROUP_ITER_ORDER, BPF_F, BPF_PSEUDO, BPF_RINGBUF, BPF_STATS_TYPE, BPF_UPDATE } from './flags.gen.ts';
export { BPF_FUNC } from './func.gen.ts';
export { BPF_LINK_TYPE, BPF_PERF_EVENT_TYPE, BPF_TASK_FD_TYPE } from './link-type.gen.ts';
export { BPF_MAP_TYPE } from './map-type.gen.ts';
export { nameOf, valueOf, type ConstantTable } from './names.ts';
export {
  PERF_COUNT_HW,
  PERF_COUNT_HW_CACHE,
  PERF_COUNT_HW_CACHE_OP,
  PERF_COUNT_HW_CACHE_RESULT,
  PERF_COUNT_SW,
  PERF_EVENT_IOC,
  PERF_FLAG,
  PERF_FORMAT,
  PERF_RECORD,
  PERF_SAMPLE,
  PERF_TYPE,
} from './perf.gen.ts';
export { BPF_PROG_TYPE } from './prog-type.gen.ts';
