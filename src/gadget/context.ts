import type { BtfEnum } from '../btf/types.ts';
import type { SyscallArch } from '../sys/syscall-table.ts';

/** A moment, reused by whoever asks for one. */
export interface EpochTime {
  /** Whole seconds since 1970-01-01T00:00:00Z. */
  seconds: number;
  /** 0 to 999,999,999. */
  nanoseconds: number;
}

/** Turns the kernel's nanoseconds since boot (bpf_ktime_get_boot_ns) into wall-clock time. */
export interface BootClock {
  /** Writes the moment of `high * 2^32 + low` nanoseconds since boot into `into`; 0 (a kernel without the helper) means now. */
  toEpoch(high: number, low: number, into: EpochTime): void;
}

/** Names of users and groups. */
export interface IdNames {
  /** `root`; `uid:N` for one without a name. */
  user(uid: number): string;
  /** `gid:N` for one without a name. */
  group(gid: number): string;
}

/** What fields made for people need to know of the machine that the events come from. */
export interface EventContext {
  readonly arch: SyscallArch;
  readonly clock: BootClock;
  readonly ids: IdNames;
  /** The running kernel's enum of this name; null where there is none, or no BTF. */
  kernelEnum(name: string): BtfEnum | null;
  /** Names of containers; without it events have no container fields. */
  readonly containers?: ContainerNames;
  /** Names of addresses; without it endpoints have no `k8s` fields. */
  readonly endpoints?: EndpointNames;
}

/** Whose an address is, in a cluster. */
export interface EndpointName {
  readonly kind: 'pod' | 'svc' | 'node';
  readonly name: string;
  /** Empty for a node. */
  readonly namespace: string;
  /** `a=b,c=d` */
  readonly labels: string;
  /** Of a service: which pods are behind it, as `a=b,c=d`. */
  readonly selector: string;
  /** Of a service: the ports of the pods behind it, numbers or names, by its own as `80/TCP`. */
  readonly targetPorts?: ReadonlyMap<string, string>;
}

/** Whose an address is now; never waits. */
export interface EndpointNames {
  /** By the address as events write it; null where nobody is known to have it. */
  endpoint(address: string): EndpointName | null;
}

/** A container as events show it; what is not known is an empty string. */
export interface ContainerFields {
  /** Another one for every content: equal numbers have equal fields. */
  readonly serial: number;
  readonly runtime: {
    /** docker, containerd, podman, cri-o, or what the cgroup's path tells. */
    readonly runtimeName: string;
    readonly containerName: string;
    readonly containerId: string;
    readonly containerPid: number;
    readonly containerImageName: string;
    readonly containerImageDigest: string;
    /** RFC 3339, with nanoseconds where the runtime tells them. */
    readonly containerStartedAt: string;
    /** The container within the container that it happened in, where there is one. */
    readonly innerContainerId: string;
  };
  readonly k8s: {
    readonly node: string;
    readonly namespace: string;
    readonly podName: string;
    readonly containerName: string;
    readonly podLabels: string;
    readonly hostnetwork: boolean;
    readonly owner: { readonly kind: string; readonly name: string };
  };
}

/** Which container a namespace belonged to at a moment; never waits. */
export interface ContainerNames {
  /** The columns that are worth showing unasked. */
  readonly columns: 'none' | 'runtime' | 'kubernetes';
  /** Grows whenever an answer may be another one than before. */
  readonly version: number;
  /**
   * By mount namespace inode; 0 for a process that is ending, which `tid`, one of its threads, then tells. `bootNs` is the event's time in nanoseconds
   * since boot, 0 for now. Null: the host, or unknown.
   */
  byMntns(inode: number, tid: number, bootNs: number): ContainerFields | null;
  /** By network namespace inode: the container in it, or what is common to all in it. */
  byNetns(inode: number, bootNs: number): ContainerFields | null;
}
