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
  const diagnosis = explainPermission(sys);
  throw diagnosis === null ? error : new SyscallError('perf_event_open', result, { why: diagnosis.why, next: diagnosis.next, ...failure });
}

/** An ioctl(2) on a perf event: `perfIoctl(sys, fd, 'PERF_EVENT_IOC_SET_BPF', progFd)`; returns 0 or a negative errno. */
export function perfIoctl(sys: Sys, fd: number, request: keyof typeof PERF_EVENT_IOC, arg: number | Uint8Array = 0): number {
  return sys.call('ioctl', fd, PERF_EVENT_IOC[request], arg);
}
