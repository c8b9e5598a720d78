import { FormatError } from '../../error.ts';
import { PERF_COUNT_SW, PERF_FORMAT, PERF_RECORD, PERF_SAMPLE, PERF_TYPE } from '../uapi/perf.gen.ts';
import { CLOCK } from '../../sys/constants.ts';
import { check, isErrno } from '../../sys/errno.ts';
import type { PerfFd } from '../../sys/fds.ts';
import { closeFd } from '../../sys/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import { perfMmapPage } from '../../sys/perf-attr.ts';
import { perfEventOpen, perfEventOpenOrThrow, perfIoctl, PerfPulse } from '../../sys/perf-event.ts';
import type { Sys } from '../../sys/sys.ts';
import { blockRecords, type RecordBlock, type Taker } from './record-block.ts';

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

/** Most bytes between two looks at the clock. */
const maxUnpublished = 16 * 1024;

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
  readonly #pulse: PerfPulse;
  /** The tail as last published. */
  #published: bigint;
  /** Its low word, where the block at hand ends, and its records' bytes. */
  #low = 0;
  #next = 0;
  #bytes = 0;
  /** Where the block at hand is a copy of one record that lies over the end. */
  #joinedView: DataView | null = null;
  readonly #publishEvery: number;
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
    this.#pulse = new PerfPulse(sys, fd);
    this.#published = Atomics.load(this.#tailWord, 0);
    this.#low = this.#next = Number(BigInt.asIntN(32, this.#published)) | 0;
    this.#publishEvery = Math.min(options.size / 8, maxUnpublished);
  }

  /** Opens and maps the buffer of a CPU; null where the CPU is offline. */
  static open(sys: Sys, cpu: number, options: PerfRingOptions, counts: PerfCounts): PerfRing | null {
    const attr = {
      type: PERF_TYPE.PERF_TYPE_SOFTWARE,
      config: PERF_COUNT_SW.PERF_COUNT_SW_BPF_OUTPUT,
      sample_type: PERF_SAMPLE.PERF_SAMPLE_RAW | (options.timed ? PERF_SAMPLE.PERF_SAMPLE_TIME : 0),
      sample_period: 1,
      read_format: PERF_FORMAT.PERF_FORMAT_TOTAL_TIME_ENABLED,
      ...(options.watermark > 0 ? { wakeup_watermark: options.watermark } : { wakeup_events: 1 }),
      ...(options.timed ? { clockid: CLOCK.CLOCK_MONOTONIC } : {}),
    };
    const bits = { watermark: options.watermark > 0 ? 1 : 0, use_clockid: options.timed ? 1 : 0 };
    let countsLost = true;
    let result = perfEventOpen(sys, { attr: { ...attr, read_format: attr.read_format | PERF_FORMAT.PERF_FORMAT_LOST }, bits, cpu });
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

  /** Hands over up to a block of records, until `deadline` has passed. Returns whether more may be there. */
  drain(block: RecordBlock, taker: Taker, maxRecords: number, deadline: number): boolean {
    this.#scan(block, this.#head(), Math.min(maxRecords, blockRecords));
    if (this.#next === this.#low) return false;
    try {
      if (block.count > 0) block.give(this.#joinedView ?? this.#view, taker, deadline);
    } finally {
      this.settle(block);
    }
    return true;
  }

  /** Counts what has been handed over of the block at hand, and gives its bytes back to the kernel. */
  settle(block: RecordBlock): void {
    if (this.#next === this.#low) return;
    if (block.given < block.count) this.#scan(block, this.#next, block.given);
    const bytes = (this.#next - this.#low) >>> 0;
    this.#counts[0] = (this.#counts[0] as number) + block.count;
    this.#counts[1] = (this.#counts[1] as number) + this.#bytes;
    block.clear();
    this.#low = this.#next;
    if (bytes > 0) this.#publish(bytes);
  }

  /** Finds records before `end`: as many as fit a block, an eighth of the buffer or 16 KiB; one that is not as most are comes alone. */
  #scan(block: RecordBlock, end: number, maxRecords: number): void {
    const words = this.#words;
    const { offsets, lengths } = block;
    const low = this.#low;
    const at = low & (this.#size - 1);
    // Up to where the data ends every record lies in one piece.
    const available = Math.min((end - low) >>> 0, this.#size - at) | 0;
    const first = (this.#start + at) | 0;
    const last = (first + available) | 0;
    const most = maxRecords | 0;
    const sample = PERF_RECORD.PERF_RECORD_SAMPLE;
    const dataAt = (this.#rawOffset + 4) | 0;
    const lengthAt = this.#rawOffset >> 2;
    // A record whose head lies over the end is not looked at: one read past the mapping, and the JIT makes slow code of all reads.
    const until = Math.min((first + this.#publishEvery) | 0, (last - dataAt) | 0) | 0;
    this.#joinedView = null;
    let place = first;
    let count = 0;
    // As the record before: most are alike, and a step that need not wait for its header lets the processor read ahead.
    let header = 0;
    let length = 0;
    let step = this.#size + 1;
    let bytes = 0;
    while (place < until && count < most) {
      const word = place >> 2;
      if (words[word + 1] !== header || words[word + lengthAt] !== length) {
        header = words[word + 1] as number;
        length = words[word + lengthAt] as number;
        step = header >>> 16;
        if (length >>> 0 > step - dataAt) break;
      }
      const next = (place + step) | 0;
      if (words[word] !== sample || next > last) break;
      offsets[count] = (place + dataAt) | 0;
      lengths[count++] = length;
      bytes = (bytes + length) | 0;
      place = next;
    }
    block.count = count;
    this.#bytes = bytes;
    this.#next = (low + (place - first)) | 0;
    if (count > 0) this.#trim(lengths, count);
    else if (low !== end && maxRecords > 0) this.#scanOne(block, at, (end - low) >>> 0);
  }

  /** The kernel pads raw data so that it ends on 8 bytes (perf_prepare_sample); the length it tells includes the padding. */
  #trim(lengths: Int32Array, count: number): void {
    const exact = this.#recordSize;
    if (exact === 0) return;
    for (let i = 0; i < count; i++) {
      const length = lengths[i] as number;
      if (length <= exact || length - exact >= 8) continue;
      lengths[i] = exact;
      this.#bytes -= length - exact;
    }
  }

  /** Takes one record that lies over the end, or is no sample, or is malformed. */
  #scanOne(block: RecordBlock, at: number, available: number): void {
    const words = this.#words;
    const raw = this.#rawOffset;
    const mask = this.#size - 1;
    const word = (this.#start + at) >>> 2;
    const size = (words[word + 1] as number) >>> 16;
    if (size < 8 || size > available) this.#corrupt(at, size, available);
    if (words[word] === PERF_RECORD.PERF_RECORD_SAMPLE) {
      const length = words[(this.#start + ((at + raw) & mask)) >>> 2] as number;
      if (length >>> 0 > size - raw - 4) this.#corrupt(at, size, length >>> 0);
      const dataAt = (at + raw + 4) & mask;
      const inOnePiece = dataAt + length <= this.#size;
      if (!inOnePiece) this.#joinedView = this.#joined(dataAt, length);
      block.offsets[0] = inOnePiece ? this.#start + dataAt : 0;
      block.lengths[0] = this.#bytes = length;
      block.count = 1;
      this.#trim(block.lengths, 1);
    } else this.#other(words[word] as number, at);
    this.#next = (this.#low + size) | 0;
  }

  /** The time of the next sample, in nanoseconds (rounded past 2^53), after counting what stands before it; null where there is none. */
  nextTime(): number | null {
    for (;;) {
      const low = this.#low;
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
      this.#other(this.#words[word] as number, at);
      this.#low = this.#next = (low + size) | 0;
      this.#publish(size);
    }
  }

  /** Records that the kernel could not write, as it counts them; null where it does not. */
  lost(): number | null {
    if (!this.countsLost || this.#closed) return null;
    // { u64 value; u64 time_enabled; u64 lost; }.
    const values = new Uint8Array(24);
    if (this.#sys.call('read', this.fd, values, values.length) !== values.length) return null;
    return Number(new DataView(values.buffer).getBigUint64(16, true));
  }

  /** Whether its CPU has been there all the time since the last look: one that went and came back writes no more into it. */
  isAlive(): boolean {
    return this.#pulse.beats();
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

  /** Takes a record that is no sample; offsets within the data are taken modulo its size, for it may lie over the end. */
  #other(type: number, at: number): void {
    if (type !== PERF_RECORD.PERF_RECORD_LOST) return;
    // struct { header; u64 id; u64 lost; }
    const lost = this.#view.getBigUint64(this.#start + ((at + 16) & (this.#size - 1)), true);
    this.#counts[2] = (this.#counts[2] as number) + Number(lost);
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
