import { perfEventOpenOrThrow, PerfPulse } from '../../sys/perf-event.ts';
import type { BpfProgram } from '../program/program.ts';
import { PERF_COUNT_HW, PERF_COUNT_SW, PERF_FORMAT, PERF_TYPE } from '../uapi/perf.gen.ts';
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

/** How often it is looked whether CPUs came or went, milliseconds. */
const hotplugInterval = 1000;

/**
 * Runs a program at samples of an event: `PERF_COUNT_SW_CPU_CLOCK` (a profiler's timer), `PERF_COUNT_HW_CACHE_MISSES`...,
 * one link for each CPU. Without `cpus` it follows CPUs that come and go, within a second.
 *
 * Throws SyscallError: ENOENT where the machine cannot count the event (virtual machines often have no hardware counters).
 */
export function attachPerfEvent(program: BpfProgram, event: PerfEventName, options: PerfEventOptions = {}): PerfEventLinks {
  return undoOnError((undo) => {
    const links = undo.own(new PerfEventLinks(program, event, options));
    links.refresh();
    return links;
  });
}

/** The links of one event, one for each CPU that is online. */
export class PerfEventLinks extends LinkGroup {
  readonly #byCpu = new Map<number, { readonly link: BpfLink; readonly pulse: PerfPulse }>();
  readonly #links: BpfLink[];
  readonly #options: PerfEventOptions;
  readonly #event: PerfEventName;
  #timer: NodeJS.Timeout | null = null;

  /** {@link attachPerfEvent} is what users call. */
  constructor(program: BpfProgram, event: PerfEventName, options: PerfEventOptions) {
    const links: BpfLink[] = [];
    super(program, { kind: 'perf_event', target: event }, links);
    this.#links = links;
    this.#event = event;
    this.#options = options;
    if (options.cpus !== undefined) return;
    this.#timer = setInterval(() => this.#follow(), hotplugInterval);
    this.#timer.unref();
  }

  /** The CPUs it samples on. */
  get cpus(): readonly number[] {
    return [...this.#byCpu.keys()];
  }

  /** Opens the event on CPUs that have come online, or that went and came back, and lets go of those that went: an event does not come back with its CPU. */
  refresh(): void {
    const online = new Set(this.#options.cpus ?? this.program?.kernel.onlineCpus);
    // The time of an event of one process stands still while that does not run.
    const ofProcess = this.#options.pid !== undefined && this.#options.pid >= 0;
    for (const [cpu, { link, pulse }] of this.#byCpu) {
      if (online.has(cpu) && (ofProcess || pulse.beats())) continue;
      link.close();
      this.#byCpu.delete(cpu);
    }
    try {
      for (const cpu of online) if (!this.#byCpu.has(cpu)) this.#byCpu.set(cpu, this.#open(cpu));
    } finally {
      // Those that were opened before one failed are to be closed, too.
      this.#links.splice(0, this.#links.length, ...[...this.#byCpu.values()].map(({ link }) => link));
    }
  }

  override detach(): void {
    this.#stop();
    super.detach();
  }

  override close(): void {
    this.#stop();
    super.close();
  }

  #stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #follow(): void {
    try {
      this.refresh();
    } catch (cause) {
      // A CPU may go between the look and the call: the next look tells.
      this.program?.kernel.notice({ code: 'N_HOTPLUG', message: `${this.#event} is not sampled on every CPU`, cause });
    }
  }

  #open(cpu: number): { readonly link: BpfLink; readonly pulse: PerfPulse } {
    const { period, frequency, pid, cookie } = this.#options;
    const program = this.program as BpfProgram;
    const event = this.#event;
    const isSoftware = Object.hasOwn(PERF_COUNT_SW, event);
    const attr = {
      type: isSoftware ? PERF_TYPE.PERF_TYPE_SOFTWARE : PERF_TYPE.PERF_TYPE_HARDWARE,
      config: isSoftware ? PERF_COUNT_SW[event as keyof typeof PERF_COUNT_SW] : PERF_COUNT_HW[event as keyof typeof PERF_COUNT_HW],
      read_format: PERF_FORMAT.PERF_FORMAT_TOTAL_TIME_ENABLED,
      ...(period === undefined ? { sample_freq: frequency ?? 49 } : { sample_period: period }),
    };
    const bits = period === undefined ? { freq: 1, disabled: 1 } : { disabled: 1 };
    const failure = { what: 'cannot open the perf event', where: { event, cpu } };
    const fd = perfEventOpenOrThrow(program.kernel.sys, { attr, bits, pid: pid ?? -1, cpu }, failure);
    const link = attachToPerfEvent(program, fd, { kind: 'perf_event', target: event }, cookie);
    return { link, pulse: new PerfPulse(program.kernel.sys, fd) };
  }
}
