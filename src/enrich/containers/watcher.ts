import type { BpfMap } from '../../bpf/map/map.ts';
import type { ExitedTask, HostNamespaces } from './tracker.ts';

/** A time in which reports had no room, in nanoseconds since boot: of what happened in it anything may be missing. */
export interface Gap {
  /** How many reports were lost. */
  readonly count: number;
  readonly since: number;
  readonly until: number;
}

/** What tells a collection about mount namespaces: programs in the kernel, or looks into /proc. */
export interface Watcher {
  readonly host: HostNamespaces;
  /** Namespaces that had no room in a filter. */
  readonly fullFilters: number;
  /** What was lost since this was last asked; null for nothing. */
  takeGap(): Gap | null;
  /** Whether the number of a namespace still belongs to it, as far as was ever seen, reported or not. */
  holds(mntns: number, unique: bigint): boolean;
  /** After a gap and a {@link scan}: takes out of the filters what nobody has reported. */
  forgetUnreported(): void;
  /**
   * Takes what is there, now. False where something is left: a record that is still being written, and all behind it, or what
   * comes after the one that is just being told of.
   */
  drain(): boolean;
  /** Reports what runs already; false where that cannot be seen. */
  scan(): boolean;
  setReferenced(referenced: boolean): void;
  /** Has new namespaces put into a map in the kernel, and returns where; -1 where nothing can do that. */
  addFilter(map: BpfMap): number;
  removeFilter(slot: number): void;
  forget(mntns: number, unique: bigint, slot?: number): void;
  exited(tid: number): ExitedTask | null;
  /** Drops what {@link exited} knows of those before a time in nanoseconds since boot. */
  forgetExited(beforeBootNs: number): void;
  count(map: 'known' | 'exiting' | 'leaving'): number;
  close(): void;
}
