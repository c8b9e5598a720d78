import type { EventRecord } from './record.ts';
import type { DataSource } from './data-source.ts';
import type { FetchOptions } from './batch-source.ts';
import type { Kernel } from '../bpf/kernel/kernel.ts';
import type { Misfits } from './misfits.ts';
import type { MissedRuns } from './missed-runs.ts';
import type { ParamValue } from './params.ts';
import type { RunPart } from './part.ts';
import type { RecordList } from './record-list.ts';

/** Takes events where they lie: records are lent for the time of the call. */
export interface EventSink {
  /** One event of a tracer. */
  event(source: DataSource, record: EventRecord): void;
  /** What one run of an iterator gave. */
  batch?(source: DataSource, records: RecordList): void;
  /** After a turn that had events. */
  batchEnd?(): void;
}

/** How a gadget is run; all are optional. */
export interface RunOptions extends FetchOptions {
  /** The kernel to load into; the running one unless given. It stays the caller's. */
  readonly kernel?: Kernel;
  /** Values of parameters, by their flags. */
  readonly params?: ReadonlyMap<string, ParamValue>;
  /** Events that count and are delivered; all unless given. */
  readonly filter?: (source: DataSource) => ((record: EventRecord) => boolean) | null;
  /** Goes on without programs that cannot be loaded or attached, with a notice for each. */
  readonly skipUnsupported?: boolean;
  /** Milliseconds after which it stops by itself. */
  readonly timeoutMs?: number;
  /** Events after which it stops by itself; never more are delivered. */
  readonly maxEvents?: number;
  /** Milliseconds between runs of iterators, which otherwise run once, and of looks into maps, otherwise every second. */
  readonly intervalMs?: number;
  /** Gives events of all CPUs in the order of their times where the kernel has no ring buffers, which it costs up to 5 ms. */
  readonly ordered?: boolean;
  /** How often those are made; 0 for without end. */
  readonly fetchCount?: number;
  /** What of the machine the run is joined with, asked in this order. The run closes them when it ends. */
  readonly parts?: readonly RunPart[];
  /** Bytes of events that may be held until a part knows whether they are wanted; 16 MiB unless said. */
  readonly maxHeldBytes?: number;
  readonly notice?: (message: string) => void;
  /** Makes an object that has no counter of lost events count them, see countLosses(). */
  readonly countLoss?: boolean;
  /** Bytes of each buffer that events come through, rounded up to a power of two of pages; as the gadget declares them unless given. */
  readonly bufferSize?: number;
  /**
   * Programs wake the reader for no event, and it looks this often (milliseconds): producers pay less, events come up to so much
   * later, and the buffer has to hold what comes in between. Unless given, the first event that finds the reader idle wakes it.
   */
  readonly wakeupMs?: number;
}

/** What happened to events; exact. */
export interface RunCounters {
  /** Events that came. */
  readonly received: number;
  /** Those of them that passed the filter. */
  readonly delivered: number;
  /** Events that had no room in the buffer; null where the object does not count them. */
  readonly lost: number | null;
  /** Events that the gadget itself took back. */
  readonly discarded: number;
}

/** Why a run ended. */
export type StopReason = 'stopped' | 'timeout' | 'max-events' | 'finished' | 'error';

export interface RunResult {
  readonly reason: StopReason;
  readonly counters: RunCounters;
  /** Programs that the kernel did not run when it should have; none mostly. */
  readonly missed: readonly MissedRuns[];
  /** Events that were shorter or longer than their struct; none mostly. They are among those received, and were delivered. */
  readonly misfits: readonly Misfits[];
}
