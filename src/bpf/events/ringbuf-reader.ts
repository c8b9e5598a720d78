import { FormatError, UsageError } from '../../error.ts';
import { EPOLL } from '../../sys/constants.ts';
import { Epoll } from '../../sys/epoll.ts';
import { check } from '../../sys/errno.ts';
import type { TurnResult } from '../../sys/event-loop.ts';
import type { MapFd } from '../../sys/fds.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { Sys } from '../../sys/sys.ts';
import { EventSource, type EventCounters, type TurnOptions } from './event-source.ts';
import { blockRecords, type Taker } from './record-block.ts';

/** How a {@link RingbufReader} reads; all are optional. */
export interface RingbufReaderOptions extends TurnOptions {
  /** Looks at the buffer this often whether or not the kernel wakes us, for programs that pass BPF_RB_NO_WAKEUP; 0 for never, the default. */
  readonly pollIntervalMs?: number;
}

// include/uapi/linux/bpf.h: a record's header is its length, whose top bit (the sign) is BUSY and the next DISCARD; 8 bytes.
const discardBit = 0x40000000;
const lengthMask = 0x3fffffff;
const headerSize = 8;
/** Most bytes between two publications of the position: at least every 1/8 of the ring, so that producers get room while callbacks run. */
const maxUnpublished = 16 * 1024;

/**
 * Reads a BPF_MAP_TYPE_RINGBUF in place (kernel/bpf/ringbuf.c, Documentation/bpf/ringbuf.rst): the positions and the
 * data are mapped, so a record costs no system call and no copy.
 */
export class RingbufReader extends EventSource {
  override readonly pollFds: readonly number[];
  override readonly pollIntervalMs: number;
  readonly #fd: MapFd;
  readonly #consumer: Mapping;
  readonly #producer: Mapping;
  /** The consumer position: the whole 64 bits are written at once, see #publish. */
  readonly #consumerPosition: BigInt64Array;
  /** Producer position (its low word is index 0), then the data, twice in a row. */
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #dataStart: number;
  readonly #mask: number;
  /** Bytes after which the position is published, and the clock looked at, in the middle of a turn. */
  readonly #publishEvery: number;
  /** arm64 reorders loads: there a plain load of a header would let the record's bytes be read before it. */
  readonly #acquire: boolean;
  /** The position as last published. */
  #published: bigint;
  /** Its low word: enough for finding records, for a ring has at most 2^31 bytes. */
  #low: number;
  /** Of {@link wait}. */
  #sleep: Epoll | null = null;
  /** Received, bytes, discarded: up to the published position. */
  readonly #totals = new Float64Array(3);
  /** Of the block at hand: where it ends, its records' bytes, and what was discarded in between. */
  #next = 0;
  #bytes = 0;
  #discarded = 0;

  /** `maxEntries` is the map's: the size of the data in bytes. The descriptor is duplicated; the caller keeps its own. */
  constructor(sys: Sys, mapFd: number, maxEntries: number, options: RingbufReaderOptions = {}) {
    super(sys, options);
    const page = pageSize();
    if (!Number.isInteger(maxEntries) || maxEntries < page || maxEntries > 2 ** 31 || Math.log2(maxEntries) % 1 !== 0) {
      throw new UsageError({
        code: 'E_RINGBUF_SIZE',
        what: 'the size of a ring buffer must be a power of two and whole pages',
        where: { max_entries: maxEntries, page },
      });
    }
    this.#fd = dupFd(sys, mapFd as MapFd);
    let consumer: Mapping | null = null;
    try {
      consumer = Mapping.map(sys, { fd: this.#fd, length: page, writable: true, what: "a ring buffer's consumer page" });
      this.#producer = Mapping.map(sys, {
        fd: this.#fd,
        offset: page,
        length: page + 2 * maxEntries,
        writable: false,
        what: "a ring buffer's data",
      });
      this.#consumer = consumer;
    } catch (error) {
      consumer?.close();
      closeFd(sys, this.#fd);
      throw error;
    }
    this.pollFds = [this.#fd];
    this.pollIntervalMs = options.pollIntervalMs ?? 0;
    this.#acquire = sys.arch !== 'x64';
    this.#consumerPosition = new BigInt64Array(this.#consumer.buffer, 0, 1);
    this.#words = new Int32Array(this.#producer.buffer);
    this.#view = new DataView(this.#producer.buffer);
    this.#dataStart = page;
    this.#mask = maxEntries - 1;
    this.#publishEvery = Math.min(maxEntries / 8, maxUnpublished);
    // A pinned or inherited map may have been read before: its position is where it is.
    this.#published = Atomics.load(this.#consumerPosition, 0);
    this.#low = this.#next = Number(BigInt.asIntN(32, this.#published)) | 0;
  }

  override get counters(): EventCounters {
    const [received = 0, bytes = 0, discarded = 0] = this.#totals;
    return { received: received + this.block.given, bytes: bytes + this.block.givenBytes, discarded, lost: null };
  }

  protected override get received(): number {
    return (this.#totals[0] as number) + this.block.given;
  }

  /** Bytes that producers have reserved and this reader has not consumed, headers included. */
  override get pendingBytes(): number {
    return this.closed ? 0 : this.#available();
  }

  /** Bytes of data the ring holds. */
  get size(): number {
    return this.#mask + 1;
  }

  /**
   * Blocks this thread, at most `timeoutMs` milliseconds, until {@link drainUnsafe} or {@link drainBlocksUnsafe} would find records;
   * false where there are none yet, which may be sooner. It is for a worker thread that does nothing else: while it blocks, neither
   * timers nor I/O of the thread are served, and `worker.terminate()` waits for it.
   *
   * A thread that sleeps in the kernel has its records sooner than an event loop, and whatever the main thread does meanwhile; see
   * docs/performance.md. Throws a {@link UsageError} `E_CLOSED` for a closed reader.
   *
   * @example
   * import { parentPort, workerData } from 'node:worker_threads';
   * import { defaultSys, RingbufReader } from 'rawbpf';
   *
   * export function serve({ mapFd, maxEntries, stop }: { mapFd: number; maxEntries: number; stop: Int32Array }): number {
   *   const reader = new RingbufReader(defaultSys(), mapFd, maxEntries);
   *   let records = 0;
   *   while (Atomics.load(stop, 0) === 0) {
   *     if (reader.wait(100)) records += reader.drainUnsafe((view, offset) => void view.getUint32(offset, true));
   *   }
   *   reader.close();
   *   return records;
   * }
   *
   * if (parentPort !== null) parentPort.postMessage(serve(workerData));
   */
  wait(timeoutMs: number): boolean {
    if (this.closed) throw new UsageError({ code: 'E_CLOSED', what: 'this reader is closed' });
    if (this.#ready()) return true;
    this.#sleep ??= this.#watched();
    this.#sleep.wait(timeoutMs === Number.POSITIVE_INFINITY ? -1 : Math.max(0, Math.ceil(timeoutMs)));
    return this.#ready();
  }

  /** Edge-triggered: a record that is still being written wakes nobody until it is there. */
  #watched(): Epoll {
    const epoll = new Epoll(this.sys);
    const result = epoll.add(this.#fd, EPOLL.EPOLLIN | EPOLL.EPOLLET);
    if (result < 0) epoll.close();
    check(result, 'epoll_ctl', { what: 'cannot watch a ring buffer', where: { fd: this.#fd } });
    return epoll;
  }

  /** Whether the next record is there, and written to its end. */
  #ready(): boolean {
    if (Atomics.load(this.#words, 0) === this.#low) return false;
    return Atomics.load(this.#words, (this.#dataStart + (this.#low & this.#mask)) >>> 2) >= 0;
  }

  protected override drain(taker: Taker, maxRecords: number, deadline: number): TurnResult {
    const { block } = this;
    for (let left = maxRecords; ;) {
      // The kernel wakes us only for a record at the published position (bpf_ringbuf_commit), so "nothing more" counts only
      // when it was read after the last publication: here all that was handed over has been published.
      const end = this.#acquire ? Atomics.load(this.#words, 0) : (this.#words[0] as number);
      if (end === this.#low) return 'idle';
      this.#scan(end, Math.min(left, blockRecords));
      if (this.#next === this.#low) return 'stuck';
      left -= block.count;
      try {
        if (block.count > 0) block.give(this.#view, taker, deadline);
      } finally {
        this.#settle();
      }
      if (block.halted) return 'idle';
      if (left <= 0 || performance.now() >= deadline) return 'more';
    }
  }

  /** Finds records up to `end`: as many as fit a block, and until the position has to be published. */
  #scan(end: number, maxRecords: number): void {
    const words = this.#words;
    const acquire = this.#acquire;
    const { offsets, lengths } = this.block;
    const low = this.#low;
    const available = (end - low) >>> 0;
    const most = Math.min(available, this.#publishEvery);
    // The data is mapped twice in a row: a block is in one piece wherever it starts.
    let at = this.#dataStart + (low & this.#mask);
    let used = 0;
    let count = 0;
    let bytes = 0;
    let discarded = 0;
    // As the record before: most are alike, and a step that need not wait for its header lets the processor read ahead.
    let expected = 0;
    let length = 0;
    let step = headerSize;
    while (used < most && count < maxRecords) {
      const header = acquire ? Atomics.load(words, at >>> 2) : (words[at >>> 2] as number);
      if (header !== expected) {
        // BUSY: a producer is still writing.
        if (header < 0) break;
        expected = header & lengthMask;
        length = expected;
        step = (length + headerSize + 7) & ~7;
      }
      if (step > available - used) {
        // What stands before it is handed over first.
        if (used > 0) break;
        this.#corrupt(length, available);
      }
      used += step;
      if ((header & discardBit) === 0) {
        offsets[count] = at + headerSize;
        lengths[count++] = length;
        bytes += length;
      } else discarded++;
      at += step;
    }
    this.block.count = count;
    this.#next = (low + used) | 0;
    this.#bytes = bytes;
    this.#discarded = discarded;
  }

  /** Counts what has been handed over of the block and gives its bytes back to producers. */
  #settle(): void {
    const { block } = this;
    if (block.given < block.count) this.#scan(this.#next, block.given);
    const bytes = (this.#next - this.#low) >>> 0;
    const totals = this.#totals;
    totals[0] = (totals[0] as number) + block.count;
    totals[1] = (totals[1] as number) + this.#bytes;
    totals[2] = (totals[2] as number) + this.#discarded;
    block.clear();
    this.#bytes = this.#discarded = 0;
    this.#low = this.#next;
    if (bytes > 0) this.#publish(bytes);
  }

  /** By one 64-bit store: a high word left behind would stop producers for ever at 2^32. */
  #publish(bytes: number): void {
    this.#published += BigInt(bytes);
    Atomics.store(this.#consumerPosition, 0, this.#published);
  }

  #available(): number {
    return (Atomics.load(this.#words, 0) - Number(BigInt.asIntN(32, this.#published))) >>> 0;
  }

  #corrupt(length: number, available: number): never {
    // Nothing behind this record can be found: reading on would only repeat the error.
    this.close();
    throw new FormatError({
      code: 'E_RINGBUF',
      what: 'malformed ring buffer',
      where: { position: this.#published, length, available },
      why: 'a record ends after the producer position',
      next: 'make sure that nobody else reads this ring buffer',
    });
  }

  protected override release(): void {
    // Called within a callback: the record at hand has been read, whoever reads the ring next goes on behind it.
    this.#settle();
    this.#sleep?.close();
    this.#consumer.close();
    this.#producer.close();
    closeFd(this.sys, this.#fd);
  }
}
