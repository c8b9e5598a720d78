import type { BpfMap } from '../bpf/map/map.ts';
import type { EventSource } from '../bpf/events/event-source.ts';

/** Events that a tracer could not write: what its own counter says, and what the kernel says. */
export class LostCounter {
  readonly #map: BpfMap | null;
  readonly #source: EventSource;
  #last = 0n;

  /** `map` is the per-CPU counter `NAME_lost_samples`, null for an object that does not count. */
  constructor(map: BpfMap | null, source: EventSource) {
    this.#map = map;
    this.#source = source;
  }

  /** All since the beginning; null where nobody counts. Exact: the map is only read, never set back. */
  read(): number | null {
    const { lost } = this.#source.counters;
    if (this.#map === null) return lost;
    if (!this.#map.closed) this.#last = sumOf(this.#map);
    return Number(this.#last) + (lost ?? 0);
  }
}

/** Sum over all possible CPUs, offline ones too. */
function sumOf(map: BpfMap): bigint {
  let sum = 0n;
  for (const value of map.lookupPerCpu(new Uint8Array(4)) ?? []) {
    sum += new DataView(value.buffer, value.byteOffset, value.byteLength).getBigUint64(0, true);
  }
  return sum;
}
