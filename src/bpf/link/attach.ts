import type { BpfProgram } from '../program/program.ts';
import { attachIter } from './iter.ts';
import { attachKprobe, attachKsyscall } from './kprobe.ts';
import { attachKprobeMulti } from './kprobe-multi.ts';
import type { BpfLink } from './link.ts';
import { attachTracepoint } from './tracepoint.ts';
import { attachRawTracepoint, attachTracing } from './tracing.ts';
import { attachTracingMulti } from './tracing-multi.ts';
import { attachUprobe } from './uprobe.ts';
import { attachUprobeMulti } from './uprobe-multi.ts';
import { attachUsdt } from './usdt/usdt.ts';

/** How {@link attachProgram} may be told more than the section says. */
export interface AttachOptions {
  /** What to attach to, instead of what the section says after its slash. */
  readonly target?: string;
  /** What bpf_get_attach_cookie() answers in the program. */
  readonly cookie?: bigint;
  /** For user-space probes: one process; all unless said. */
  readonly pid?: number;
}

/**
 * Attaches a program where its section says: `tp/syscalls/sys_enter_execve`, `raw_tp/sched_switch`, `tp_btf/...`,
 * `iter/task`. Null where the section says nothing to attach to (`SEC("xdp")`, a bare `SEC("tp")`): such programs have attach
 * functions of their own.
 *
 * Throws UsageError with suggestions where the target does not exist, SyscallError where the kernel refuses.
 */
export function attachProgram(program: BpfProgram, options: AttachOptions = {}): BpfLink | null {
  const kind = program.spec?.section?.attach ?? 'none';
  const target = options.target ?? program.spec?.attachTo ?? null;
  if (kind === 'none' || target === null || target === '') return null;
  const pid = options.pid === undefined ? {} : { pid: options.pid };
  const cookie = options.cookie === undefined ? {} : { cookie: options.cookie };
  switch (kind) {
    case 'tracepoint':
      return attachTracepoint(program, target, cookie);
    case 'raw_tracepoint':
      return attachRawTracepoint(program, target, cookie);
    case 'tracing':
      return attachTracing(program, target, cookie);
    case 'lsm':
      return attachTracing(program, target, { ...cookie, kind: 'lsm' });
    case 'iter':
      return attachIter(program, target);
    case 'kprobe':
      return attachKprobe(program, target, cookie);
    case 'ksyscall':
      return attachKsyscall(program, target, cookie);
    case 'uprobe':
      return attachUprobe(program, target, { ...cookie, ...pid });
    case 'usdt':
      return attachUsdt(program, target, { ...cookie, ...pid });
    case 'kprobe_multi':
      return attachKprobeMulti(program, target, cookie);
    case 'tracing_multi':
      return attachTracingMulti(program, target, cookie);
    case 'uprobe_multi':
      return attachUprobeMulti(program, target, { ...cookie, ...pid });
  }
}
