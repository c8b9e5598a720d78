import type { EventSource } from '../bpf/events/event-source.ts';
import type { UnsafeVisitor } from '../bpf/events/record-block.ts';
import type { DataSource } from './data-source.ts';
import { HeldEvents, judgeOf, type Judge } from './held-events.ts';
import type { SizeCheck } from './misfits.ts';
import type { Verdict } from './part.ts';
import type { EventRecord } from './record.ts';
import { RecordList } from './record-list.ts';
import type { EventSink, RunOptions } from './run-options.ts';

/** Why no more events are wanted: the last one asked for has come, or a sink, filter or part has failed. */
export type FullReason = 'max-events' | 'error';

/**
 * The way of events from the buffers to the sink: asks the parts of the run and the filter, holds what cannot be judged yet,
 * keeps the order, counts, and stops at the last event that is wanted.
 */
export class Delivery {
  readonly #options: RunOptions;
  readonly #sink: EventSink;
  readonly #onFull: (reason: FullReason) => void;
  readonly #held: HeldEvents;
  /** Held events are to be looked at as soon as the events at hand are through. */
  #releaseSoon = false;
  #inEvents = false;
  #full = false;
  #received = 0;
  #delivered = 0;
  #failure: { readonly error: unknown } | null = null;

  /** `onFull` is called, once for each reason, when no more events are wanted. */
  constructor(options: RunOptions, sink: EventSink, onFull: (reason: FullReason) => void) {
    this.#options = options;
    this.#sink = sink;
    this.#onFull = onFull;
    const timed = options.parts?.filter((part) => part.asOf !== undefined) ?? [];
    this.#held = new HeldEvents(options.maxHeldBytes ?? 16 << 20, (time) => {
      for (const part of timed) part.asOf?.(time);
    });
  }

  /** Events that came. */
  get received(): number {
    return this.#received;
  }

  /** Those that went to the sink. */
  get delivered(): number {
    return this.#delivered;
  }

  /** No event is taken any more. */
  get full(): boolean {
    return this.#full;
  }

  /** Events that are held. */
  get holding(): number {
    return this.#held.length;
  }

  /** What went wrong first. */
  get failure(): { readonly error: unknown } | null {
    return this.#failure;
  }

  /** Takes no more events. */
  close(): void {
    this.#full = true;
  }

  fail(error: unknown): void {
    this.#full = true;
    this.#failure ??= { error };
    this.#onFull('error');
  }

  guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.fail(error);
    }
  }

  /** What is called for every record: nothing in it allocates, unless the event has to be held. */
  visitor(source: DataSource, reader: EventSource, record: EventRecord, sizes: SizeCheck): UnsafeVisitor {
    const deliver = this.#deliverer(source);
    const judge = judgeOf(this.#options.parts ?? [], source);
    const held = this.#held;
    const { least, most } = sizes;
    const ifFull = (): void => {
      if (this.#full) reader.stop();
    };
    if (judge === null) {
      return (view, offset, length) => {
        if (this.#full) return;
        this.#received++;
        if (length < least || length > most) sizes.count(length);
        record.point(view, offset, length);
        // What came before it comes out before it.
        if (held.length > 0) held.push({ source, judge: null, deliver }, view, offset, length);
        else deliver(record);
        ifFull();
      };
    }
    const lane = { source, judge, deliver };
    return (view, offset, length) => {
      if (this.#full) return;
      this.#received++;
      if (length < least || length > most) sizes.count(length);
      record.point(view, offset, length);
      this.#inEvents = true;
      const verdict = this.#judge(judge, record);
      const holds = verdict === 'hold' || (verdict === 'show' && held.length > 0);
      // The oldest may have to go to make room, and is judged then.
      if (holds) this.guard(() => held.push(lane, view, offset, length));
      this.#inEvents = false;
      if (verdict === 'drop') return;
      if (!holds) deliver(record);
      ifFull();
    };
  }

  /** Gives the sink what one look at an iterator or a map gave. */
  batch(source: DataSource, all: RecordList): void {
    const list = this.#filtered(source, all);
    this.#received += all.length;
    this.#delivered += list.length;
    this.#sink.batch?.(source, list);
    this.#sink.batchEnd?.();
    if (this.#delivered < (this.#options.maxEvents ?? Number.POSITIVE_INFINITY)) return;
    this.#full = true;
    this.#onFull('max-events');
  }

  /** A turn that had events is over. */
  turnEnd(): void {
    if (this.#releaseSoon) this.release();
    this.guard(() => this.#sink.batchEnd?.());
  }

  /** Looks at held events again, because a part knows more; after the events at hand where it is among them (false). */
  release(): boolean {
    this.#releaseSoon = this.#inEvents;
    if (this.#inEvents || this.#held.length === 0) return false;
    this.guard(() => this.releaseNow(false));
    return true;
  }

  /** Delivers and drops held events that can be judged, and all of them where `last` is true; throws what the sink throws. */
  releaseNow(last: boolean): void {
    this.#inEvents = true;
    try {
      this.#held.release(last);
    } finally {
      this.#inEvents = false;
      this.#sink.batchEnd?.();
    }
  }

  #judge(judge: Judge, record: EventRecord): Verdict {
    try {
      return judge(record, false);
    } catch (error) {
      this.fail(error);
      return 'drop';
    }
  }

  /** Gives events that are to be shown to the sink, as long as any are wanted. */
  #deliverer(source: DataSource): (record: EventRecord) => void {
    const sink = this.#sink;
    const wanted = this.#options.filter?.(source) ?? null;
    const most = this.#options.maxEvents ?? Number.POSITIVE_INFINITY;
    return (record) => {
      if (this.#full) return;
      try {
        if (wanted !== null && !wanted(record)) return;
        this.#delivered++;
        sink.event(source, record);
      } catch (error) {
        this.fail(error);
      }
      if (this.#delivered < most) return;
      this.#full = true;
      this.#onFull('max-events');
    };
  }

  #filtered(source: DataSource, all: RecordList): RecordList {
    const wanted = this.#options.filter?.(source) ?? null;
    const judge = judgeOf(this.#options.parts ?? [], source);
    const most = (this.#options.maxEvents ?? Number.POSITIVE_INFINITY) - this.#delivered;
    if (wanted === null && judge === null && all.length <= most) return all;
    const kept: number[] = [];
    for (let i = 0; i < all.length && kept.length < most; i++) {
      const record = all.at(i);
      if ((judge === null || judge(record, true) === 'show') && (wanted === null || wanted(record))) kept.push(i);
    }
    return all.pick(kept);
  }
}
