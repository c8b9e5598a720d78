import type { ProgramSpec } from '../spec.ts';
import type { OfflineKernel } from './offline-kernel.ts';
import type { KernelProblem } from './report.ts';

/**
 * Whether what a program attaches to is there, as far as BTF tells: functions that are inlined or written in assembler, and
 * tracepoints of modules, are missing from it, so this is a doubt and no verdict.
 */
export function attachProblem(program: ProgramSpec, kernel: OfflineKernel): KernelProblem[] {
  const to = program.attachTo;
  if (to === null || to === '' || to.includes('*') || to.includes('?')) return [];
  switch (program.section?.attach) {
    case 'kprobe': {
      const name = to.replace(/[+.].*$/, '');
      return kernel.hasFunction(name) ? [] : [doubt(name, 'BTF has no such function')];
    }
    case 'ksyscall': {
      const found = ['__x64_sys_', '__arm64_sys_', '__se_sys_', '__do_sys_'].some((prefix) => kernel.hasFunction(prefix + to));
      return found ? [] : [doubt(to, 'BTF has no such system call')];
    }
    case 'tracepoint': {
      const [category, event = ''] = to.split('/');
      // Those of single system calls are made without a type of their own.
      if (category === 'syscalls' || event === '') return [];
      return tracepoint(event, to, kernel);
    }
    case 'raw_tracepoint':
      return tracepoint(to, to, kernel);
    default:
      return [];
  }
}

function tracepoint(event: string, what: string, kernel: OfflineKernel): KernelProblem[] {
  return kernel.hasTypedef(`btf_trace_${event}`) ? [] : [doubt(what, 'BTF has no such tracepoint')];
}

function doubt(what: string, why: string): KernelProblem {
  return { verdict: 'may break', kind: 'attach', what, why, insn: null, source: null };
}
