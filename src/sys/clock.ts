import { readlinkSync } from 'node:fs';
import { CLOCK } from './constants.ts';
import { check } from './errno.ts';
import { readText } from './kernel-version.ts';
import type { Sys } from './sys.ts';

export type ClockName = keyof typeof CLOCK;

/** Reads a clock; nanoseconds. */
export function clockGettime(sys: Sys, clock: ClockName): bigint {
  const timespec = new Uint8Array(16);
  check(sys.call('clock_gettime', CLOCK[clock], timespec), 'clock_gettime', { where: { clock } });
  const view = new DataView(timespec.buffer);
  return view.getBigInt64(0, true) * 1_000_000_000n + view.getBigInt64(8, true);
}

/** By how much this process's clocks are ahead of the host's; nanoseconds. */
export interface TimeNamespaceOffsets {
  readonly monotonic: bigint;
  readonly boottime: bigint;
}

// PROC_TIME_INIT_INO (include/linux/proc_ns.h).
const initialTimeNamespace = 'time:[4026531834]';

/** Parses /proc/PID/timens_offsets: `monotonic  SECONDS NANOSECONDS` and `boottime ...`, one a line. */
export function parseTimensOffsets(text: string): TimeNamespaceOffsets {
  const offset = (name: string): bigint => {
    const match = new RegExp(`^${name}\\s+(-?\\d+)\\s+(-?\\d+)$`, 'm').exec(text);
    return match === null ? 0n : BigInt(match[1] ?? 0) * 1_000_000_000n + BigInt(match[2] ?? 0);
  };
  return { monotonic: offset('monotonic'), boottime: offset('boottime') };
}

/**
 * The offsets of this process's time namespace, zero in the initial one; null where they cannot be known. BPF programs
 * always see the host's clocks.
 */
export function timeNamespaceOffsets(): TimeNamespaceOffsets | null {
  const zero = { monotonic: 0n, boottime: 0n };
  const own = readLink('/proc/self/ns/time');
  if (own === null || own === initialTimeNamespace) return zero;
  // timens_offsets is about the namespace of future children (kernel/time/namespace.c); it is ours only where both agree.
  if (own !== readLink('/proc/self/ns/time_for_children')) return null;
  const text = readText('/proc/self/timens_offsets');
  return text === null ? null : parseTimensOffsets(text);
}

/** How to turn what a BPF program reads from a clock into wall-clock time. */
export interface ClockOffsets {
  /** Add to bpf_ktime_get_boot_ns() for nanoseconds since 1970. */
  readonly boottimeToEpoch: bigint;
  /** Add to bpf_ktime_get_ns(). */
  readonly monotonicToEpoch: bigint;
  /** False where the time namespace's offsets could not be read and were taken as zero. */
  readonly exact: boolean;
}

/** Measures the offsets between the kernel's clocks and wall-clock time: to about a microsecond; measure again after the wall clock was set. */
export function clockOffsets(sys: Sys): ClockOffsets {
  const namespace = timeNamespaceOffsets();
  return {
    boottimeToEpoch: measure(sys, 'CLOCK_BOOTTIME') + (namespace?.boottime ?? 0n),
    monotonicToEpoch: measure(sys, 'CLOCK_MONOTONIC') + (namespace?.monotonic ?? 0n),
    exact: namespace !== null,
  };
}

/** Epoch minus the clock as this process sees it, from the tightest of a few readings. */
function measure(sys: Sys, clock: ClockName): bigint {
  let best: bigint | null = null;
  let offset = 0n;
  for (let i = 0; i < 5; i++) {
    const before = clockGettime(sys, clock);
    const epoch = clockGettime(sys, 'CLOCK_REALTIME');
    const after = clockGettime(sys, clock);
    const width = after - before;
    if (best === null || width < best) {
      best = width;
      offset = epoch - (before + width / 2n);
    }
  }
  return offset;
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}
