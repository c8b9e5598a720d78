import { readText } from './kernel-version.ts';

/** Capabilities that BPF has to do with (include/uapi/linux/capability.h). */
export const CAP = {
  CAP_DAC_OVERRIDE: 1,
  CAP_DAC_READ_SEARCH: 2,
  CAP_NET_ADMIN: 12,
  CAP_SYS_PTRACE: 19,
  CAP_SYS_ADMIN: 21,
  CAP_SYS_RESOURCE: 24,
  CAP_SYSLOG: 34,
  CAP_PERFMON: 38,
  CAP_BPF: 39,
  CAP_CHECKPOINT_RESTORE: 40,
} as const;

export type CapName = keyof typeof CAP;

/** Effective capabilities of this thread as a bit mask (`CapEff` of /proc/self/status), or null where unreadable. */
export function effectiveCaps(status: string | null = readText('/proc/thread-self/status')): bigint | null {
  const line = status === null ? null : /^CapEff:\s*([0-9a-f]{16})$/m.exec(status);
  return line === null ? null : BigInt(`0x${line[1]}`);
}

/** Whether a capability is in a mask. */
export function hasCap(caps: bigint, name: CapName): boolean {
  return ((caps >> BigInt(CAP[name])) & 1n) === 1n;
}
