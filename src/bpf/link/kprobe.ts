import { UnsupportedError, UsageError } from '../../error.ts';
import { SyscallError } from '../../sys/errno.ts';
import type { KernelSymbol } from '../kernel/kallsyms.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { openPmuProbe } from '../kernel/pmu.ts';
import type { BpfProgram } from '../program/program.ts';
import type { BpfLink } from './link.ts';
import { attachToPerfEvent } from './perf.ts';
import { attachTracefsProbe, hasTracefsProbes, type ProbeWay } from './tracefs-probe.ts';
import { suggest } from '../../bytes/suggest.ts';

export interface KprobeOptions {
  /** Fires when the function returns; else what the program's section says. */
  readonly ret?: boolean;
  readonly cookie?: bigint;
  /** Through the kprobe PMU (Linux 4.17) or tracefs; through the PMU where the kernel has it unless said. */
  readonly via?: ProbeWay;
}

/** Where in the kernel: a function and an offset in it, or an address. */
export interface KprobeTarget {
  /** '' for an address. */
  readonly name: string;
  readonly offset: bigint;
}

/** Parses `function`, `function+0x10` or `0xffffffff81000000`. */
export function parseKprobeTarget(text: string): KprobeTarget {
  if (/^0x[0-9a-f]+$/i.test(text)) return { name: '', offset: BigInt(text) };
  const match = /^([A-Za-z_.$][\w.$]*)(?:\+(0x[0-9a-f]+|\d+))?$/i.exec(text);
  if (match === null) {
    throw new UsageError({
      code: 'E_KPROBE_TARGET',
      what: 'not a place in the kernel',
      where: { target: text },
      next: 'write it as function or function+offset',
    });
  }
  return { name: match[1] as string, offset: BigInt(match[2] ?? 0) };
}

/**
 * Attaches a program to a kernel function (`do_sys_openat2`, `do_sys_openat2+0x10`), or to its return.
 *
 * Throws E_KPROBE with variants and near names where there is no such function, or it is there several times.
 */
export function attachKprobe(program: BpfProgram, target: string, options: KprobeOptions = {}): BpfLink {
  const { kernel } = program;
  const { name, offset } = parseKprobeTarget(target);
  const ret = options.ret ?? isReturnSection(program, 'kretprobe');
  if (ret && offset !== 0n && name !== '') {
    throw new UsageError({
      code: 'E_KPROBE_TARGET',
      what: 'a return probe has no offset',
      where: { target },
      next: `give the function alone (${name}), or use a program for its entry`,
    });
  }
  const names = { kind: 'kprobe', target } as const;
  const byTracefs = (): BpfLink => {
    const place = name === '' ? `0x${offset.toString(16)}` : offset === 0n ? name : `${name}+${offset}`;
    try {
      return attachTracefsProbe(program, names, { kind: 'kprobe', place, ret }, options.cookie);
    } catch (error) {
      throw error instanceof SyscallError ? kprobeError(kernel, target, name, -error.errno) : error;
    }
  };
  if (options.via === 'tracefs') return byTracefs();
  const event = openPmuProbe(kernel.sys, { pmu: 'kprobe', name, offset, ret, pid: -1, cpu: kernel.onlineCpus[0] ?? 0 });
  if (!event.ok && event.missingPmu && options.via !== 'perf' && hasTracefsProbes(kernel, 'kprobe')) return byTracefs();
  if (!event.ok) throw event.missingPmu ? noKprobes(target) : kprobeError(kernel, target, name, event.errno);
  return attachToPerfEvent(program, event.fd, names, options.cookie);
}

/** Attaches a program to a system call by its plain name (`openat`): its function's name depends on kernel and architecture. */
export function attachKsyscall(program: BpfProgram, syscall: string, options: KprobeOptions = {}): BpfLink {
  const { kernel } = program;
  const prefix = kernel.has('syscall_wrapper') ? (kernel.sys.arch === 'x64' ? '__x64_sys_' : '__arm64_sys_') : '__se_sys_';
  return attachKprobe(program, prefix + syscall, { ...options, ret: options.ret ?? isReturnSection(program, 'kretsyscall') });
}

/** Whether the section of a program is one of those for returns: `kretprobe/...`, `uretprobe.s/...`. */
export function isReturnSection(program: BpfProgram, prefix: string): boolean {
  return program.spec?.section?.pattern.startsWith(prefix) ?? false;
}

function noKprobes(target: string): UnsupportedError {
  return new UnsupportedError({
    code: 'E_KPROBE_MISSING',
    what: 'this kernel has no kprobes',
    where: { target },
    why: 'it was built without CONFIG_KPROBE_EVENTS',
    next: 'use a tracepoint near the function instead',
  });
}

function kprobeError(kernel: Kernel, target: string, name: string, errno: number): Error {
  const failure = new SyscallError('perf_event_open', errno);
  if (failure.errnoName === 'ENOENT' || failure.errnoName === 'EINVAL') {
    const near = nearFunctions(kernel.kallsyms(), name);
    if (!near.includes(name)) {
      return new UsageError({
        code: 'E_KPROBE',
        what: 'this kernel has no such function',
        where: { target },
        next: near.length > 0 ? `did you mean ${near.join(' or ')}?` : 'it may have another name on this kernel: look in /proc/kallsyms',
        cause: failure,
      });
    }
  }
  if (failure.errnoName === 'EADDRNOTAVAIL') {
    const places = [...kernel.kallsyms().find(name)].map(
      ({ address, module }) => `0x${address.toString(16)}${module === null ? '' : ` (${module})`}`,
    );
    return new UsageError({
      code: 'E_KPROBE',
      what: 'this kernel has several functions of this name',
      where: { target },
      why: `at ${places.join(', ')}`,
      next: 'attach to one of the addresses',
      cause: failure,
    });
  }
  return new SyscallError('perf_event_open', errno, { what: 'cannot open the kprobe', where: { target } });
}

/** The function itself where it is there, else those that compilers made of it (`name.isra.0`), else those with a similar name. */
export function nearFunctions(symbols: Iterable<KernelSymbol>, name: string): string[] {
  const functions = new Set<string>();
  for (const { name: other, type } of symbols) if (type === 't' || type === 'T') functions.add(other);
  if (functions.has(name)) return [name];
  const variants = [...functions].filter((other) => other.startsWith(`${name}.`));
  return variants.length > 0 ? variants.slice(0, 3) : suggest(name, functions);
}
