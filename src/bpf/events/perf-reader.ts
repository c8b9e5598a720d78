import { UsageError } from '../../error.ts';
import { bpf } from '../../sys/bpf.ts';
import { onlineCpus } from '../../sys/cpus.ts';
import { SyscallError } from '../../sys/errno.ts';
import type { TurnResult } from '../../sys/event-loop.ts';
import type { MapFd } from '../../sys/fds.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { Sys } from '../../sys/sys.ts';
import { EventSource, type EventCounters, type TurnOptions } from './event-source.ts';
import { PerfRing, type PerfRingOptions } from './perf-ring.ts';
import type { Taker } from './record-block.ts';

/** How a {@link PerfReader} reads; all are optional. */
export interface PerfReaderOptions extends TurnOptions {
  /** Bytes of each CPU's buffer, a power of two and whole pages; 64 pages unless said. */
  readonly bytesPerCpu?: number;
  /** Bytes that must wait in a buffer before the kernel wakes us: producers pay less, records come up to `pollIntervalMs` later. */
  readonly watermark?: number;
  /** Looks at the buffers this often without being woken; 0 for never, the default without a watermark, with one 50. */
  readonly pollIntervalMs?: number;
  /** Delivers the records of all CPUs in the order of their times, held back by `orderWindowMs`. */
  readonly ordered?: boolean;
  /** How long a record is held back to let older ones of other CPUs come first; 5. */
  readonly orderWindowMs?: number;
  /** Bytes of a record where all are of one size: the kernel pads them, and the padding is cut off. */
  readonly recordSize?: number;
  /** The CPUs to read; those online now, and later ones as they come, unless said. */
  readonly cpus?: readonly number[];
  /** Tells the CPUs that are online, instead of /sys/devices/system/cpu/online. */
  readonly onlineCpus?: () => readonly number[];
  /** How often to look for CPUs that came or went; 1000, 0 for never. */
  readonly cpuCheckMs?: number;
  /** Told, once, why a CPU that came has no buffer (its records are lost, and counted by programs that do so); it is tried again. A process warning unless given. */
  readonly onCpuError?: (error: unknown) => void;
}

/** Records of one CPU before the next one's turn, and between looks at the clock. */
const slice = 128;

/**
 * Reads a BPF_MAP_TYPE_PERF_EVENT_ARRAY in place: a buffer for each CPU, which bpf_perf_event_output() fills. The way of
 * events on kernels before 5.8, which have no ring buffer.
 */
export class PerfReader extends EventSource {
  override readonly pollIntervalMs: number;
  readonly #map: MapFd;
  readonly #maxEntries: number;
  readonly #ringOptions: PerfRingOptions;
  readonly #orderWindowMs: number;
  readonly #onlineCpus: () => readonly number[];
  readonly #rings = new Map<number, PerfRing>();
  /** Received, bytes, lost as PERF_RECORD_LOST tells. */
  readonly #counts = new Float64Array(3);
  /** Lost in buffers that have been closed. */
  #lostBefore = 0;
  /** Whether every buffer so far has counted its lost records itself. */
  #countsLost = true;
  #cpuTimer: NodeJS.Timeout | null = null;
  #cpuErrorTold = false;
  #first = 0;
  /** Whose block is at hand. */
  #draining: PerfRing | null = null;

  /** `maxEntries` is the map's: CPUs at or above it have no buffer. The descriptor is duplicated; the caller keeps its own. */
  constructor(sys: Sys, mapFd: number, maxEntries: number, options: PerfReaderOptions = {}) {
    super(sys, options);
    const page = pageSize();
    const size = options.bytesPerCpu ?? 64 * page;
    if (!Number.isInteger(size) || size < page || size > 2 ** 30 || Math.log2(size / page) % 1 !== 0) {
      throw new UsageError({
        code: 'E_PERF_SIZE',
        what: 'the size of a perf buffer must be a power of two of pages',
        where: { bytesPerCpu: size, page },
      });
    }
    this.#maxEntries = maxEntries;
    this.#orderWindowMs = options.orderWindowMs ?? 5;
    const { cpus } = options;
    this.#onlineCpus = cpus === undefined ? (options.onlineCpus ?? onlineCpus) : () => cpus;
    const watermark = options.watermark ?? 0;
    this.#ringOptions = { size, watermark, timed: options.ordered ?? false, recordSize: options.recordSize ?? 0 };
    this.pollIntervalMs = options.pollIntervalMs ?? (watermark > 0 ? 50 : 0);
    this.#map = dupFd(sys, mapFd as MapFd);
    try {
      for (const cpu of this.#wantedCpus()) this.#open(cpu);
    } catch (error) {
      this.close();
      throw error;
    }
    const checkMs = options.cpuCheckMs ?? 1000;
    if (checkMs > 0 && cpus === undefined) {
      const tell = options.onCpuError ?? ((error: unknown): void => process.emitWarning(error instanceof Error ? error : String(error)));
      this.#cpuTimer = setInterval(() => this.#followCpus(tell), checkMs).unref();
    }
  }

  override get pollFds(): readonly number[] {
    return [...this.#rings.values()].map((ring) => ring.fd);
  }

  /** CPUs that have a buffer, ascending. */
  get cpus(): readonly number[] {
    return [...this.#rings.keys()].toSorted((a, b) => a - b);
  }

  /** `lost` is what the kernel counted (Linux 6.0), before that what it told in the buffers. */
  override get counters(): EventCounters {
    const [received = 0, bytes = 0, told = 0] = this.#counts;
    let lost = this.#lostBefore;
    for (const ring of this.#rings.values()) lost += ring.lost() ?? 0;
    const { given, givenBytes } = this.block;
    return { received: received + given, bytes: bytes + givenBytes, discarded: 0, lost: this.#countsLost ? lost : Math.max(told, lost) };
  }

  protected override get received(): number {
    return (this.#counts[0] as number) + this.block.given;
  }

  /** Bytes written and not yet read, of all CPUs, headers included. */
  override get pendingBytes(): number {
    let bytes = 0;
    for (const ring of this.#rings.values()) bytes += ring.pendingBytes;
    return bytes;
  }

  /** Opens buffers for CPUs that came online, or that went and came back, and lets go of those that went; called every `cpuCheckMs` (of the second kind the next look knows). */
  refreshCpus(): void {
    if (this.closed) return;
    const wanted = new Set(this.#wantedCpus());
    for (const ring of this.#rings.values()) {
      // A CPU that goes takes its event with it for good: the buffer is read to its end and opened anew when the CPU is back.
      if ((!wanted.has(ring.cpu) || !ring.isAlive()) && ring.pendingBytes === 0) this.#drop(ring);
    }
    const errors: unknown[] = [];
    for (const cpu of wanted) {
      if (this.#rings.has(cpu)) continue;
      try {
        const ring = this.#open(cpu);
        if (ring !== null && this.active) this.loop.watchFd(ring.fd);
      } catch (error) {
        // One CPU without a buffer keeps no other from having one.
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  /** What a timer throws ends the process. */
  #followCpus(tell: (error: unknown) => void): void {
    try {
      this.refreshCpus();
      this.#cpuErrorTold = false;
    } catch (error) {
      if (!this.#cpuErrorTold) tell(error);
      this.#cpuErrorTold = true;
    }
  }

  protected override drain(taker: Taker, maxRecords: number, deadline: number): TurnResult {
    try {
      return this.#ringOptions.timed ? this.#drainOrdered(taker, maxRecords, deadline) : this.#drainEach(taker, maxRecords, deadline);
    } catch (error) {
      // Nothing behind a malformed record can be found: reading on would only repeat the error.
      if (error instanceof Error && 'code' in error && error.code === 'E_PERF_RING') this.close();
      throw error;
    }
  }

  /** A block of each CPU's buffer in turn, beginning with another CPU each time, so that a busy one starves nobody. */
  #drainEach(taker: Taker, maxRecords: number, deadline: number): TurnResult {
    const { block } = this;
    const bounded = deadline !== Number.POSITIVE_INFINITY;
    const start = this.received;
    let open = [...this.#rings.values()];
    if (open.length > 1) {
      this.#first = (this.#first + 1) % open.length;
      open = [...open.slice(this.#first), ...open.slice(0, this.#first)];
    }
    // Those with more are moved up within the list: a new list for each round would be made every 16 KiB.
    for (let count = open.length; count > 0;) {
      let rest = 0;
      for (let i = 0; i < count; i++) {
        const ring = open[i] as PerfRing;
        const left = maxRecords - (this.received - start);
        if (left <= 0 || (bounded && performance.now() >= deadline)) return 'more';
        this.#draining = ring;
        if (ring.drain(block, taker, bounded ? Math.min(left, slice) : left, deadline)) open[rest++] = ring;
        if (block.halted) return 'idle';
      }
      count = rest;
    }
    return 'idle';
  }

  /** The oldest record of all CPUs first; without a deadline, all that are there. */
  #drainOrdered(taker: Taker, maxRecords: number, deadline: number): TurnResult {
    const until = deadline === Number.POSITIVE_INFINITY ? deadline : Number(process.hrtime.bigint()) - this.#orderWindowMs * 1e6;
    const rings = [...this.#rings.values()];
    const times = rings.map((ring) => ring.nextTime());
    for (let records = 0; ; records++) {
      let oldest = -1;
      let oldestTime = Infinity;
      for (const [i, time] of times.entries()) {
        if (time !== null && time < oldestTime) {
          oldest = i;
          oldestTime = time;
        }
      }
      const ring = rings[oldest];
      if (ring === undefined) return 'idle';
      if (oldestTime > until) return 'stuck';
      if (records >= maxRecords || (records % slice === slice - 1 && performance.now() >= deadline)) return 'more';
      this.#draining = ring;
      ring.drain(this.block, taker, 1, Number.POSITIVE_INFINITY);
      if (this.block.halted) return 'idle';
      times[oldest] = ring.nextTime();
    }
  }

  #wantedCpus(): readonly number[] {
    return this.#onlineCpus().filter((cpu) => cpu < this.#maxEntries);
  }

  #open(cpu: number): PerfRing | null {
    const ring = PerfRing.open(this.sys, cpu, this.#ringOptions, this.#counts);
    if (ring === null) return null;
    const [key, value] = [new Uint8Array(4), new Uint8Array(4)];
    new DataView(key.buffer).setUint32(0, cpu, true);
    new DataView(value.buffer).setUint32(0, ring.fd, true);
    const result = bpf(this.sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: this.#map, key, value });
    if (result < 0) {
      ring.close();
      throw new SyscallError('bpf(BPF_MAP_UPDATE_ELEM)', result, { what: 'cannot put a perf buffer into its map', where: { cpu } });
    }
    this.#rings.set(cpu, ring);
    if (!ring.countsLost) this.#countsLost = false;
    return ring;
  }

  #drop(ring: PerfRing): void {
    this.#lostBefore += ring.lost() ?? 0;
    const key = new Uint8Array(4);
    new DataView(key.buffer).setUint32(0, ring.cpu, true);
    bpf(this.sys, 'BPF_MAP_DELETE_ELEM', { map_fd: this.#map, key });
    this.#rings.delete(ring.cpu);
    ring.close();
  }

  protected override release(): void {
    // Called within a callback: the record at hand has been read.
    this.#draining?.settle(this.block);
    if (this.#cpuTimer !== null) clearInterval(this.#cpuTimer);
    for (const ring of this.#rings.values()) this.#drop(ring);
    closeFd(this.sys, this.#map);
  }
}
