import { readdirSync, readFileSync } from 'node:fs';
import { RawbpfError, UsageError } from '../../error.ts';
import { type FsAccess, openFs } from '../../sys/detached-mount.ts';
import { perfEventOpenOrThrow } from '../../sys/perf-event.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfProgram } from '../program/program.ts';
import { PERF_TYPE } from '../uapi/perf.gen.ts';
import type { BpfLink } from './link.ts';
import { attachToPerfEvent } from './perf.ts';
import { suggest } from '../../bytes/suggest.ts';

export interface TracepointOptions {
  /** What bpf_get_attach_cookie() answers in the program. */
  readonly cookie?: bigint;
}

/**
 * Attaches a program to a tracepoint, given as `category/name`. tracefs need not be mounted.
 *
 * Throws E_TRACEPOINT with suggestions where there is no such tracepoint.
 *
 * @example
 * import { attachTracepoint, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function watchExits(program: BpfProgram): BpfLink {
 *   return attachTracepoint(program, 'sched/sched_process_exit');
 * }
 */
export function attachTracepoint(program: BpfProgram, tracepoint: string, options: TracepointOptions = {}): BpfLink {
  const { kernel } = program;
  const id = tracepointId(kernel, tracepoint);
  const event = perfEventOpenOrThrow(
    kernel.sys,
    // One event is enough for all CPUs: the program hangs on the tracepoint, not on the event's CPU.
    { attr: { type: PERF_TYPE.PERF_TYPE_TRACEPOINT, config: id }, pid: -1, cpu: kernel.onlineCpus[0] ?? 0 },
    { what: 'cannot open the tracepoint', where: { tracepoint } },
  );
  return attachToPerfEvent(program, event, { kind: 'tracepoint', target: tracepoint }, options.cookie);
}

/** The kernel's number of a tracepoint `category/name`. */
export function tracepointId(kernel: Kernel, tracepoint: string): number {
  const [category, name, ...rest] = tracepoint.split('/');
  if (!isPlain(category) || !isPlain(name) || rest.length > 0) {
    throw new UsageError({ code: 'E_TRACEPOINT', what: 'not a tracepoint', where: { tracepoint }, next: 'write it as category/name' });
  }
  return withTracefs(kernel, (tracefs) => {
    try {
      return Number(readFileSync(`${tracefs.path}/events/${category}/${name}/id`, 'latin1'));
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause;
      throw missingTracepoint(tracefs, tracepoint, category, name);
    }
  });
}

/** The parts become a path: nothing in them may lead out of the events folder. */
function isPlain(part: string | undefined): part is string {
  return part !== undefined && /^[\w:.-]+$/.test(part) && part !== '.' && part !== '..';
}

/** Every tracepoint of the kernel, as `category/name`. */
export function listTracepoints(kernel: Kernel): string[] {
  return withTracefs(kernel, tracepointsIn);
}

function tracepointsIn(tracefs: FsAccess): string[] {
  // One file lists all events; walking the folders would make the kernel build each of them.
  return readFileSync(`${tracefs.path}/available_events`, 'latin1')
    .split('\n')
    .filter((line) => line.includes(':'))
    .map((line) => line.replace(':', '/'));
}

function missingTracepoint(tracefs: FsAccess, tracepoint: string, category: string, name: string): RawbpfError {
  let known: string[] = [];
  try {
    known = tracepointsIn(tracefs);
  } catch {
    // Without the list there are no suggestions.
  }
  const moved = known.filter((other) => other.endsWith(`/${name}`));
  const near = moved.length > 0 ? moved.slice(0, 3) : suggest(tracepoint, known);
  const hasCategory = known.some((other) => other.startsWith(`${category}/`));
  return new UsageError({
    code: 'E_TRACEPOINT',
    what: 'this kernel has no such tracepoint',
    where: { tracepoint },
    why: hasCategory || known.length === 0 ? `there is no ${name} in ${category}` : `there is no category ${category}`,
    ...(near.length === 0 ? {} : { next: `did you mean ${near.join(' or ')}?` }),
  });
}

function withTracefs<T>(kernel: Kernel, use: (tracefs: FsAccess) => T): T {
  const tracefs = openFs(kernel.sys, 'tracefs');
  try {
    return use(tracefs);
  } finally {
    tracefs.close();
  }
}

/** The categories of tracepoints. */
export function tracepointCategories(kernel: Kernel): string[] {
  return withTracefs(kernel, (tracefs) =>
    readdirSync(`${tracefs.path}/events`, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name),
  );
}
