import { readlinkSync, statSync, writeSync } from 'node:fs';
import { CLONE, O } from './constants.ts';
import { check, errnoName, SyscallError } from './errno.ts';
import type { NamespaceFd } from './fds.ts';
import { openFile } from './file.ts';
import type { Sys } from './sys.ts';

/** Kinds of namespaces, as /proc/PID/ns names them. */
export type NamespaceKind = 'mnt' | 'pid' | 'net' | 'user' | 'uts' | 'ipc' | 'cgroup' | 'time';

const cloneFlags: Readonly<Record<NamespaceKind, number>> = {
  mnt: CLONE.CLONE_NEWNS,
  pid: CLONE.CLONE_NEWPID,
  net: CLONE.CLONE_NEWNET,
  user: CLONE.CLONE_NEWUSER,
  uts: CLONE.CLONE_NEWUTS,
  ipc: CLONE.CLONE_NEWIPC,
  cgroup: CLONE.CLONE_NEWCGROUP,
  time: CLONE.CLONE_NEWTIME,
};

/** Opens a process's namespace; the descriptor keeps the namespace alive until closed. */
export function openNamespace(sys: Sys, pid: number | 'self', kind: NamespaceKind): NamespaceFd {
  return openFile(sys, `/proc/${procName(pid)}/ns/${kind}`, O.O_RDONLY) as number as NamespaceFd;
}

/** The inode number of a process's namespace, or null where it cannot be read. */
export function namespaceInode(pid: number | 'self', kind: NamespaceKind): number | null {
  try {
    return statSync(`/proc/${procName(pid)}/ns/${kind}`).ino;
  } catch {
    return null;
  }
}

/** Inode numbers of the namespaces that a system boots with (include/linux/proc_ns.h); mnt and net have none of their own. */
const initialInodes: Readonly<Partial<Record<NamespaceKind, number>>> = {
  ipc: 0xefffffff,
  uts: 0xeffffffe,
  user: 0xeffffffd,
  pid: 0xeffffffc,
  cgroup: 0xeffffffb,
  time: 0xeffffffa,
};

/** Whether this process is in the initial namespace of a kind; null where that cannot be told. */
export function inInitialNamespace(kind: keyof typeof initialInodes): boolean | null {
  const initial = initialInodes[kind];
  if (initial === undefined) return null;
  try {
    const match = /\[(\d+)\]$/.exec(readlinkSync(`/proc/thread-self/ns/${kind}`));
    return match === null ? null : Number(match[1]) === initial;
  } catch {
    return null;
  }
}

/** Moves this thread into a namespace; every thread has its own, so Node's thread pool stays where it was. */
export function setns(sys: Sys, fd: number, kind: NamespaceKind): void {
  check(sys.call('setns', fd, cloneFlags[kind]), 'setns', { what: `cannot enter a namespace of kind ${kind}`, where: { fd } });
}

/** Gives this thread new namespaces. */
export function unshare(sys: Sys, ...kinds: readonly NamespaceKind[]): void {
  const flags = kinds.reduce((all, kind) => all | cloneFlags[kind], 0);
  check(sys.call('unshare', flags), 'unshare', { what: `cannot make new namespaces (${kinds.join(', ')})` });
}

/** Kinds of namespaces that a thread can leave again. */
type PassingKind = 'net' | 'uts' | 'ipc' | 'cgroup';

/** What {@link tryInNamespace} gives: a value, or the negative errno of entering the namespace. */
export type Visit<T> = { readonly entered: true; readonly value: T } | { readonly entered: false; readonly errno: number };

/**
 * Runs `work`, which must not wait, in another namespace and comes back, whether or not it throws. Where there is no way back
 * the process ends by SIGABRT: whatever it did next it would do in the wrong place.
 */
export function tryInNamespace<T>(sys: Sys, fd: number, kind: PassingKind, work: () => T): Visit<T> {
  const home = openNamespace(sys, 'self', kind);
  try {
    const errno = sys.call('setns', fd, cloneFlags[kind]);
    if (errno < 0) return { entered: false, errno };
    try {
      return { entered: true, value: work() };
    } finally {
      const back = sys.call('setns', home, cloneFlags[kind]);
      if (back < 0) {
        writeSync(2, `rawbpf: no way back from a namespace of kind ${kind}: setns gave ${errnoName(back)}; ending here\n`);
        process.abort();
      }
    }
  } finally {
    sys.call('close', home);
  }
}

/** As {@link tryInNamespace}, but throws a SyscallError where the namespace cannot be entered. */
export function inNamespace<T>(sys: Sys, fd: number, kind: PassingKind, work: () => T): T {
  const visit = tryInNamespace(sys, fd, kind, work);
  if (visit.entered) return visit.value;
  throw new SyscallError('setns', visit.errno, { what: `cannot enter a namespace of kind ${kind}`, where: { fd } });
}

/** Namespaces belong to threads, and a worker's may differ from the main thread's. */
function procName(pid: number | 'self'): string {
  return pid === 'self' ? 'thread-self' : String(pid);
}
