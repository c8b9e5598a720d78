import { readdirSync, watch, type FSWatcher } from 'node:fs';
import path from 'node:path';
import { ProcessReader } from './process.ts';
import { TASK_EVENT, type TaskEvent } from './task-event.ts';
import type { HostNamespaces } from './tracker.ts';
import type { Watcher } from './watcher.ts';

/** Milliseconds between looks while nothing is heard of, and after a cgroup came or went. */
const idleMs = 1000;
const soonMs = [0, 10, 30, 100, 300];
/** A process may still leave the host's namespaces so long after it started: until then it is looked at again. */
const settledMs = 5000;
/** Cgroup folders that are watched at most: each costs a watch of inotify's. */
const maxFolders = 4096;

interface Seen {
  readonly mntns: number;
  readonly at: number;
}

/**
 * Finds containers by looking into /proc whenever a cgroup comes or goes (fs.watch), and every second: for machines where no
 * programs can be loaded. Containers that are gone within milliseconds may be missed, and nothing is filtered in the kernel.
 */
export class ProcWatcher implements Watcher {
  readonly host: HostNamespaces;
  readonly fullFilters: number = 0;
  readonly #reader: ProcessReader;
  readonly #onEvent: (event: TaskEvent) => void;
  readonly #hostUserns: number;
  readonly #seen = new Map<number, Seen>();
  /** The process that each namespace was reported with. */
  readonly #spaces = new Map<number, TaskEvent>();
  readonly #folders = new Map<string, FSWatcher>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #maxFolders: number;
  /** The next look after a change, how many there were, and how long the last one took. */
  #soon: { readonly timer: NodeJS.Timeout; readonly at: number } | null = null;
  #step = 0;
  #scanMs = 0;
  #serial = 0n;
  #closed = false;

  /** `limits`: milliseconds between looks, and how many folders are watched at most; for tests of either alone. */
  constructor(
    hostRoot: string,
    onEvent: (event: TaskEvent) => void,
    limits: { readonly idleMs?: number; readonly maxFolders?: number } = {},
  ) {
    this.#maxFolders = limits.maxFolders ?? maxFolders;
    this.#reader = new ProcessReader(hostRoot);
    this.#onEvent = onEvent;
    const ns = (kind: 'mnt' | 'net' | 'pid' | 'user'): number => this.#reader.hostNamespace(kind);
    this.host = { mntns: ns('mnt'), netns: ns('net'), pidns: ns('pid') };
    this.#hostUserns = ns('user');
    const timer = setInterval(() => this.scan(), limits.idleMs ?? idleMs);
    timer.unref();
    this.#timers.add(timer);
    for (const root of this.#reader.cgroupRoots) this.#watch(root);
  }

  drain(): boolean {
    return true;
  }

  takeGap(): null {
    return null;
  }

  holds(): boolean {
    return true;
  }

  forgetUnreported(): void {}

  scan(): boolean {
    if (this.#closed) return false;
    const now = performance.now();
    const alive = new Set<number>();
    const pids = this.#reader.pids();
    for (const pid of pids) {
      const before = this.#seen.get(pid);
      const isSettled = before !== undefined && now - before.at > settledMs;
      const mntns = isSettled ? before.mntns : this.#reader.namespace(pid, 'mnt');
      if (mntns === 0) continue;
      if (before === undefined || before.mntns !== mntns) this.#seen.set(pid, { mntns, at: now });
      if (mntns === this.host.mntns) continue;
      alive.add(mntns);
      if (!this.#spaces.has(mntns)) this.#appeared(pid);
    }
    const there = new Set(pids);
    for (const pid of this.#seen.keys()) if (!there.has(pid)) this.#seen.delete(pid);
    for (const [mntns, event] of this.#spaces) {
      if (alive.has(mntns)) continue;
      this.#spaces.delete(mntns);
      this.#onEvent({ ...event, kind: TASK_EVENT.GONE, time: bootNs() });
    }
    return true;
  }

  setReferenced(referenced: boolean): void {
    for (const timer of this.#timers) {
      if (referenced) timer.ref();
      else timer.unref();
    }
  }

  addFilter(): number {
    return -1;
  }

  removeFilter(): void {}

  forget(): void {}

  exited(): null {
    return null;
  }

  forgetExited(): void {}

  count(): number {
    return this.#spaces.size;
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const watcher of this.#folders.values()) watcher.close();
    this.#folders.clear();
  }

  #appeared(pid: number): void {
    const event = this.#reader.event(pid, ++this.#serial, this.#hostUserns);
    if (event === null || event.mntns === this.host.mntns) return;
    this.#spaces.set(event.mntns, event);
    this.#onEvent(event);
  }

  /** Watches a folder of cgroups and those in it. */
  #watch(folder: string): void {
    if (this.#closed || this.#folders.has(folder) || this.#folders.size >= this.#maxFolders) return;
    try {
      const watcher = watch(folder, { persistent: false }, (_, name) => this.#changed(folder, name));
      watcher.on('error', () => this.#unwatch(folder));
      this.#folders.set(folder, watcher);
      for (const entry of readdirSync(folder, { withFileTypes: true })) if (entry.isDirectory()) this.#watch(path.join(folder, entry.name));
    } catch {
      // It is gone already, or there are too many watches: the clock still looks.
    }
  }

  #unwatch(folder: string): void {
    this.#folders.get(folder)?.close();
    this.#folders.delete(folder);
  }

  #changed(folder: string, name: string | null): void {
    if (name !== null) {
      const child = path.join(folder, name);
      this.#unwatch(child);
      this.#watch(child);
    }
    this.#step = 0;
    this.#scanSoon();
  }

  /** Looks several times after a change, and never for more than a third of the time, however much changes. */
  #scanSoon(): void {
    const wait = soonMs[this.#step];
    if (wait === undefined || this.#closed) return;
    const at = performance.now() + Math.max(wait, 2 * this.#scanMs);
    if (this.#soon !== null) {
      if (this.#soon.at <= at) return;
      clearTimeout(this.#soon.timer);
      this.#timers.delete(this.#soon.timer);
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#soon = null;
      this.#step++;
      const before = performance.now();
      this.scan();
      this.#scanMs = performance.now() - before;
      this.#scanSoon();
    }, at - performance.now());
    timer.unref();
    this.#timers.add(timer);
    this.#soon = { timer, at };
  }
}

/** Nanoseconds since boot, by the monotonic clock: near enough where nothing is timed by the kernel. */
function bootNs(): number {
  return Number(process.hrtime.bigint());
}
