import { appendFileSync, readFileSync } from 'node:fs';
import { UsageError } from '../../error.ts';
import { ERRNO, type ErrnoName, SyscallError } from '../../sys/errno.ts';
import { type FsAccess, openFs } from '../../sys/detached-mount.ts';
import { perfEventOpenOrThrow } from '../../sys/perf-event.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { PERF_TYPE } from '../uapi/perf.gen.ts';
import { undoOnError } from '../undo.ts';
import type { BpfLink, LinkNames } from './link.ts';
import { ManagedLink } from './managed.ts';
import { attachToPerfEvent } from './perf.ts';
import { type Owner, ownerText, parseOwner, thisOwner } from './unlinked/owner.ts';

/** How a probe is made. */
export type ProbeWay = 'perf' | 'tracefs';

/** A probe to be made by writing to tracefs, as kernels before 4.17 want it, and those without the perf PMUs. */
export interface TracefsPlace {
  readonly kind: 'kprobe' | 'uprobe';
  /** As the kernel writes it: `do_unlinkat+0x10`, `0xffffffff81000000`, `/usr/bin/bash:0x1234`. */
  readonly place: string;
  /** Fires on return. */
  readonly ret: boolean;
  /** uprobe: offset in the file of a counter of listeners (Linux 4.20). */
  readonly refCtrOffset?: number;
  /** One process; all unless said. */
  readonly pid?: number;
}

/** One in the kernel, with the process that made it in its group's name. */
export interface TracefsProbe {
  readonly kind: 'kprobe' | 'uprobe';
  readonly group: string;
  readonly event: string;
  readonly place: string;
  readonly owner: Owner;
}

const files = { kprobe: 'kprobe_events', uprobe: 'uprobe_events' } as const;
let counter = 0;

/**
 * Attaches a program to a probe made in tracefs. The probe outlives its process: its group bears the process's name, so that
 * it can be listed and swept.
 */
export function attachTracefsProbe(program: BpfProgram, names: LinkNames, place: TracefsPlace, cookie = 0n): BpfLink {
  const { kernel } = program;
  // One command a line, its words between spaces: a path with either would say something else.
  if (/\s/.test(place.place)) {
    throw new UsageError({
      code: 'E_PROBE_PLACE',
      what: 'a path with spaces cannot be probed through tracefs',
      where: { target: names.target },
      next: 'use a kernel with the uprobe PMU (Linux 4.17), or a link to the file without spaces in its path',
    });
  }
  return undoOnError((undo) => {
    const probe = { kind: place.kind, group: ownerText(thisOwner()), event: `p${counter++}`, place: place.place, owner: thisOwner() };
    const tracefs = openFs(kernel.sys, 'tracefs');
    let id: number;
    try {
      const counted = place.refCtrOffset === undefined || place.refCtrOffset === 0 ? '' : `(0x${place.refCtrOffset.toString(16)})`;
      const line = `${place.ret ? 'r' : 'p'}:${probe.group}/${probe.event} ${place.place}${counted}`;
      command(tracefs, place.kind, line, names.target);
      undo.add(() => removeTracefsProbe(kernel, probe));
      id = Number(readFileSync(`${tracefs.path}/events/${probe.group}/${probe.event}/id`, 'latin1'));
    } finally {
      tracefs.close();
    }
    const pid = place.pid ?? -1;
    const event = perfEventOpenOrThrow(
      kernel.sys,
      { attr: { type: PERF_TYPE.PERF_TYPE_TRACEPOINT, config: id }, pid, cpu: pid === -1 ? (kernel.onlineCpus[0] ?? 0) : -1 },
      { what: 'cannot open the probe', where: { target: names.target } },
    );
    const link = attachToPerfEvent(program, event, names, cookie);
    return new ManagedLink(link, () => removeTracefsProbe(kernel, probe));
  });
}

/** Writes a command; the errno that the kernel answers becomes a SyscallError. */
function command(tracefs: FsAccess, kind: keyof typeof files, line: string, target: string): void {
  try {
    appendFileSync(`${tracefs.path}/${files[kind]}`, `${line}\n`);
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code as ErrnoName;
    throw new SyscallError(`write(${files[kind]})`, -ERRNO[code], { what: 'cannot make the probe', where: { target }, cause });
  }
}

/** Whether the kernel makes such probes through tracefs. */
export function hasTracefsProbes(kernel: Kernel, kind: keyof typeof files): boolean {
  return readProbes(kernel, kind) !== null;
}

/** The probes that rawbpf, in any process, has made. */
export function listTracefsProbes(kernel: Kernel): TracefsProbe[] {
  return (['kprobe', 'uprobe'] as const).flatMap((kind) =>
    (readProbes(kernel, kind) ?? '').split('\n').flatMap((line) => {
      // p:group/event place, or r with how many returns may be open at once.
      const match = /^[pr]\d*:([^/\s]+)\/(\S+) (.+)$/.exec(line);
      const owner = match === null ? null : parseOwner(match[1] as string);
      if (match === null || owner === null) return [];
      return [{ kind, group: match[1] as string, event: match[2] as string, place: match[3] as string, owner }];
    }),
  );
}

function readProbes(kernel: Kernel, kind: keyof typeof files): string | null {
  let tracefs: FsAccess;
  try {
    tracefs = openFs(kernel.sys, 'tracefs');
  } catch {
    return null;
  }
  try {
    return readFileSync(`${tracefs.path}/${files[kind]}`, 'latin1');
  } catch {
    return null;
  } finally {
    tracefs.close();
  }
}

/** Takes a probe out of the kernel; it must not be in use any more. */
export function removeTracefsProbe(kernel: Kernel, { kind, group, event, place }: TracefsProbe): void {
  const tracefs = openFs(kernel.sys, 'tracefs');
  try {
    command(tracefs, kind, `-:${group}/${event}`, place);
  } finally {
    tracefs.close();
  }
}
