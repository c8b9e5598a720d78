import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { AT, O } from './constants.ts';
import { isErrno } from './errno.ts';
import { closeFd, openAt } from './file.ts';
import { tryInNamespace } from './namespaces.ts';
import type { Sys } from './sys.ts';

/** A network namespace and a file that it can be opened by. */
export interface NetworkNamespace {
  readonly inode: number;
  readonly path: string;
}

/**
 * The network namespaces that some process or thread is in, or that have a name in our mount namespace (`ip netns add`); ours
 * is the first. One that only a descriptor of another process holds is not found.
 */
export function networkNamespaces(): readonly NetworkNamespace[] {
  const found = new Map<number, string>();
  const add = (inode: number, path: string): void => {
    if (Number.isSafeInteger(inode) && !found.has(inode)) found.set(inode, path);
  };
  const look = (path: string): void => {
    try {
      add(inodeOf(readlinkSync(path)), path);
    } catch {
      // It has ended, or is not ours to look at.
    }
  };
  look('/proc/thread-self/ns/net');
  for (const pid of numbersIn('/proc')) for (const tid of numbersIn(`/proc/${pid}/task`)) look(`/proc/${pid}/task/${tid}/ns/net`);
  for (const { inode, path } of mountedNamespaces()) add(inode, path);
  return Array.from(found, ([inode, path]) => ({ inode, path }));
}

/** `net:[4026531840]`. */
function inodeOf(link: string): number {
  return Number(/^net:\[(\d+)\]$/.exec(link)?.[1]);
}

function numbersIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => /^\d+$/.test(name));
  } catch {
    return [];
  }
}

/** 36 35 0:4 net:[4026532000] /run/netns/blue rw - nsfs nsfs rw; spaces in paths are written as \040. */
function mountedNamespaces(): readonly NetworkNamespace[] {
  try {
    const lines = readFileSync('/proc/thread-self/mountinfo', 'utf8').split('\n');
    return lines.flatMap((line) => {
      const [, , , root = '', path = ''] = line.split(' ');
      const inode = inodeOf(root);
      return Number.isNaN(inode)
        ? []
        : [{ inode, path: path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))) }];
    });
  } catch {
    return [];
  }
}

/**
 * Does something once in each network namespace and gives the results; `work` must not wait. Namespaces that have gone since they
 * were listed are passed over, those that may not be entered are told to `refused`.
 */
export function inEachNetworkNamespace<T>(
  sys: Sys,
  work: () => T,
  refused: (namespace: NetworkNamespace, errno: number) => void,
): readonly T[] {
  const results: T[] = [];
  const seen = new Set<number>();
  for (const [i, namespace] of networkNamespaces().entries()) {
    // Where we are already.
    if (i === 0) {
      seen.add(namespace.inode);
      results.push(work());
      continue;
    }
    const fd = openAt(sys, AT.AT_FDCWD, namespace.path, O.O_RDONLY);
    if (fd < 0) {
      if (!isErrno(fd, 'ENOENT') && !isErrno(fd, 'ESRCH')) refused(namespace, fd);
      continue;
    }
    try {
      // The process may have moved since.
      const inode = inodeOf(readlinkSync(`/proc/thread-self/fd/${fd}`));
      if (seen.has(inode)) continue;
      seen.add(inode);
      const visit = tryInNamespace(sys, fd, 'net', work);
      if (visit.entered) results.push(visit.value);
      else refused(namespace, visit.errno);
    } finally {
      closeFd(sys, fd);
    }
  }
  return results;
}
