import { existsSync } from 'node:fs';
import { toCString } from '../bytes/text.ts';
import { UnsupportedError } from '../error.ts';
import { FS } from './constants.ts';
import { SyscallError } from './errno.ts';
import type { DirFd } from './fds.ts';
import { closeFd, OwnedFd } from './file.ts';
import { readText } from './kernel-version.ts';
import { parseMountinfo } from './mountinfo.ts';
import type { Sys } from './sys.ts';

/** Kernel file systems that BPF has to do with. */
export type KernelFs = 'tracefs' | 'debugfs' | 'bpf' | 'cgroup2' | 'securityfs';

/** A kernel file system that can be used: mounted by somebody, or a mount of ours that has no place in the tree. */
export interface FsAccess {
  /** A directory: `/sys/kernel/tracing`, or `/proc/self/fd/N` of a detached mount. Valid until close(), in this process only. */
  readonly path: string;
  /** Whether it is mounted in the tree. */
  readonly mounted: boolean;
  close(): void;
  [Symbol.dispose](): void;
}

const usualPlaces: Readonly<Record<KernelFs, string>> = {
  tracefs: '/sys/kernel/tracing',
  debugfs: '/sys/kernel/debug',
  bpf: '/sys/fs/bpf',
  cgroup2: '/sys/fs/cgroup',
  securityfs: '/sys/kernel/security',
};

/** Where a file system is mounted as a whole, the usual place first; null where nowhere. */
export function findMount(type: KernelFs, mountinfo: string | null = readText('/proc/self/mountinfo')): string | null {
  if (mountinfo === null) return null;
  const points = parseMountinfo(mountinfo)
    .filter((entry) => entry.type === type && entry.root === '/')
    .map((entry) => entry.mountPoint);
  return points.includes(usualPlaces[type]) ? usualPlaces[type] : (points[0] ?? null);
}

/**
 * A mount that hangs nowhere in the tree and goes with its descriptor (fsopen(2), Linux 5.2): its files are reached
 * through /proc/self/fd/N. Returns the directory's descriptor or a negative errno.
 */
export function detachedMount(sys: Sys, type: KernelFs, options: Readonly<Record<string, string>> = {}): number {
  const context = sys.call('fsopen', toCString(type), FS.FSOPEN_CLOEXEC);
  if (context < 0) return context;
  try {
    for (const [name, value] of Object.entries(options)) {
      const set = sys.call('fsconfig', context, FS.FSCONFIG_SET_STRING, toCString(name), toCString(value), 0);
      if (set < 0) return set;
    }
    const created = sys.call('fsconfig', context, FS.FSCONFIG_CMD_CREATE, 0, 0, 0);
    if (created < 0) return created;
    return sys.call('fsmount', context, FS.FSMOUNT_CLOEXEC, 0);
  } finally {
    closeFd(sys, context);
  }
}

/** Access to a kernel file system, mounted or detached; throws a {@link SyscallError} that says how to mount it where neither works. */
export function openFs(sys: Sys, type: KernelFs): FsAccess {
  const place = sys.real ? findMount(type) : null;
  if (place !== null) return new MountedFs(place);
  const fd = detachedMount(sys, type);
  if (fd < 0) {
    throw new SyscallError('fsopen', fd, {
      what: `${type} is not mounted and cannot be mounted for this process alone`,
      next: `mount it: mount -t ${type} ${type === 'bpf' ? 'bpffs' : type} ${usualPlaces[type]}`,
    });
  }
  if (sys.real && !existsSync('/proc/self/fd')) {
    closeFd(sys, fd);
    throw new UnsupportedError({
      code: 'E_PROC',
      what: `${type} is not mounted, and without /proc a mount for this process alone cannot be reached`,
      next: `mount /proc: mount -t proc proc /proc`,
    });
  }
  return new DetachedFs(sys, fd as DirFd);
}

class MountedFs implements FsAccess {
  readonly path: string;
  readonly mounted = true;

  constructor(path: string) {
    this.path = path;
  }

  close(): void {}

  [Symbol.dispose](): void {}
}

class DetachedFs implements FsAccess {
  readonly path: string;
  readonly mounted = false;
  readonly #fd: OwnedFd<DirFd>;

  constructor(sys: Sys, fd: DirFd) {
    this.path = `/proc/self/fd/${fd}`;
    this.#fd = new OwnedFd(sys, fd);
  }

  close(): void {
    this.#fd.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
