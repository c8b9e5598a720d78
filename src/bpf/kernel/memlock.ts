import type { Sys } from '../../sys/sys.ts';

const RLIMIT_MEMLOCK = 8;

/**
 * Lifts this process's limit on locked memory, against which BPF memory counts before Linux 5.11: to no limit where
 * that is allowed, else as far as the hard limit lets it. Returns whether it changed anything.
 */
export function raiseMemlock(sys: Sys): boolean {
  const infinite = new Uint8Array(16).fill(0xff);
  if (sys.call('prlimit64', 0, RLIMIT_MEMLOCK, infinite, null) >= 0) return true;
  const limits = new Uint8Array(16);
  if (sys.call('prlimit64', 0, RLIMIT_MEMLOCK, null, limits) < 0) return false;
  const view = new DataView(limits.buffer);
  const hard = view.getBigUint64(8, true);
  if (view.getBigUint64(0, true) === hard) return false;
  view.setBigUint64(0, hard, true);
  return sys.call('prlimit64', 0, RLIMIT_MEMLOCK, limits, null) >= 0;
}
