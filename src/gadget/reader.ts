import type { EventSource } from '../bpf/events/event-source.ts';
import { PerfReader } from '../bpf/events/perf-reader.ts';
import { RingbufReader } from '../bpf/events/ringbuf-reader.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import type { MapSpec } from '../bpf/object/spec.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';

/** Pages of a CPU's perf buffer where the gadget does not say how large its buffer is to be. */
const perfPages = 64;

/** Opens the reader that fits the buffer a tracer writes to; `spec` is the map as the gadget declares it, `bufferSize` another size than that. */
export function openReader(map: BpfMap, spec: MapSpec, bufferSize: number | null = null): EventSource {
  const { sys, pageSize, possibleCpus } = map.kernel;
  const { BPF_MAP_TYPE_RINGBUF } = BPF_MAP_TYPE;
  if (map.type === BPF_MAP_TYPE_RINGBUF) return new RingbufReader(sys, map.fd, map.maxEntries);
  // A declared size counts for all CPUs together: their buffers share it, rounded up.
  const declared = spec.type === BPF_MAP_TYPE_RINGBUF ? spec.maxEntries : 0;
  const share = (bufferSize ?? declared) / possibleCpus.length;
  const least = (bufferSize === null ? perfPages : 1) * pageSize;
  const bytesPerCpu = Math.max(least, 2 ** Math.ceil(Math.log2(Math.max(1, share))));
  return new PerfReader(sys, map.fd, map.maxEntries, { bytesPerCpu });
}
