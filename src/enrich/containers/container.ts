import type { ContainerFields } from '../../gadget/context.ts';
import type { RuntimeNames } from './names.ts';

/** A cgroup that a container's first process is in. */
export interface ContainerCgroup {
  /** 0 for the unified hierarchy (v2), else the number of the v1 hierarchy as /proc/PID/cgroup gives it. */
  readonly hierarchy: number;
  /** kernfs id, which is the directory's inode number; keyed per hierarchy. */
  readonly id: bigint;
  /** From the root of the hierarchy. */
  readonly path: string;
}

/** A container that was made within another one: events show the outermost, and this one's id beside it. */
export interface InnerContainer {
  readonly id: string;
  readonly runtime: string;
  readonly mntns: number;
}

/** How far a container has come. */
export type ContainerState =
  /** Its namespaces are there, its program has not been started. */
  | 'created'
  | 'running'
  /** Its processes are gone; it is kept for late events. */
  | 'gone';

/** One container on this machine, as the kernel shows it, with the names that its runtime gave. A snapshot: it does not change. */
export interface Container {
  /** Unique in this collection; never reused. */
  readonly serial: number;
  /** The runtime's id; `mntns-<inode>` where nobody gave it one. */
  readonly id: string;
  /** docker, containerd, podman, cri-o, runc, crun, lxc, systemd-nspawn; empty for unknown. */
  readonly runtime: string;
  /** The first process, in the host's pid namespace; 0 while unknown. */
  readonly pid: number;
  /** Inode numbers. */
  readonly mntns: number;
  readonly netns: number;
  readonly pidns: number;
  /** Whether it shares the host's network namespace. */
  readonly hostNetwork: boolean;
  readonly cgroups: readonly ContainerCgroup[];
  /** When its mount namespace appeared, in nanoseconds since boot; for one that was there before, when its first process started. */
  readonly sinceBootNs: number;
  /** When its processes were gone, in nanoseconds since boot; null while it is there. */
  readonly goneBootNs: number | null;
  /** When the first process started, in clock ticks since boot: field 22 of /proc/PID/stat. 0 while unknown. */
  readonly startTimeTicks: bigint;
  /** RFC 3339: as the runtime says, else the start of the first process. Empty while unknown. */
  readonly startedAt: string;
  readonly state: ContainerState;
  /** Null until, or unless, a runtime tells. */
  readonly names: RuntimeNames | null;
  /** What events show. */
  readonly fields: ContainerFields;
  readonly inner: readonly InnerContainer[];
}

/** A change of the set of containers; `container` is the state after it. */
export interface ContainerChange {
  readonly type: 'added' | 'named' | 'removed';
  readonly container: Container;
}

/** A network namespace with containers in it. */
export interface ContainerNetns {
  readonly netns: number;
  /** A process that is in it: open /proc/PID/ns/net through it, and compare the inode afterwards. */
  readonly pid: number;
  readonly containers: readonly Container[];
}

/** The containers of this machine as other parts see them; ContainerCollection is the one implementation. */
export interface ContainerSet {
  /** Those that are there now. */
  readonly list: readonly Container[];
  /** Network namespaces of containers, without the host's. */
  readonly netns: readonly ContainerNetns[];
  /** Changes from now on; ends with close(). A consumer that is too slow misses none: changes of one container are merged. */
  changes(): AsyncIterable<ContainerChange>;
  /** As changes(), by callback, at once; returns how to stop it. */
  onChange(listener: (change: ContainerChange) => void): () => void;
}
