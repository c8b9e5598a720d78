import { bpf, bpfError } from '../../sys/bpf.ts';
import { ObjectFd } from '../fd.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { BPF_STATS_TYPE } from '../uapi/flags.gen.ts';

/** Makes the kernel count runs and run times of all programs until the result is closed (Linux 5.8). */
export function enableStats(kernel: Kernel): { close(): void; [Symbol.dispose](): void } {
  const fd = bpf(kernel.sys, 'BPF_ENABLE_STATS', { type: BPF_STATS_TYPE.BPF_STATS_RUN_TIME });
  if (fd < 0) throw bpfError(kernel.sys, 'BPF_ENABLE_STATS', fd, { what: 'cannot switch program statistics on' });
  return new ObjectFd(kernel.sys, fd, 'statistics');
}
