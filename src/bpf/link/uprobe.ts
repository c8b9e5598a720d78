import { UnsupportedError, UsageError } from '../../error.ts';
import { SyscallError } from '../../sys/errno.ts';
import { openPmuProbe } from '../kernel/pmu.ts';
import type { BpfProgram } from '../program/program.ts';
import { resolveBinary } from './binary.ts';
import { functionOffset } from './function-offsets.ts';
import { isReturnSection } from './kprobe.ts';
import type { BpfLink, LinkNames } from './link.ts';
import { attachToPerfEvent } from './perf.ts';
import { attachTracefsProbe, hasTracefsProbes, type ProbeWay } from './tracefs-probe.ts';

export interface UprobeOptions {
  /** Fires when the function returns; else what the program's section says. */
  readonly ret?: boolean;
  /** One process; all, those to come too, unless said. */
  readonly pid?: number;
  readonly cookie?: bigint;
  /** File offset of a reference counter that the kernel raises while attached (a USDT semaphore). */
  readonly refCtrOffset?: number;
  /** Through the uprobe PMU (Linux 4.17) or tracefs; through the PMU where the kernel has it unless said. */
  readonly via?: ProbeWay;
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
  const { binary, symbol, offset } = parseUprobeTarget(target);
  const path = resolveBinary(binary);
  const at = symbol === null ? offset : functionOffset(path, symbol) + offset;
  const place = {
    path,
    offset: at,
    ret: options.ret ?? isReturnSection(program, 'uretprobe'),
    ...(options.pid === undefined ? {} : { pid: options.pid }),
    ...(options.refCtrOffset === undefined ? {} : { refCtrOffset: options.refCtrOffset }),
  };
  return attachUprobeAt(program, { kind: 'uprobe', target }, place, options);
}

/** A place in a file to be probed. */
export interface UprobePlace {
  readonly path: string;
  readonly offset: number;
  readonly ret: boolean;
  readonly pid?: number;
  readonly refCtrOffset?: number;
}

/** Attaches a program to a place in a file, through the uprobe PMU or, where there is none, tracefs. */
export function attachUprobeAt(
  program: BpfProgram,
  names: LinkNames,
  place: UprobePlace,
  options: { readonly cookie?: bigint | undefined; readonly via?: ProbeWay } = {},
): BpfLink {
  const { kernel } = program;
  const { path, offset, ret, pid = -1, refCtrOffset = 0 } = place;
  const { target } = names;
  const byTracefs = (): BpfLink =>
    attachTracefsProbe(program, names, { ...place, kind: 'uprobe', place: `${path}:0x${offset.toString(16)}` }, options.cookie);
  if (options.via === 'tracefs') return byTracefs();
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
  if (event.ok) return attachToPerfEvent(program, event.fd, names, options.cookie);
  if (event.missingPmu && options.via !== 'perf' && hasTracefsProbes(kernel, 'uprobe')) return byTracefs();
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
