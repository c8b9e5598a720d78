import { toCString } from '../../bytes/text.ts';
import { UsageError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { type BpfLink, KernelLink, type LinkKind } from './link.ts';
import { didYouMean } from '../../bytes/suggest.ts';

export interface TracingOptions {
  /** What bpf_get_attach_cookie() answers in the program. */
  readonly cookie?: bigint;
}

/**
 * Attaches a program to a raw tracepoint by its name, without a category.
 *
 * Throws E_TRACEPOINT with suggestions where there is no such tracepoint.
 */
export function attachRawTracepoint(program: BpfProgram, name: string, options: TracingOptions = {}): BpfLink {
  const { kernel } = program;
  const fd = bpf(kernel.sys, 'BPF_RAW_TRACEPOINT_OPEN', { name: toCString(name), prog_fd: program.fd, cookie: options.cookie });
  if (isErrno(fd, 'ENOENT')) throw missingRawTracepoint(kernel, name);
  if (fd < 0) {
    throw bpfError(kernel.sys, 'BPF_RAW_TRACEPOINT_OPEN', fd, {
      what: 'cannot attach to the raw tracepoint',
      where: { program: program.name, name },
    });
  }
  return attached(program, fd, 'raw_tracepoint', name);
}

/**
 * Attaches a program whose target was fixed when it was loaded: tp_btf, fentry, fexit, fmod_ret, LSM. `target` is only told.
 */
export function attachTracing(program: BpfProgram, target: string, options: TracingOptions & { readonly kind?: LinkKind } = {}): BpfLink {
  const { kernel } = program;
  let fd = bpf(kernel.sys, 'BPF_LINK_CREATE', {
    prog_fd: program.fd,
    attach_type: program.expectedAttachType,
    'tracing.cookie': options.cookie,
  });
  // Before 5.18 such programs only attach through the older command, which has no cookie.
  if (isErrno(fd, 'EINVAL') && (options.cookie ?? 0n) === 0n) fd = bpf(kernel.sys, 'BPF_RAW_TRACEPOINT_OPEN', { prog_fd: program.fd });
  if (fd < 0) throw bpfError(kernel.sys, 'BPF_LINK_CREATE', fd, { what: 'cannot attach', where: { program: program.name, target } });
  return attached(program, fd, options.kind ?? 'tracing', target);
}

function attached(program: BpfProgram, fd: number, kind: LinkKind, target: string): BpfLink {
  program.kernel.trace({ step: 'attach', program: program.name, kind, target });
  return new KernelLink(program.kernel, fd, program, { kind, target });
}

/** The raw tracepoints that BTF knows: typedefs named `btf_trace_NAME`. */
export function* listRawTracepoints(kernel: Kernel): Generator<string> {
  const btf = kernel.vmlinuxBtf();
  if (btf === null) return;
  for (let id = btf.firstId; id < btf.typeCount; id++) {
    const name = btf.nameOf(id);
    if (name.startsWith('btf_trace_')) yield name.slice('btf_trace_'.length);
  }
}

function missingRawTracepoint(kernel: Kernel, name: string): UsageError {
  const next = didYouMean(name, listRawTracepoints(kernel));
  return new UsageError({
    code: 'E_TRACEPOINT',
    what: 'this kernel has no such raw tracepoint',
    where: { name },
    ...(next === '' ? {} : { next }),
  });
}
