import { createMap } from '../../bpf/map/create.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import type { Kernel } from '../../bpf/kernel/kernel.ts';
import { UsageError } from '../../error.ts';
import { bootNsOf, containerKeys, mntnsOf, netnsOf, tellContainers, tidOf } from '../../gadget/container-keys.ts';
import type { DataSource } from '../../gadget/data-source.ts';
import type { Gadget } from '../../gadget/gadget.ts';
import type { PartLoad, RunPart, Verdict } from '../../gadget/part.ts';
import type { EventRecord } from '../../gadget/record.ts';
import type { ContainerCollection } from './collection.ts';
import type { ContainerFilter } from './filter.ts';
import type { ContainerRecord } from './record.ts';
import type { Space } from './spaces.ts';

/** Whose events are wanted: everybody's, those of containers, or those of the host alone. */
export type ContainerScope = 'all' | 'containers' | 'host';

export interface ContainerPartOptions {
  readonly scope?: ContainerScope;
  /** Of containers, those that fit; the host is left out then. */
  readonly filter?: ContainerFilter | null;
}

/** The map of include/gadget/mntns_filter.h, and the variable that turns it on. */
const filterMap = 'gadget_mntns_filter_map';
const filterSwitch = 'gadget_filter_by_mntns';
/** More than the 1024 of the header: with many containers coming and going there are twice as many for two seconds. */
const filterEntries = 8192;

/** Joins a run with the containers: events of those that are wanted get through, in the kernel first, and wait for names. */
export class ContainerPart implements RunPart {
  readonly #containers: ContainerCollection;
  readonly #filter: ContainerFilter | null;
  readonly #scope: ContainerScope;
  readonly #wanted = new WeakMap<ContainerRecord, { readonly snapshot: object; readonly wanted: boolean }>();
  #map: BpfMap | null = null;
  #slot = -1;
  #off: (() => void) | null = null;
  #release: () => void = () => {};

  constructor(containers: ContainerCollection, options: ContainerPartOptions = {}) {
    this.#containers = containers;
    this.#filter = options.filter === undefined || options.filter?.all === true ? null : options.filter;
    this.#scope = options.filter !== undefined && options.filter !== null ? 'containers' : (options.scope ?? 'all');
  }

  prepare(gadget: Gadget, kernel: Kernel): PartLoad {
    this.#off = this.#containers.onDecided((spaces) => this.#decided(spaces));
    if (this.#scope === 'all') return {};
    const spec = gadget.spec.maps.find(({ name }) => name === filterMap);
    const filtersItself = spec !== undefined && gadget.spec.variables.some(({ name }) => name === filterSwitch);
    if (!filtersItself && !gadget.sources.some((source) => tellContainers(containerKeys(source.fields)))) {
      throw new UsageError({
        code: 'E_CONTAINER_FIELDS',
        what: 'events of this gadget do not tell their container',
        where: { gadget: gadget.name },
        why: 'it has neither a field of type gadget_mntns_id or gadget_netns_id nor the filter of gadget/mntns_filter.h',
        next: 'leave the container flags out',
      });
    }
    // The filter lets namespaces in; to keep containers out would need to know all others.
    if (!filtersItself || this.#scope === 'host') return {};
    this.#map = createMap(kernel, {
      name: 'mntns_filter',
      type: 'BPF_MAP_TYPE_HASH',
      keySize: 8,
      valueSize: 4,
      maxEntries: filterEntries,
    });
    // From now on the kernel adds what is new; then what is there.
    this.#slot = this.#containers.addFilter(this.#map);
    if (this.#slot < 0) {
      this.#map.close();
      this.#map = null;
      return {};
    }
    // Processes that are ending have no namespace any more: user space finds out which one they had.
    this.#let(0);
    for (const space of this.#containers.spaces) if (this.#mayBeWanted(space) && space.to === null) this.#let(space.mntns);
    return { maps: { [filterMap]: this.#map }, mapSizes: { [filterMap]: filterEntries }, variables: { [filterSwitch]: true } };
  }

  judge(source: DataSource): ((record: EventRecord, last: boolean) => Verdict) | null {
    const keys = containerKeys(source.fields);
    if (!tellContainers(keys)) return null;
    const containers = this.#containers;
    return ({ view, offset }, last) => {
      const mntns = mntnsOf(keys, view, offset);
      const time = bootNsOf(keys, view, offset);
      if (keys.mntns >= 0) {
        if (!last && !containers.isCurrent(mntns, time)) return 'hold';
        const space = containers.spaceOf(mntns, mntns === 0 ? tidOf(keys, view, offset) : 0, time);
        if (space !== null) return this.#judge(space, last);
        // Of a packet or a process that is ending there is only the network namespace.
        if (mntns !== 0 || keys.netns < 0) return this.#scope === 'containers' ? 'drop' : 'show';
      }
      return this.#judgeNetns(netnsOf(keys, view, offset), time, last);
    };
  }

  onRelease(release: () => void): void {
    this.#release = release;
  }

  close(): void {
    this.#off?.();
    this.#off = null;
    if (this.#slot >= 0) this.#containers.removeFilter(this.#slot);
    this.#slot = -1;
    this.#map?.close();
    this.#map = null;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #judge(space: Space, last: boolean): Verdict {
    if (space.verdict === 'pending' && !last) return 'hold';
    const { container } = space;
    if (container === null) return this.#scope === 'containers' ? 'drop' : 'show';
    return this.#judgeContainer(container, last);
  }

  #judgeContainer(container: ContainerRecord, last: boolean): Verdict {
    if ((container.naming || container.unsettled) && !last) return 'hold';
    if (this.#scope === 'all') return 'show';
    return this.#scope === 'containers' && this.#isWanted(container) ? 'show' : 'drop';
  }

  #judgeNetns(netns: number, time: number, last: boolean): Verdict {
    if (!last && netns !== 0 && !this.#containers.isCurrent(netns, time)) return 'hold';
    const all = this.#containers.inNetns(netns, time);
    if (all.length === 0) return this.#scope === 'containers' ? 'drop' : 'show';
    let verdict: Verdict = 'drop';
    for (const container of all) {
      const one = this.#judgeContainer(container, last);
      if (one === 'show') return 'show';
      if (one === 'hold') verdict = 'hold';
    }
    return verdict;
  }

  #isWanted(container: ContainerRecord): boolean {
    const { snapshot } = container;
    const kept = this.#wanted.get(container);
    if (kept !== undefined && kept.snapshot === snapshot) return kept.wanted;
    const wanted = !container.sandbox && (this.#filter === null || this.#filter.matches(snapshot));
    this.#wanted.set(container, { snapshot, wanted });
    return wanted;
  }

  #mayBeWanted({ verdict, container }: Space): boolean {
    if (verdict === 'pending') return true;
    return container !== null && (container.naming || container.unsettled || this.#isWanted(container));
  }

  /** The kernel stops letting through what is not wanted, and lets through again what turned out to be. */
  #decided(spaces: readonly Space[]): void {
    if (this.#slot >= 0) for (const space of spaces) this.#apply(space);
    this.#release();
  }

  #apply(space: Space): void {
    if (space.to !== null || space.verdict === 'pending' || space.container?.naming === true || space.container?.unsettled === true) return;
    if (this.#mayBeWanted(space)) this.#let(space.mntns);
    else this.#containers.filterOut(space, this.#slot);
  }

  #let(mntns: number): void {
    const key = new Uint8Array(8);
    new DataView(key.buffer).setBigUint64(0, BigInt(mntns), true);
    // A full map is told through the programs' own count.
    try {
      this.#map?.update(key, Uint8Array.of(1, 0, 0, 0));
    } catch {}
  }
}
