import type { EventSource } from '../bpf/events/event-source.ts';
import { PerfReader } from '../bpf/events/perf-reader.ts';
import { RingbufReader } from '../bpf/events/ringbuf-reader.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import type { MapSpec } from '../bpf/object/spec.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';

/** Pages of a CPU's perf buffer where the gadget does not say how large its buffer is to be. */
const perfPages = 64;

/** Opens the reader that fits the buffer a tracer writes to; `spec` is the map as the gadget declares it. */
export function openReader(map: BpfMap, spec: MapSpec): EventSource {
  const { sys, pageSize, possibleCpus } = map.kernel;
  const { BPF_MAP_TYPE_RINGBUF } = BPF_MAP_TYPE;
  if (map.type === BPF_MAP_TYPE_RINGBUF) return new RingbufReader(sys, map.fd, map.maxEntries);
  // A declared size counts for all CPUs together: their buffers share it, rounded up.
  const share = spec.type === BPF_MAP_TYPE_RINGBUF ? spec.maxEntries / possibleCpus.length : 0;
  const bytesPerCpu = Math.max(perfPages * pageSize, 2 ** Math.ceil(Math.log2(Math.max(1, share))));
  return new PerfReader(sys, map.fd, map.maxEntries, { bytesPerCpu });
}
