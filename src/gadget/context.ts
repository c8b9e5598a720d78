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
}

/** A container as events show it; what is not known is an empty string. */
export interface ContainerFields {
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
  /** By mount namespace inode, and the cgroup id where the event has one; `bootNs` is the event's time, null for now. Null: the host, or unknown. */
  byMntns(inode: number, bootNs: bigint | null): ContainerFields | null;
  /** By network namespace inode: only what is common to all containers in it. */
  byNetns(inode: number, bootNs: bigint | null): ContainerFields | null;
}
