import { readFileSync } from 'node:fs';
import type { Sys } from '../sys/sys.ts';

/** Processes being watched; close() before the program exits. */
export interface ParentWatch {
  close(): void;
}

/**
 * Calls back once when this process's parent (or, below npm, the npm process above the shell) has ended,
 * through pidfds: no polling, and no signal that only reaches the process npm itself started.
 */
export function watchParents(sys: Sys, onEnd: () => void): ParentWatch {
  const closers: (() => void)[] = [];
  const close = (): void => {
    for (const closer of closers.splice(0)) closer();
  };
  const ended = (): void => {
    close();
    onEnd();
  };
  for (const pid of ancestors()) {
    const fd = sys.call('pidfd_open', pid, 0);
    if (fd < 0) {
      // ESRCH: it is gone already. Anything else (kernel before 5.3, seccomp): nothing to watch with.
      if (fd === -3) setImmediate(ended);
      continue;
    }
    const watch = sys.watch(fd, ended);
    if (watch === null) {
      sys.call('close', fd);
      continue;
    }
    watch.unref();
    closers.push(() => {
      watch.close();
      sys.call('close', fd);
    });
  }
  return { close };
}

/** The parent and, when npm runs a script, every process up to npm: `npm -> sh -> node`. */
function ancestors(): number[] {
  const pids = [process.ppid];
  if (process.env['npm_lifecycle_event'] === undefined) return pids;
  for (let pid = process.ppid, depth = 0; depth < 3; depth++) {
    const parent = parentOf(pid);
    if (parent <= 1 || isNode(pid)) break;
    pids.push(parent);
    pid = parent;
  }
  return pids;
}

function parentOf(pid: number): number {
  try {
    // The command name in parentheses may hold anything, a ')' too: the fields after the last one count.
    return Number(readFileSync(`/proc/${pid}/stat`, 'latin1').split(')').at(-1)?.trim().split(' ')[1] ?? 0);
  } catch {
    return 0;
  }
}

function isNode(pid: number): boolean {
  try {
    return /^(node|npm)/.test(readFileSync(`/proc/${pid}/comm`, 'latin1'));
  } catch {
    return true;
  }
}
