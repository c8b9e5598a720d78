import { UnsupportedError } from '../../error.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import { matchesGlob } from './glob.ts';
import { cookies } from './kprobe-multi.ts';
import type { BpfLink } from './link.ts';
import { noneFits, traceableNames } from './traceable.ts';

export interface TracingMultiOptions {
  /** What bpf_get_attach_cookie() answers in the program, wherever it fires. */
  readonly cookie?: bigint;
}

/**
 * Attaches a program to every traceable kernel function that fits a pattern, by trampolines and one link: for `fentry.multi`,
 * `fexit.multi` and `fsession.multi` programs. Functions of modules are not looked at.
 *
 * Throws E_KPROBE where no function fits.
 */
export function attachTracingMulti(program: BpfProgram, pattern: string, options: TracingMultiOptions = {}): BpfLink {
  if (pattern.includes(':')) {
    throw new UnsupportedError({
      code: 'E_ATTACH_MODULE',
      what: 'functions of modules cannot be traced by a pattern yet',
      where: { program: program.name, pattern },
      next: 'use kprobe.multi for them',
    });
  }
  const ids = functionIds(program.kernel, pattern);
  if (ids.length === 0) throw noneFits(program.kernel, pattern);
  return createLink(
    program,
    program.expectedAttachType,
    { kind: 'tracing_multi', target: pattern },
    {
      'tracing_multi.ids': new Uint8Array(new Uint32Array(ids).buffer),
      'tracing_multi.cnt': ids.length,
      ...(options.cookie === undefined ? {} : { 'tracing_multi.cookies': cookies(options.cookie, ids.length) }),
    },
  );
}

/** The BTF ids of the functions that ftrace can trace and that fit; of several of one name the first. */
function functionIds(kernel: Kernel, pattern: string): number[] {
  const btf = kernel.vmlinuxBtf();
  if (btf === null) return [];
  const names = traceableNames(kernel, pattern);
  const found = new Map<string, number>();
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    const name = btf.nameOf(id);
    if (found.has(name) || !(names?.has(name) ?? matchesGlob(pattern, name))) continue;
    if (btf.type(id).kind === 'FUNC') found.set(name, id);
  }
  return [...found.values()];
}
