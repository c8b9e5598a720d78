import { UsageError } from '../../error.ts';
import { eventLoop, type EventLoop, type Pollable, type TurnResult } from '../../sys/event-loop.ts';
import type { Sys } from '../../sys/sys.ts';
import { RecordBlock, type Taker, type UnsafeBlockVisitor, type UnsafeVisitor } from './record-block.ts';
import { RecordCursor } from './record-cursor.ts';

/** What a reader has counted since it was made; exact. */
export interface EventCounters {
  /** Records given to the callback. */
  readonly received: number;
  /** Bytes of those records. */
  readonly bytes: number;
  /** Records that the program took back (bpf_ringbuf_discard). */
  readonly discarded: number;
  /** Records the kernel says it could not write; null where it does not say: a ring buffer's program itself must count. */
  readonly lost: number | null;
}

/** How much {@link EventSource.records} holds in memory before it lets the kernel's buffer fill up. */
export interface RecordsOptions {
  /** Records; 4096 unless said. */
  readonly maxQueued?: number;
}

/** How all readers are served; all are optional. */
export interface TurnOptions {
  /** Most records of one turn of the event loop; 8192. */
  readonly turnRecords?: number;
  /**
   * Most milliseconds of one turn, looked at every 128 records, or sooner where callbacks take long; every 16 KiB or 1024 records where
   * a block is taken at once; 8.
   */
  readonly turnMs?: number;
}

/** Records coming out of the kernel: a ring buffer, or the perf buffers of all CPUs. */
export abstract class EventSource implements Pollable {
  abstract readonly pollFds: readonly number[];
  abstract readonly pollIntervalMs: number;
  protected readonly sys: Sys;
  protected readonly loop: EventLoop;
  /** What has been found and not yet given back to the kernel. */
  protected readonly block: RecordBlock = new RecordBlock();
  readonly #turnRecords: number;
  readonly #turnMs: number;
  /** Consumers that wait for records, told when there will be none. */
  readonly #waiting = new Set<() => void>();
  #taker: Taker | null = null;
  #onBatchEnd: (() => void) | null = null;
  #inTurn = false;
  #running = false;
  #paused = false;
  #closed = false;

  protected constructor(sys: Sys, options: TurnOptions) {
    this.sys = sys;
    this.loop = eventLoop(sys);
    this.#turnRecords = options.turnRecords ?? 8192;
    this.#turnMs = options.turnMs ?? 8;
  }

  abstract get counters(): EventCounters;
  /** Bytes that wait in the kernel's buffers, headers included. */
  abstract get pendingBytes(): number;
  /** Hands over what is there: at most `maxRecords`, until `deadline` has passed, and until the block is halted. */
  protected abstract drain(taker: Taker, maxRecords: number, deadline: number): TurnResult;
  /** Lets go of all memory and descriptors; called once. */
  protected abstract release(): void;
  /** Records handed over so far. */
  protected abstract get received(): number;

  /**
   * Gives all that is there to `visitor` at once, without the event loop: for a last look before close(), for tests and
   * benchmarks. Returns how many records it gave. See {@link UnsafeVisitor} for the rules.
   */
  drainUnsafe(visitor: UnsafeVisitor, maxRecords: number = Number.POSITIVE_INFINITY): number {
    return this.#drainAll({ each: visitor }, maxRecords);
  }

  /** As {@link drainUnsafe}, many records at once. */
  drainBlocksUnsafe(visitor: UnsafeBlockVisitor, maxRecords: number = Number.POSITIVE_INFINITY): number {
    return this.#drainAll({ block: visitor }, maxRecords);
  }

  #drainAll(taker: Taker, maxRecords: number): number {
    if (this.#closed || this.#inTurn) return 0;
    const before = this.received;
    this.#drainTurn(taker, Math.min(maxRecords, 0x7fffffff), Number.POSITIVE_INFINITY);
    return this.received - before;
  }

  /** One turn of the event loop, of bounded length. */
  turn(): TurnResult {
    const taker = this.#taker;
    // Kept from before the turn: a callback that closes the reader still has the end of its batch.
    const onBatchEnd = this.#onBatchEnd;
    if (taker === null || this.#inTurn) return 'idle';
    const before = this.received;
    try {
      const result = this.#drainTurn(taker, this.#turnRecords, performance.now() + this.#turnMs);
      return result === 'idle' && this.received !== before ? 'drained' : result;
    } finally {
      if (this.received !== before) onBatchEnd?.();
    }
  }

  #drainTurn(taker: Taker, maxRecords: number, deadline: number): TurnResult {
    this.#inTurn = true;
    this.block.halted = false;
    try {
      return this.drain(taker, maxRecords, deadline);
    } finally {
      this.#inTurn = false;
    }
  }

  /** Whether records are being delivered: started, and neither paused nor closed. */
  get active(): boolean {
    return this.#running && !this.#paused && !this.#closed;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /**
   * Calls `onRecord` for every record, in turns of bounded length from the event loop; `onBatchEnd` after each turn that
   * had any. The cursor is lent for the time of the callback: it reads the kernel's memory, is moved to the next record
   * then, and expires at the end of the turn. A callback that throws has had its record; the exception surfaces as an
   * uncaught one and reading goes on.
   */
  start(onRecord: (record: RecordCursor) => void, onBatchEnd?: () => void): void {
    const cursor = new RecordCursor(new DataView(new ArrayBuffer(0)));
    this.startUnsafe(
      (view, offset, length) => onRecord(cursor.lend(view, offset, length)),
      () => {
        cursor.expire();
        onBatchEnd?.();
      },
    );
  }

  /** As {@link start}, with raw memory and no checks: for generated decoders. See {@link UnsafeVisitor} for the rules. */
  startUnsafe(visitor: UnsafeVisitor, onBatchEnd?: () => void): void {
    this.#start({ each: visitor }, onBatchEnd);
  }

  /**
   * As {@link startUnsafe}, many records at once: a block is what lies in the buffer, up to 16 KiB or 1024 records. All of a
   * block count as received, whether or not its callback throws.
   */
  startBlocksUnsafe(visitor: UnsafeBlockVisitor, onBatchEnd?: () => void): void {
    this.#start({ block: visitor }, onBatchEnd);
  }

  #start(taker: Taker, onBatchEnd?: () => void): void {
    this.#ensureOpen();
    if (this.#running) throw new UsageError({ code: 'E_STARTED', what: 'this reader is being read already', next: 'stop() it first' });
    this.#taker = taker;
    this.#onBatchEnd = onBatchEnd ?? null;
    this.#running = true;
    this.#paused = false;
    try {
      this.loop.add(this);
    } catch (error) {
      this.#running = false;
      this.#taker = this.#onBatchEnd = null;
      throw error;
    }
  }

  /** Ends what start() began; records stay in the kernel's buffer, and start() may be called again. */
  stop(): void {
    if (!this.#running || this.#closed) return;
    this.#running = false;
    this.#detach();
    for (const wake of this.#waiting) wake();
  }

  /** Leaves records in the kernel's buffer until resume(); costs no CPU. */
  pause(): void {
    if (!this.active) return;
    this.#paused = true;
    this.block.halted = true;
    this.loop.pause(this);
  }

  resume(): void {
    if (!this.#running || !this.#paused || this.#closed) return;
    this.#paused = false;
    this.loop.resume(this);
  }

  /** Keeps the process alive while records are read: the default. */
  ref(): this {
    this.loop.setReferenced(this, true);
    return this;
  }

  /** Lets the process end although records are read. */
  unref(): this {
    this.loop.setReferenced(this, false);
    return this;
  }

  /**
   * Copies of all records, as they come. While the consumer is busy at most `maxQueued` copies wait in memory; then the
   * kernel's buffer fills up, and what does not fit there is lost (and counted by the program or the kernel). Leaving the
   * loop stops the reader; close() ends the loop after the copies that wait.
   */
  records(options: RecordsOptions = {}): AsyncIterableIterator<Uint8Array> {
    const maxQueued = options.maxQueued ?? 4096;
    let queue: Uint8Array[] = [];
    let next = 0;
    let waiting: ((result: IteratorResult<Uint8Array, undefined>) => void) | null = null;
    const settle = (): void => {
      if (waiting === null) return;
      const record = queue[next];
      if (record === undefined && this.#running) return;
      const resolve = waiting;
      waiting = null;
      if (record !== undefined) next++;
      resolve(record === undefined ? { value: undefined, done: true } : { value: record, done: false });
    };
    this.#waiting.add(settle);
    this.start((record) => {
      queue.push(record.bytesCopy());
      if (queue.length >= maxQueued) this.pause();
    }, settle);
    return {
      next: () => {
        const record = queue[next];
        if (record !== undefined) {
          next++;
          return Promise.resolve({ value: record, done: false });
        }
        queue = [];
        next = 0;
        if (!this.#running) return Promise.resolve({ value: undefined, done: true });
        this.resume();
        if (waiting !== null)
          throw new UsageError({ code: 'E_CONCURRENT_NEXT', what: 'the last record has not come yet', next: 'await each next()' });
        return new Promise((resolve) => (waiting = resolve));
      },
      return: () => {
        this.#waiting.delete(settle);
        this.stop();
        queue = [];
        settle();
        return Promise.resolve({ value: undefined, done: true });
      },
      [Symbol.asyncIterator]() {
        return this;
      },
    };
  }

  [Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    return this.records();
  }

  /** Stops reading and lets go of memory and descriptors. Harmless when repeated, inside a callback, and to views that are still held. */
  close(): void {
    if (this.#closed) return;
    this.#running = false;
    this.#detach();
    this.#closed = true;
    this.release();
    for (const wake of this.#waiting) wake();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #detach(): void {
    this.block.halted = true;
    this.loop.remove(this);
    this.#taker = this.#onBatchEnd = null;
  }

  #ensureOpen(): void {
    if (this.#closed) throw new UsageError({ code: 'E_CLOSED', what: 'this reader is closed' });
  }
}
