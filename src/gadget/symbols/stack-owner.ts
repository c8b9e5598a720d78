import { readFileSync, statSync } from 'node:fs';

/** The process that a stack was taken of. */
export interface StackOwner {
  /** Tells processes apart, and one before and after an exec. */
  readonly key: string;
  /** As our /proc has them; 0 is this process. */
  readonly pid: number;
  readonly tid: number;
  /** Inode and time of the last change of its executable when the stack was taken; null where unknown. */
  readonly exe: { readonly inode: bigint; readonly mtimeSeconds: bigint } | null;
  /** Nanoseconds since boot when it was there already. */
  readonly bornBefore: bigint | null;
}

/** Clock ticks in a second that /proc counts in (USER_HZ), the same on all architectures that there are BPF programs for. */
const ticksPerSecond = 100n;

/** Whether a folder of /proc is still the process that a stack was taken of: pids are used again, and exec changes what is mapped. */
export function isOwnProcess(folder: string, owner: StackOwner): boolean {
  try {
    if (owner.bornBefore !== null) {
      const stat = readFileSync(`${folder.replace(/\/task\/\d+$/, '')}/stat`, 'latin1');
      // Field 22, starttime; the name before may hold anything.
      const ticks = BigInt(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '');
      if ((ticks * 1_000_000_000n) / ticksPerSecond > owner.bornBefore + 20_000_000n) return false;
    }
    if (owner.exe !== null) {
      const { ino, mtimeNs } = statSync(`${folder}/exe`, { bigint: true });
      // On stacked file systems the kernel's own inode number may be another than stat's.
      if (ino !== owner.exe.inode && mtimeNs / 1_000_000_000n !== owner.exe.mtimeSeconds) return false;
    }
    return true;
  } catch {
    return false;
  }
}
