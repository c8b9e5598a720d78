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
}
