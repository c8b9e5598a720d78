import { readdirSync, readFileSync, statSync } from 'node:fs';
import { parseMountinfo } from '../../sys/mountinfo.ts';
import type { Container } from './container.ts';
import { pathOf, TASK_EVENT, type CgroupLevel, type CgroupPlace, type TaskEvent } from './task-event.ts';

/** USER_HZ. */
const nsPerTick = 1e7;

/** A hierarchy of cgroups and where it is mounted; null where it is not. */
interface Hierarchy {
  readonly id: number;
  readonly mount: string | null;
}

/** Reads processes as /proc shows them, for kernels that take no programs and for what ran before them. */
export class ProcessReader {
  readonly #root: string;
  readonly #proc: string;
  #mounts: ReadonlyMap<string, string> | null = null;

  /** `root` is where the host's root is mounted; empty for this one. */
  constructor(root: string) {
    this.#root = root;
    this.#proc = `${root}/proc`;
  }

  /** Ids of all processes that can be seen; none where there is no /proc. */
  pids(): readonly number[] {
    try {
      return readdirSync(this.#proc)
        .filter((name) => /^\d+$/.test(name))
        .map(Number);
    } catch {
      return [];
    }
  }

  /** The inode of a process's namespace; 0 where it cannot be seen. */
  namespace(pid: number, kind: 'mnt' | 'net' | 'pid' | 'user'): number {
    try {
      return statSync(`${this.#proc}/${pid}/ns/${kind}`).ino;
    } catch {
      return 0;
    }
  }

  /** When a process started, in clock ticks since boot; null where it is gone or has ended. */
  startTicks(pid: number): bigint | null {
    const fields = this.#stat(pid);
    return fields === null || fields[0] === 'Z' || fields[0] === 'X' ? null : BigInt(fields[19] ?? 0);
  }

  /** A process's arguments; none where it is gone. */
  argumentsOf(pid: number): readonly string[] {
    return (this.#read(`${pid}/cmdline`) ?? '').split('\0');
  }

  /** Whether these are the host's processes with the host's ids: only there the second one is the kernel's first thread. */
  get seesHostPids(): boolean {
    return this.#stat(2)?.[1] === '0' && this.#read('2/comm') === 'kthreadd\n';
  }

  /** The host's namespaces; 0 for those that cannot be seen. The kernel's own thread has them too, where the first process is out of reach. */
  hostNamespace(kind: 'mnt' | 'net' | 'pid' | 'user'): number {
    return this.namespace(1, kind) || (this.seesHostPids ? this.namespace(2, kind) : 0);
  }

  /** A process of each mount namespace that is not known; their numbers are all that tells these apart. */
  *ofNamespaces(isKnown: (mntns: number) => boolean): Generator<TaskEvent> {
    const seen = new Set<number>();
    const hostUserns = this.hostNamespace('user');
    for (const pid of this.pids()) {
      const mntns = this.namespace(pid, 'mnt');
      if (mntns === 0 || seen.has(mntns) || isKnown(mntns)) continue;
      seen.add(mntns);
      const event = this.event(pid, 0n, hostUserns);
      if (event !== null) yield event;
    }
  }

  /** Whether a container's processes have ended; false where they cannot be seen. */
  isGone({ pid, mntns, pidns, startTimeTicks }: Container, hostPidns: number): boolean {
    if (!this.seesHostPids) return false;
    if (pid !== 0 && this.startTicks(pid) === startTimeTicks) return false;
    // With processes of its own it ends with the first; else with the last.
    if (pid !== 0 && pidns !== hostPidns) return true;
    return !this.pids().some((each) => this.namespace(each, 'mnt') === mntns);
  }

  /** A process as the programs would report it, with `unique` for its mount namespace; null where it is gone. */
  event(pid: number, unique: bigint, hostUserns: number): TaskEvent | null {
    const stat = this.#stat(pid);
    const status = this.#read(`${pid}/status`);
    const mntns = this.namespace(pid, 'mnt');
    if (stat === null || status === null || mntns === 0) return null;
    const nsPids = (/^NSpid:\s+(.+)$/m.exec(status)?.[1] ?? '').split(/\s+/).map(Number);
    const parent = Number(stat[1]);
    const start = Number(stat[19]) * nsPerTick;
    const places = this.#places(pid);
    const parentCgroup = this.#read(`${parent}/cgroup`);
    return {
      kind: TASK_EVENT.NEW,
      time: start,
      unique,
      start,
      mntns,
      fromMntns: 0,
      netns: this.namespace(pid, 'net'),
      pidns: this.namespace(pid, 'pid'),
      pidnsParent: 0,
      pidnsLevel: Math.max(0, nsPids.length - 1),
      pid,
      tid: pid,
      nsPid: nsPids.at(-1) ?? 0,
      parentPid: parent,
      usernsLevel: 0,
      usernsOwner: this.#usernsOwner(pid, hostUserns),
      ownCgroup: parentCgroup !== null && parentCgroup !== this.#read(`${pid}/cgroup`),
      comm: (this.#read(`${pid}/comm`) ?? '').trimEnd(),
      parentComm: (this.#read(`${parent}/comm`) ?? '').trimEnd(),
      places,
    };
  }

  /** Whom root of a process's user namespace is outside: the maker of those that users make. 0 in the first one. */
  #usernsOwner(pid: number, hostUserns: number): number {
    if (this.namespace(pid, 'user') === hostUserns) return 0;
    const outside = /^\s*0\s+(\d+)/m.exec(this.#read(`${pid}/uid_map`) ?? '')?.[1];
    return outside === undefined ? -1 : Number(outside);
  }

  #places(pid: number): readonly CgroupPlace[] {
    const places: CgroupPlace[] = [];
    for (const line of (this.#read(`${pid}/cgroup`) ?? '').split('\n')) {
      const [, number, controllers = '', path = ''] = /^(\d+):([^:]*):(.*)$/.exec(line) ?? [];
      if (number === undefined) continue;
      // Seen from another cgroup namespace, paths begin with its way to the root.
      const names = path.split('/').filter((name) => name !== '' && name !== '..');
      const place = this.#place({ id: Number(number), mount: this.#mountOf(controllers) }, names);
      if (place.hierarchy === 0) places.unshift(place);
      else if (names.length > 0) places.push(place);
    }
    return places;
  }

  #place({ id, mount }: Hierarchy, names: readonly string[]): CgroupPlace {
    let folder = mount;
    let inode = 0n;
    const levels = names.map((name): CgroupLevel => {
      folder = folder === null ? null : `${folder}/${name}`;
      try {
        const stat = folder === null ? null : statSync(folder, { bigint: true });
        inode = stat?.ino ?? 0n;
        return { name, owner: Number(stat?.uid ?? 0n) };
      } catch {
        return { name, owner: 0 };
      }
    });
    return { hierarchy: id, id: inode, path: pathOf(levels), levels };
  }

  /** Where a hierarchy is mounted, by its controllers as /proc/PID/cgroup lists them; empty for v2. */
  #mountOf(controllers: string): string | null {
    this.#mounts ??= cgroupMounts(this.#read('1/mountinfo') ?? this.#read('self/mountinfo') ?? '');
    const mount = this.#mounts.get(controllers);
    return mount === undefined ? null : `${this.#root}${mount}`;
  }

  /** Folders that hold the cgroups of containers, for watching. */
  get cgroupRoots(): readonly string[] {
    this.#mountOf('');
    const wanted = ['', 'pids', 'memory', 'name=systemd', 'devices', 'freezer'];
    return wanted.flatMap((name) => this.#mounts?.get(name) ?? []).map((mount) => `${this.#root}${mount}`);
  }

  /** Fields of /proc/PID/stat from the third on: the second, a name, may hold anything. */
  #stat(pid: number): readonly string[] | null {
    const text = this.#read(`${pid}/stat`);
    return text === null ? null : text.slice(text.lastIndexOf(')') + 2).split(' ');
  }

  #read(file: string): string | null {
    try {
      return readFileSync(`${this.#proc}/${file}`, 'latin1');
    } catch {
      return null;
    }
  }
}

/** Mount points of cgroup hierarchies by the controllers that /proc/PID/cgroup names them by; `` is v2. */
export function cgroupMounts(mountinfo: string): ReadonlyMap<string, string> {
  const mounts = new Map<string, string>();
  for (const { type, mountPoint, superOptions } of parseMountinfo(mountinfo)) {
    if (type === 'cgroup2') mounts.set('', mountPoint);
    if (type !== 'cgroup') continue;
    const named = superOptions.find((option) => option.startsWith('name='));
    const controllers = superOptions.filter(
      (option) => !['rw', 'ro', 'xattr', 'clone_children', 'noprefix'].includes(option) && !option.includes('='),
    );
    mounts.set(named ?? controllers.join(','), mountPoint);
  }
  return mounts;
}
