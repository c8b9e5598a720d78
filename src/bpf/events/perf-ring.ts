import { FormatError } from '../../error.ts';
import { PERF_COUNT_SW, PERF_FORMAT, PERF_RECORD, PERF_SAMPLE, PERF_TYPE } from '../uapi/perf.gen.ts';
import { CLOCK } from '../../sys/constants.ts';
import { check, isErrno } from '../../sys/errno.ts';
import type { PerfFd } from '../../sys/fds.ts';
import { closeFd } from '../../sys/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import { perfMmapPage } from '../../sys/perf-attr.ts';
import { perfEventOpen, perfEventOpenOrThrow, perfIoctl } from '../../sys/perf-event.ts';
import type { Sys } from '../../sys/sys.ts';
import type { UnsafeVisitor } from './event-source.ts';

/** What all rings of one reader share. */
export interface PerfRingOptions {
  /** Bytes of data, a power of two of pages. */
  readonly size: number;
  /** Bytes that must wait before the kernel wakes us; 0 for a wake-up a record. */
  readonly watermark: number;
  /** Whether records carry a time (CLOCK_MONOTONIC). */
  readonly timed: boolean;
  /** Cuts the kernel's padding off records of this many bytes; 0 for records of no fixed length. */
  readonly recordSize: number;
}

/** Counts of all rings of a reader: received, bytes, lost as PERF_RECORD_LOST tells. */
export type PerfCounts = Float64Array;

const headWord = perfMmapPage.field('data_head').offset / 4;
const tailOffset = perfMmapPage.field('data_tail').offset;
/** A record's size is a u16 (struct perf_event_header). */
const maxRecord = 65536;
// One copy at a time is lent, so one place for all readers will do.
let scratch: { readonly bytes: Uint8Array; readonly view: DataView } | null = null;

/** The perf buffer of one CPU, for what bpf_perf_event_output() writes (include/uapi/linux/perf_event.h). */
export class PerfRing {
  readonly cpu: number;
  readonly fd: PerfFd;
  /** Whether read() tells of lost records (PERF_FORMAT_LOST, Linux 6.0). */
  readonly countsLost: boolean;
  readonly #sys: Sys;
  readonly #mapping: Mapping;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #tailWord: BigInt64Array;
  readonly #start: number;
  readonly #size: number;
  readonly #rawOffset: number;
  readonly #recordSize: number;
  readonly #acquire: boolean;
  readonly #counts: PerfCounts;
  /** The tail as last published. */
  #published: bigint;
  #closed = false;

  private constructor(sys: Sys, cpu: number, fd: PerfFd, countsLost: boolean, options: PerfRingOptions, counts: PerfCounts) {
    this.#sys = sys;
    this.cpu = cpu;
    this.fd = fd;
    this.countsLost = countsLost;
    const page = pageSize();
    this.#mapping = Mapping.map(sys, {
      fd,
      length: page + options.size,
      writable: true,
      what: `the perf buffer of CPU ${cpu}`,
      // EPERM: more than perf_event_mlock_kb of a user without CAP_IPC_LOCK (kernel/events/core.c, perf_mmap).
      next: 'use smaller buffers, or raise kernel.perf_event_mlock_kb',
    });
    this.#words = new Int32Array(this.#mapping.buffer);
    this.#view = new DataView(this.#mapping.buffer);
    this.#tailWord = new BigInt64Array(this.#mapping.buffer, tailOffset, 1);
    this.#start = page;
    this.#size = options.size;
    this.#rawOffset = options.timed ? 16 : 8;
    this.#recordSize = options.recordSize;
    this.#acquire = sys.arch !== 'x64';
    this.#counts = counts;
    this.#published = Atomics.load(this.#tailWord, 0);
  }

  /** Opens and maps the buffer of a CPU; null where the CPU is offline. */
  static open(sys: Sys, cpu: number, options: PerfRingOptions, counts: PerfCounts): PerfRing | null {
    const attr = {
      type: PERF_TYPE.PERF_TYPE_SOFTWARE,
      config: PERF_COUNT_SW.PERF_COUNT_SW_BPF_OUTPUT,
      sample_type: PERF_SAMPLE.PERF_SAMPLE_RAW | (options.timed ? PERF_SAMPLE.PERF_SAMPLE_TIME : 0),
      sample_period: 1,
      ...(options.watermark > 0 ? { wakeup_watermark: options.watermark } : { wakeup_events: 1 }),
      ...(options.timed ? { clockid: CLOCK.CLOCK_MONOTONIC } : {}),
    };
    const bits = { watermark: options.watermark > 0 ? 1 : 0, use_clockid: options.timed ? 1 : 0 };
    let countsLost = true;
    let result = perfEventOpen(sys, { attr: { ...attr, read_format: PERF_FORMAT.PERF_FORMAT_LOST }, bits, cpu });
    if (isErrno(result, 'EINVAL')) {
      countsLost = false;
      result = perfEventOpen(sys, { attr, bits, cpu });
    }
    if (isErrno(result, 'ENODEV')) return null;
    const fd =
      result >= 0
        ? (result as PerfFd)
        : perfEventOpenOrThrow(sys, { attr, bits, cpu }, { what: 'cannot open a perf buffer', where: { cpu } });
    let ring: PerfRing | null = null;
    try {
      ring = new PerfRing(sys, cpu, fd, countsLost, options, counts);
      check(perfIoctl(sys, fd, 'PERF_EVENT_IOC_ENABLE'), 'ioctl', { what: 'cannot enable a perf buffer', where: { cpu } });
      return ring;
    } catch (error) {
      ring?.close();
      if (ring === null) closeFd(sys, fd);
      throw error;
    }
  }

  get pendingBytes(): number {
    return (this.#head() - Number(BigInt.asIntN(32, this.#published))) >>> 0;
  }

  /**
   * Reads up to `maxRecords` records, and only those with times up to `until` where that is given. Returns whether all
   * that was there has been read; `halted()` ends it early.
   */
  drain(visitor: UnsafeVisitor, maxRecords: number, halted: () => boolean): boolean {
    const words = this.#words;
    const mask = this.#size - 1;
    let low = Number(BigInt.asIntN(32, this.#published)) | 0;
    let ahead = 0;
    let records = 0;
    try {
      for (;;) {
        let available = (this.#head() - low) >>> 0;
        if (available === 0) return true;
        while (available > 0) {
          if (records >= maxRecords || halted()) return false;
          const at = low & mask;
          const word = (this.#start + at) >>> 2;
          const size = (words[word + 1] as number) >>> 16;
          if (size < 8 || size > available) this.#corrupt(at, size, available);
          low = (low + size) | 0;
          ahead += size;
          available -= size;
          records++;
          this.#record(words[word] as number, at, size, visitor);
          if (ahead >= this.#size / 8 && !this.#closed) {
            this.#publish(ahead);
            ahead = 0;
          }
        }
      }
    } finally {
      if (ahead > 0 && !this.#closed) this.#publish(ahead);
    }
  }

  /** The time of the next sample, in nanoseconds (rounded past 2^53), after counting what stands before it; null where there is none. */
  nextTime(): number | null {
    for (;;) {
      const low = Number(BigInt.asIntN(32, this.#published)) | 0;
      const available = (this.#head() - low) >>> 0;
      if (available === 0) return null;
      const at = low & (this.#size - 1);
      const word = (this.#start + at) >>> 2;
      const size = (this.#words[word + 1] as number) >>> 16;
      if (size < 8 || size > available) this.#corrupt(at, size, available);
      if (this.#words[word] === PERF_RECORD.PERF_RECORD_SAMPLE) {
        const time = this.#start + ((at + 8) & (this.#size - 1));
        return this.#view.getUint32(time + 4, true) * 2 ** 32 + this.#view.getUint32(time, true);
      }
      this.#record(this.#words[word] as number, at, size, () => {});
      this.#publish(size);
    }
  }

  /** Records that the kernel could not write, as it counts them; null where it does not. */
  lost(): number | null {
    if (!this.countsLost || this.#closed) return null;
    // read_format is PERF_FORMAT_LOST alone: { u64 value; u64 lost; }.
    const values = new Uint8Array(16);
    if (this.#sys.call('read', this.fd, values, values.length) !== values.length) return null;
    return Number(new DataView(values.buffer).getBigUint64(8, true));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#mapping.close();
    closeFd(this.#sys, this.fd);
  }

  #head(): number {
    return this.#acquire ? Atomics.load(this.#words, headWord) : (this.#words[headWord] as number);
  }

  #publish(bytes: number): void {
    this.#published += BigInt(bytes);
    Atomics.store(this.#tailWord, 0, this.#published);
  }

  /** Takes one record; offsets within the data are taken modulo its size, for a record may lie over the end. */
  #record(type: number, at: number, size: number, visitor: UnsafeVisitor): void {
    const view = this.#view;
    const mask = this.#size - 1;
    if (type === PERF_RECORD.PERF_RECORD_SAMPLE) {
      const rawAt = at + this.#rawOffset;
      let length = view.getUint32(this.#start + (rawAt & mask), true);
      if (length > size - this.#rawOffset - 4) this.#corrupt(at, size, length);
      // The kernel pads raw data so that it ends on 8 bytes (perf_prepare_sample); the length it tells includes the padding.
      if (length > this.#recordSize && length - this.#recordSize < 8) length = this.#recordSize || length;
      const dataAt = (rawAt + 4) & mask;
      this.#counts[0] = (this.#counts[0] as number) + 1;
      this.#counts[1] = (this.#counts[1] as number) + length;
      if (dataAt + length <= this.#size) visitor(view, this.#start + dataAt, length);
      else visitor(this.#joined(dataAt, length), 0, length);
    } else if (type === PERF_RECORD.PERF_RECORD_LOST) {
      // struct { header; u64 id; u64 lost; }
      const lost = view.getBigUint64(this.#start + ((at + 16) & mask), true);
      this.#counts[2] = (this.#counts[2] as number) + Number(lost);
    }
  }

  /** A copy of data that lies over the end. */
  #joined(at: number, length: number): DataView {
    if (scratch === null) {
      const bytes = new Uint8Array(maxRecord);
      scratch = { bytes, view: new DataView(bytes.buffer) };
    }
    const first = this.#size - at;
    scratch.bytes.set(new Uint8Array(this.#mapping.buffer, this.#start + at, first));
    scratch.bytes.set(new Uint8Array(this.#mapping.buffer, this.#start, length - first), first);
    return scratch.view;
  }

  #corrupt(at: number, size: number, available: number): never {
    throw new FormatError({
      code: 'E_PERF_RING',
      what: 'malformed perf buffer',
      where: { cpu: this.cpu, offset: at, size, available },
      why: 'a record does not end within what was written',
      next: 'make sure that nobody else reads this perf buffer',
    });
  }
}
