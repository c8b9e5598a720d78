import type { EventSource } from '../bpf/events/event-source.ts';
import { PerfReader } from '../bpf/events/perf-reader.ts';
import { RingbufReader } from '../bpf/events/ringbuf-reader.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import type { MapSpec } from '../bpf/object/spec.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';

/** Pages of a CPU's perf buffer where the gadget does not say how large its buffer is to be. */
const perfPages = 64;

/**
 * Longest event that a perf event array takes: the size of a perf record has 16 bits (struct perf_event_header), of which the
 * header, the time, and the size and padding of the data take up to 32 bytes.
 */
export const maxPerfEvent: number = 65_535 - 32;

/** How {@link openReader} reads. */
export interface ReaderWishes {
  /** Another size than the gadget declares. */
  readonly bufferSize?: number | null;
  /** Perf buffers, one for each CPU, give events in the order of their times only where that is asked for; ring buffers always do. */
  readonly ordered?: boolean;
  /** The programs wake nobody: milliseconds between looks; 0 where they do. */
  readonly wakeupMs?: number;
}

/** Opens the reader that fits the buffer a tracer writes to; `spec` is the map as the gadget declares it. */
export function openReader(
  map: BpfMap,
  spec: MapSpec,
  { bufferSize = null, ordered = false, wakeupMs = 0 }: ReaderWishes = {},
): EventSource {
  const { sys, pageSize, possibleCpus } = map.kernel;
  const { BPF_MAP_TYPE_RINGBUF } = BPF_MAP_TYPE;
  if (map.type === BPF_MAP_TYPE_RINGBUF) return new RingbufReader(sys, map.fd, map.maxEntries, { pollIntervalMs: wakeupMs });
  // A declared size counts for all CPUs together: their buffers share it, rounded up.
  const declared = spec.type === BPF_MAP_TYPE_RINGBUF ? spec.maxEntries : 0;
  const share = (bufferSize ?? declared) / possibleCpus.length;
  const least = (bufferSize === null ? perfPages : 1) * pageSize;
  const bytesPerCpu = Math.max(least, 2 ** Math.ceil(Math.log2(Math.max(1, share))));
  // Half full is a reason to come sooner.
  const lazy = wakeupMs > 0 ? { watermark: bytesPerCpu / 2, pollIntervalMs: wakeupMs } : {};
  const onCpuError = (cause: unknown): void =>
    map.kernel.notice({ code: 'N_HOTPLUG', message: `events of a CPU that came are lost: ${String(cause)}`, cause });
  return new PerfReader(sys, map.fd, map.maxEntries, { bytesPerCpu, ordered, onCpuError, ...lazy });
}
