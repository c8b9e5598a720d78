import type { EventSource, UnsafeVisitor } from '../bpf/events/event-source.ts';
import { RingbufReader } from '../bpf/events/ringbuf-reader.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/index.ts';
import { UnsupportedError } from '../error.ts';

/** A reader that can also be emptied at once. */
export type DrainableSource = EventSource & { drainUnsafe(visitor: UnsafeVisitor, maxRecords?: number): number };

/** Opens the reader that fits the buffer a tracer writes to. */
export function openReader(map: BpfMap): DrainableSource {
  if (map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF) return new RingbufReader(map.kernel.sys, map.fd, map.maxEntries);
  throw new UnsupportedError({
    code: 'E_EVENT_BUFFER',
    what: 'events of this kind of map cannot be read yet',
    where: { map: map.name, type: map.typeName },
  });
}
