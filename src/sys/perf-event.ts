import { PERF_EVENT_IOC, PERF_FLAG } from '../bpf/uapi/perf.gen.ts';
import type { StructValues } from '../bytes/struct.ts';
import { SyscallError, type SyscallFailure } from './errno.ts';
import type { PerfFd } from './fds.ts';
import { perfEventAttr, perfFlags, type PerfAttrBit } from './perf-attr.ts';
import { explainPermission } from './permission.ts';
import type { Sys } from './sys.ts';

/** What {@link perfEventOpen} opens. */
export interface PerfEventRequest {
  /** Fields of struct perf_event_attr by the kernel's names; `size` and the bit fields are filled in. */
  readonly attr: StructValues;
  /** Bit fields of struct perf_event_attr that are set. */
  readonly bits?: Readonly<Partial<Record<PerfAttrBit, number>>>;
  /** A process, 0 for this one, -1 for all; -1 unless said. */
  readonly pid?: number;
  /** A CPU, or -1 for all; -1 unless said. */
  readonly cpu?: number;
  /** The leader's descriptor; -1 unless said. */
  readonly group?: number;
  /** PERF_FLAG_*; PERF_FLAG_FD_CLOEXEC is always set. */
  readonly flags?: number;
}

// Addresses inside an attribute keep nothing alive: this holds the buffers until the call has returned.
const pinned: StructValues[] = [];

/** Opens a perf event; returns its descriptor or a negative errno. */
export function perfEventOpen(sys: Sys, request: PerfEventRequest): number {
  const { attr, bits = {}, pid = -1, cpu = -1, group = -1, flags = 0 } = request;
  const values = { ...attr, size: attr['size'] ?? perfEventAttr.size, flags: perfFlags(bits) };
  const bytes = perfEventAttr.encode(values, (buffer) => sys.addressOf(buffer));
  pinned.push(attr);
  try {
    return sys.call('perf_event_open', bytes, pid, cpu, group, flags | PERF_FLAG.PERF_FLAG_FD_CLOEXEC);
  } finally {
    pinned.pop();
  }
}

/** As {@link perfEventOpen}, but throws a {@link SyscallError}, which explains a refused permission. */
export function perfEventOpenOrThrow(sys: Sys, request: PerfEventRequest, failure: SyscallFailure = {}): PerfFd {
  const result = perfEventOpen(sys, request);
  if (result >= 0) return result as PerfFd;
  const error = new SyscallError('perf_event_open', result, failure);
  if (error.errnoName !== 'EPERM' && error.errnoName !== 'EACCES') throw error;
  const diagnosis = explainPermission(sys, 'perf_event_open');
  throw diagnosis === null ? error : new SyscallError('perf_event_open', result, { why: diagnosis.why, next: diagnosis.next, ...failure });
}

/**
 * Whether a perf event of a CPU (of no process) still counts, for events opened with PERF_FORMAT_TOTAL_TIME_ENABLED. A CPU that goes
 * offline takes its events with it for good, and nothing tells: poll, ioctls and reads go on working when it is back. But the time
 * for which the event was enabled stands still.
 */
export class PerfPulse {
  readonly #sys: Sys;
  readonly #fd: number;
  #time: bigint | null;
  #lookedAt = performance.now();

  constructor(sys: Sys, fd: number) {
    this.#sys = sys;
    this.#fd = fd;
    this.#time = this.#read();
  }

  /** Whether time has gone by since the last look; true where the event does not tell, and sooner than a coarse clock (HZ=100) moves. */
  beats(): boolean {
    if (performance.now() - this.#lookedAt < 15) return true;
    const before = this.#time;
    this.#time = this.#read();
    this.#lookedAt = performance.now();
    return this.#time === null || this.#time !== before;
  }

  #read(): bigint | null {
    // { u64 value; u64 time_enabled; ... }: a larger read_format writes more (kernel/events/core.c, perf_read_one).
    const values = new Uint8Array(40);
    return this.#sys.call('read', this.#fd, values, values.length) < 16 ? null : new DataView(values.buffer).getBigUint64(8, true);
  }
}

/** An ioctl(2) on a perf event: `perfIoctl(sys, fd, 'PERF_EVENT_IOC_SET_BPF', progFd)`; returns 0 or a negative errno. */
export function perfIoctl(sys: Sys, fd: number, request: keyof typeof PERF_EVENT_IOC, arg: number | Uint8Array = 0): number {
  return sys.call('ioctl', fd, PERF_EVENT_IOC[request], arg);
}
