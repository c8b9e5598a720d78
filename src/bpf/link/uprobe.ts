import { UnsupportedError, UsageError } from '../../error.ts';
import { SyscallError } from '../../sys/errno.ts';
import { openPmuProbe } from '../kernel/pmu.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { functionOffset, resolveBinary } from './binary.ts';
import { isReturnSection } from './kprobe.ts';
import type { BpfLink } from './link.ts';
import { attachToPerfEvent } from './perf.ts';

export interface UprobeOptions {
  /** Fires when the function returns; else what the program's section says. */
  readonly ret?: boolean;
  /** One process; all, those to come too, unless said. */
  readonly pid?: number;
  readonly cookie?: bigint;
  /** File offset of a reference counter that the kernel raises while attached (a USDT semaphore). */
  readonly refCtrOffset?: number;
}

/** Parses `path:function`, `path:function+0x10` or `path:0x1234` (an offset in the file). */
export function parseUprobeTarget(text: string): { readonly binary: string; readonly symbol: string | null; readonly offset: number } {
  // The path may hold colons; what follows the last one is the place.
  const match = /^(.+):([^:]+?)(?:\+(0x[0-9a-f]+|\d+))?$/i.exec(text);
  if (match === null) {
    throw new UsageError({
      code: 'E_UPROBE_TARGET',
      what: 'not a place in a program',
      where: { target: text },
      next: 'write it as path:function or path:function+offset',
    });
  }
  const [, binary, place, plus] = match as unknown as [string, string, string, string | undefined];
  if (/^(?:0x[0-9a-f]+|\d+)$/i.test(place)) return { binary, symbol: null, offset: Number(place) + Number(plus ?? 0) };
  return { binary, symbol: place, offset: Number(plus ?? 0) };
}

/**
 * Attaches a program to a function of a program or library (`/bin/bash:readline`, `libc.so.6:malloc`), or to its return.
 *
 * Throws E_BINARY or E_SYMBOL, with suggestions, where there is no such file or function.
 *
 * @example
 * import { attachUprobe, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function watchMalloc(program: BpfProgram, pid: number): BpfLink {
 *   return attachUprobe(program, 'libc.so.6:malloc', { pid });
 * }
 */
export function attachUprobe(program: BpfProgram, target: string, options: UprobeOptions = {}): BpfLink {
  const { kernel } = program;
  const { binary, symbol, offset } = parseUprobeTarget(target);
  const path = resolveBinary(binary);
  const at = symbol === null ? offset : functionOffset(path, symbol) + offset;
  const event = openUprobe(kernel, {
    path,
    offset: at,
    ret: options.ret ?? isReturnSection(program, 'uretprobe'),
    target,
    ...(options.pid === undefined ? {} : { pid: options.pid }),
    ...(options.refCtrOffset === undefined ? {} : { refCtrOffset: options.refCtrOffset }),
  });
  return attachToPerfEvent(program, event, { kind: 'uprobe', target }, options.cookie);
}

/** A place in a file to be probed. */
export interface UprobePlace {
  readonly path: string;
  readonly offset: number;
  readonly ret: boolean;
  readonly pid?: number;
  readonly refCtrOffset?: number;
  /** For messages. */
  readonly target: string;
}

/** Opens the perf event of a uprobe; returns its descriptor. */
export function openUprobe(kernel: Kernel, { path, offset, ret, pid = -1, refCtrOffset = 0, target }: UprobePlace): number {
  const event = openPmuProbe(kernel.sys, {
    pmu: 'uprobe',
    name: path,
    offset: BigInt(offset),
    ret,
    pid,
    // An event for one process follows it over all CPUs; one for all processes fires on every CPU anyhow.
    cpu: pid === -1 ? (kernel.onlineCpus[0] ?? 0) : -1,
    refCtrOffset,
  });
  if (event.ok) return event.fd;
  if (event.missingPmu) {
    throw new UnsupportedError({
      code: 'E_UPROBE_MISSING',
      what: 'this kernel has no uprobes',
      where: { target },
      why: 'it was built without CONFIG_UPROBE_EVENTS',
    });
  }
  throw new SyscallError('perf_event_open', event.errno, { what: 'cannot open the uprobe', where: { target, offset } });
}
