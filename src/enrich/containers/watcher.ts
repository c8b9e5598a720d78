import type { BpfMap } from '../../bpf/map/map.ts';
import type { ExitedTask, HostNamespaces } from './tracker.ts';

/** What tells a collection about mount namespaces: programs in the kernel, or looks into /proc. */
export interface Watcher {
  readonly host: HostNamespaces;
  readonly losses: { readonly events: number; readonly filters: number };
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
