import type { BpfMap } from '../../bpf/map/map.ts';
import type { ExitedTask, HostNamespaces } from './tracker.ts';

/** What tells a collection about mount namespaces: programs in the kernel, or looks into /proc. */
export interface Watcher {
  readonly host: HostNamespaces;
  readonly losses: { readonly events: number; readonly filters: number };
  /** Takes what is there, now. */
  drain(): void;
  /** Reports what runs already; false where that cannot be seen. */
  scan(): boolean;
  setReferenced(referenced: boolean): void;
  /** Has new namespaces put into a map in the kernel, and returns where; -1 where nothing can do that. */
  addFilter(map: BpfMap): number;
  removeFilter(slot: number): void;
  forget(mntns: number, unique: bigint, slot?: number): void;
  exited(tid: number): ExitedTask | null;
  count(map: 'known' | 'exiting' | 'leaving'): number;
  close(): void;
}
