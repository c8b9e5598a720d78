import { readdirSync, readlinkSync } from 'node:fs';
import { AT, O } from './constants.ts';
import { isErrno } from './errno.ts';
import { closeFd, openAt } from './file.ts';
import { readText } from './kernel-version.ts';
import { parseMountinfo } from './mountinfo.ts';
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

/** Those that have a name: files of nsfs, mounted (`ip netns add`). */
function mountedNamespaces(): readonly NetworkNamespace[] {
  const mounts = parseMountinfo(readText('/proc/thread-self/mountinfo') ?? '');
  return mounts.map(({ root, mountPoint }) => ({ inode: inodeOf(root), path: mountPoint })).filter(({ inode }) => !Number.isNaN(inode));
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
