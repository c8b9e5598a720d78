import type { Collection } from '../bpf/collection/collection.ts';
import type { EventSource } from '../bpf/events/event-source.ts';
import type { BpfMap } from '../bpf/map/map.ts';
import { LOST_EVENTS_MAP } from '../bpf/object/count-losses.ts';

/** The counter of losses in maps given as `void *`, which are not known apart. */
export const sharedCounter = 'gadget_lost_samples';

/** What the lost events of one buffer are counted by. */
export interface LossPlace {
  /** The per-CPU map NAME_lost_samples; null in objects that do not count. */
  readonly map: BpfMap | null;
  /** What the kernel counts; null for a map, which it does not count for. */
  readonly reader: EventSource | null;
}

/** Events that a gadget could not send: as its own counters say or, without those, the kernel. */
export class LossCounter {
  readonly #places: readonly LossPlace[];
  readonly #shared: (() => bigint) | null;
  /** Of an object that was made to count, see countLosses(). */
  readonly #added: BpfMap | null;

  constructor(places: readonly LossPlace[], collection: Collection) {
    this.#places = places;
    this.#added = collection.maps.get(LOST_EVENTS_MAP) ?? null;
    const hasShared = collection.spec.variables.some((variable) => variable.name === sharedCounter && collection.maps.has(variable.map));
    const variable = hasShared ? collection.variable(sharedCounter) : null;
    this.#shared = variable === null ? null : (): bigint => BigInt(variable.get() as bigint | number);
  }

  /** All since the beginning; null where nobody counts. Exact: counters are only read, never set back. */
  read(): number | null {
    const added = this.#added === null ? null : numberIn(this.#added);
    let own = Number(this.#shared?.() ?? 0n) + (added ?? 0);
    let kernel = 0;
    for (const { map, reader } of this.#places) {
      const seen = reader?.counters.lost ?? null;
      if (map === null && this.#shared === null && seen === null && added === null) return null;
      own += map === null ? 0 : sumOf(map);
      kernel += seen ?? 0;
    }
    // What the kernel counted in perf buffers is among what the gadget counted, unless that counts for ring buffers only.
    return Math.max(own, kernel);
  }
}

function numberIn(map: BpfMap): number {
  const value = map.lookup(new Uint8Array(4));
  return value === null ? 0 : Number(new DataView(value.buffer, value.byteOffset, value.byteLength).getBigUint64(0, true));
}

/** Sum over all possible CPUs, offline ones too. */
function sumOf(map: BpfMap): number {
  let sum = 0n;
  for (const value of map.lookupPerCpu(new Uint8Array(4)) ?? []) {
    sum += new DataView(value.buffer, value.byteOffset, value.byteLength).getBigUint64(0, true);
  }
  return Number(sum);
}
