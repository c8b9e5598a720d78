import { perfEventOpenOrThrow } from '../../sys/perf-event.ts';
import type { BpfProgram } from '../program/program.ts';
import { PERF_COUNT_HW, PERF_COUNT_SW, PERF_TYPE } from '../uapi/perf.gen.ts';
import { undoOnError } from '../undo.ts';
import { type BpfLink, LinkGroup } from './link.ts';
import { attachToPerfEvent } from './perf.ts';

/** An event that is counted and sampled. */
export type PerfEventName = keyof typeof PERF_COUNT_HW | keyof typeof PERF_COUNT_SW;

export interface PerfEventOptions {
  /** Samples a second; 49 unless a period is given. */
  readonly frequency?: number;
  /** Events between two samples, instead of a frequency. */
  readonly period?: number;
  /** CPUs to sample on; all that are online unless said. */
  readonly cpus?: readonly number[];
  /** One process; all unless said. */
  readonly pid?: number;
  readonly cookie?: bigint;
}

/**
 * Runs a program at samples of an event: `PERF_COUNT_SW_CPU_CLOCK` (a profiler's timer), `PERF_COUNT_HW_CACHE_MISSES`...,
 * one link for each CPU.
 *
 * Throws SyscallError: ENOENT where the machine cannot count the event (virtual machines often have no hardware counters).
 */
export function attachPerfEvent(program: BpfProgram, event: PerfEventName, options: PerfEventOptions = {}): BpfLink {
  const { kernel } = program;
  const isSoftware = Object.hasOwn(PERF_COUNT_SW, event);
  const attr = {
    type: isSoftware ? PERF_TYPE.PERF_TYPE_SOFTWARE : PERF_TYPE.PERF_TYPE_HARDWARE,
    config: isSoftware ? PERF_COUNT_SW[event as keyof typeof PERF_COUNT_SW] : PERF_COUNT_HW[event as keyof typeof PERF_COUNT_HW],
    ...(options.period === undefined ? { sample_freq: options.frequency ?? 49 } : { sample_period: options.period }),
  };
  const bits = options.period === undefined ? { freq: 1, disabled: 1 } : { disabled: 1 };
  const names = { kind: 'perf_event', target: event } as const;
  const links = undoOnError((undo) =>
    (options.cpus ?? kernel.onlineCpus).map((cpu) => {
      const failure = { what: 'cannot open the perf event', where: { event, cpu } };
      const fd = perfEventOpenOrThrow(kernel.sys, { attr, bits, pid: options.pid ?? -1, cpu }, failure);
      return undo.own(attachToPerfEvent(program, fd, names, options.cookie));
    }),
  );
  return new LinkGroup(program, names, links);
}
