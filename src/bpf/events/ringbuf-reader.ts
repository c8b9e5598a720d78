import { FormatError, UsageError } from '../../error.ts';
import { eventLoop, type EventLoop, type Pollable, type TurnResult } from '../../sys/event-loop.ts';
import type { MapFd } from '../../sys/fds.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { Sys } from '../../sys/sys.ts';
import { EventSource, type EventCounters, type UnsafeVisitor } from './event-source.ts';

/** How a {@link RingbufReader} reads; all are optional. */
export interface RingbufReaderOptions {
  /** Most records of one turn of the event loop; 8192. */
  readonly turnRecords?: number;
  /** Most milliseconds of one turn, looked at every 16 KiB; 8. */
  readonly turnMs?: number;
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
export class RingbufReader extends EventSource implements Pollable {
  readonly pollFds: readonly number[];
  readonly pollIntervalMs: number;
  readonly #sys: Sys;
  readonly #loop: EventLoop;
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
  readonly #turnRecords: number;
  readonly #turnMs: number;
  /** arm64 reorders loads: there a plain load of a header would let the record's bytes be read before it. */
  readonly #acquire: boolean;
  /** The position as last published. */
  #published: bigint;
  /** Set to end a turn at the record it is at. */
  #halted = false;
  #visitor: UnsafeVisitor | null = null;
  #onBatchEnd: (() => void) | null = null;
  #inTurn = false;
  /** Received, bytes, discarded: before this turn (bytes: before the published position), and since. */
  readonly #totals = new Float64Array(3);
  readonly #recent = new Int32Array(3);

  /** `maxEntries` is the map's: the size of the data in bytes. The descriptor is duplicated; the caller keeps its own. */
  constructor(sys: Sys, mapFd: number, maxEntries: number, options: RingbufReaderOptions = {}) {
    super();
    const page = pageSize();
    if (!Number.isInteger(maxEntries) || maxEntries < page || maxEntries > 2 ** 31 || Math.log2(maxEntries) % 1 !== 0) {
      throw new UsageError({
        code: 'E_RINGBUF_SIZE',
        what: 'the size of a ring buffer must be a power of two and whole pages',
        where: { max_entries: maxEntries, page },
      });
    }
    this.#sys = sys;
    this.#loop = eventLoop(sys);
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
    this.#turnRecords = options.turnRecords ?? 8192;
    this.#turnMs = options.turnMs ?? 8;
    this.#acquire = sys.arch !== 'x64';
    this.#consumerPosition = new BigInt64Array(this.#consumer.buffer, 0, 1);
    this.#words = new Int32Array(this.#producer.buffer);
    this.#view = new DataView(this.#producer.buffer);
    this.#dataStart = page;
    this.#mask = maxEntries - 1;
    this.#publishEvery = Math.min(maxEntries / 8, maxUnpublished);
    // A pinned or inherited map may have been read before: its position is where it is.
    this.#published = Atomics.load(this.#consumerPosition, 0);
  }

  override get counters(): EventCounters {
    const count = (i: number): number => (this.#totals[i] as number) + (this.#recent[i] as number);
    return { received: count(0), bytes: count(1), discarded: count(2), lost: null };
  }

  /** Bytes that producers have reserved and this reader has not consumed, headers included. */
  override get pendingBytes(): number {
    return this.closed ? 0 : this.#available();
  }

  /** Bytes of data the ring holds. */
  get size(): number {
    return this.#mask + 1;
  }

  override drainUnsafe(visitor: UnsafeVisitor, maxRecords: number = Infinity): number {
    if (this.closed || this.#inTurn) return 0;
    const before = this.#received();
    this.#drain(visitor, Math.min(maxRecords, 0x7fffffff), Infinity);
    return this.#received() - before;
  }

  turn(): TurnResult {
    const visitor = this.#visitor;
    // Kept from before the turn: a callback that closes the reader still has the end of its batch.
    const onBatchEnd = this.#onBatchEnd;
    if (visitor === null || this.#inTurn) return 'idle';
    const before = this.#received();
    try {
      return this.#drain(visitor, this.#turnRecords, performance.now() + this.#turnMs);
    } finally {
      if (this.#received() !== before) onBatchEnd?.();
    }
  }

  /**
   * The loop over records. All arithmetic is on 32-bit integers: the low words of the positions are enough, for a ring has
   * at most 2^31 bytes. The counts of the loop are kept where a callback can see them.
   */
  #drain(visitor: UnsafeVisitor, maxRecords: number, deadline: number): TurnResult {
    const words = this.#words;
    const view = this.#view;
    const mask = this.#mask;
    const start = this.#dataStart;
    const acquire = this.#acquire;
    const publishEvery = this.#publishEvery;
    const recent = this.#recent;
    let low = Number(BigInt.asIntN(32, this.#published)) | 0;
    let received = 0;
    let bytes = 0;
    let ahead = 0;
    let result: TurnResult = 'more';
    this.#inTurn = true;
    this.#halted = false;
    try {
      drain: for (;;) {
        // The kernel wakes us only for a record at the published position (bpf_ringbuf_commit), so "nothing more" counts
        // only when it was read after the last publication; here all that was read has been published.
        const end = acquire ? Atomics.load(words, 0) : (words[0] as number);
        if (low === end) {
          result = 'idle';
          break;
        }
        do {
          const offset = start + (low & mask);
          const header = acquire ? Atomics.load(words, offset >>> 2) : (words[offset >>> 2] as number);
          // BUSY: a producer is still writing. The last look at the header, too, must come after the publication.
          if (header < 0) {
            if (ahead !== 0) break;
            result = 'stuck';
            break drain;
          }
          const length = header & lengthMask;
          const step = (length + headerSize + 7) & ~7;
          if (step >>> 0 > (end - low) >>> 0) this.#corrupt(length, (end - low) >>> 0);
          low = (low + step) | 0;
          ahead += step;
          if ((header & discardBit) === 0) {
            recent[0] = ++received;
            recent[1] = bytes += length;
            visitor(view, offset + headerSize, length);
          } else recent[2] = (recent[2] as number) + 1;
          if (this.#halted) {
            result = 'idle';
            break drain;
          }
          if (received >= maxRecords) break drain;
          if (ahead >= publishEvery) {
            this.#publish(ahead);
            ahead = bytes = 0;
            if (performance.now() >= deadline) break drain;
          }
        } while (low !== end);
        if (ahead !== 0) this.#publish(ahead);
        ahead = bytes = 0;
      }
    } finally {
      this.#inTurn = false;
      if (ahead !== 0) this.#publish(ahead);
      const totals = this.#totals;
      totals[0] = (totals[0] as number) + received;
      totals[2] = (totals[2] as number) + (recent[2] as number);
      recent.fill(0);
    }
    return result;
  }

  /** Gives bytes back to producers, by one 64-bit store: a high word left behind would stop them for ever at 2^32. */
  #publish(bytes: number): void {
    this.#published += BigInt(bytes);
    Atomics.store(this.#consumerPosition, 0, this.#published);
    this.#totals[1] = (this.#totals[1] as number) + (this.#recent[1] as number);
    this.#recent[1] = 0;
  }

  #received(): number {
    return (this.#totals[0] as number) + (this.#recent[0] as number);
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

  protected override attach(): void {
    this.#loop.add(this);
  }

  protected override detach(): void {
    this.#halted = true;
    this.#loop.remove(this);
  }

  protected override suspend(): void {
    this.#halted = true;
    this.#loop.pause(this);
  }

  protected override wake(): void {
    this.#loop.resume(this);
  }

  protected override setReferenced(referenced: boolean): void {
    this.#loop.setReferenced(this, referenced);
  }

  protected override setVisitor(visitor: UnsafeVisitor | null, onBatchEnd: (() => void) | null): void {
    this.#visitor = visitor;
    this.#onBatchEnd = onBatchEnd;
  }

  protected override release(): void {
    this.#halted = true;
    this.#consumer.close();
    this.#producer.close();
    closeFd(this.#sys, this.#fd);
  }
}
