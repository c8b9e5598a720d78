import { toCString } from '../../bytes/text.ts';
import { readText } from '../../sys/kernel-version.ts';
import { perfEventOpen } from '../../sys/perf-event.ts';
import type { Sys } from '../../sys/sys.ts';

/** A probe to be made through the kprobe or uprobe PMU (Linux 4.17). */
export interface PmuProbe {
  readonly pmu: 'kprobe' | 'uprobe';
  /** The kernel function, or the path of the binary; '' for a kprobe at an absolute address. */
  readonly name: string;
  /** Offset within the function or file, or the absolute address. */
  readonly offset: bigint;
  /** Fires on return. */
  readonly ret: boolean;
  /** -1 for every process. */
  readonly pid: number;
  readonly cpu: number;
  /** uprobe: file offset of a reference counter (USDT semaphore), 0 for none. */
  readonly refCtrOffset?: number;
}

export type PmuProbeResult =
  | { readonly ok: true; readonly fd: number }
  /** `missingPmu`: this kernel has no such PMU; else `errno` is the negative errno of perf_event_open. */
  | { readonly ok: false; readonly missingPmu: boolean; readonly errno: number };

/** Opens a perf event that is a probe; the caller closes the descriptor. */
export function openPmuProbe(sys: Sys, probe: PmuProbe): PmuProbeResult {
  const type = readNumber(`/sys/bus/event_source/devices/${probe.pmu}/type`);
  if (type === null) return { ok: false, missingPmu: true, errno: 0 };
  let config = probe.ret ? 1n << BigInt(formatBit(probe.pmu, 'retprobe') ?? 0) : 0n;
  if (probe.refCtrOffset !== undefined && probe.refCtrOffset !== 0) config |= BigInt(probe.refCtrOffset) << 32n;
  const name = probe.name === '' ? null : toCString(probe.name);
  const attr = { type, config, kprobe_func: name, probe_offset: probe.offset };
  const fd = perfEventOpen(sys, { attr, pid: probe.pid, cpu: probe.cpu });
  return fd >= 0 ? { ok: true, fd } : { ok: false, missingPmu: false, errno: fd };
}

/** The bit of `config` that a PMU's format file names: `config:0`. */
function formatBit(pmu: string, field: string): number | null {
  const text = readText(`/sys/bus/event_source/devices/${pmu}/format/${field}`);
  const bit = text === null ? null : /^config:(\d+)/.exec(text);
  return bit === null ? null : Number(bit[1]);
}

function readNumber(path: string): number | null {
  const text = readText(path);
  return text === null ? null : Number(text);
}
