import { setTimeout as pause } from 'node:timers/promises';
import type { BpfMap } from '../../bpf/map/map.ts';
import { Kernel } from '../../bpf/kernel/kernel.ts';
import { inInitialNamespace } from '../../sys/namespaces.ts';
import type { ContainerFields, ContainerNames, EpochTime } from '../../gadget/context.ts';
import { formatEpoch } from '../../gadget/special/epoch.ts';
import { WallClock } from '../time.ts';
import { BootClock } from './boot-clock.ts';
import { Changes } from './changes.ts';
import type { Container, ContainerChange, ContainerNetns, ContainerSet } from './container.ts';
import type { NameSource } from './names.ts';
import { Naming } from './naming.ts';
import { groupByNetns } from './netns-index.ts';
import type { ContainerRecord } from './record.ts';
import { ContainerRegistry, rememberNs } from './registry.ts';
import type { Space } from './spaces.ts';
import { ProcessReader } from './process.ts';
import { ProcWatcher } from './proc-watcher.ts';
import { openWatcher } from './open-watcher.ts';
import type { Watcher } from './watcher.ts';

/** How a {@link ContainerCollection} is made; all are optional. */
export interface ContainerCollectionOptions {
  /** The kernel to load into; a new one unless given. It stays the caller's. */
  readonly kernel?: Kernel;
  /** Where names come from; null for ids alone. The collection closes it. */
  readonly names?: NameSource | null;
  /** Where the host's root is mounted, when running in a container; `/` unless said. */
  readonly hostRoot?: string;
  /** Name of this Kubernetes node. */
  readonly node?: string;
  /** When to look into /proc instead of loading programs: only where they cannot be loaded (`fallback`), `always`, or, unless said, `never`. */
  readonly polling?: 'never' | 'fallback' | 'always';
  /** How much the programs may report while this process has no time, is stopped, or waits: a power of two, 2 MiB unless said; a container takes some 3 KiB. */
  readonly bufferBytes?: number;
  /** Told what is missing: no runtime, no programs, lost events. */
  readonly onNotice?: (message: string) => void;
}

/** Milliseconds between looks for containers that went unseen. */
const sweepMs = 5000;
/** Milliseconds until a report that was being written when it was to be read is looked at again. */
const behindMs = 2;
/** Milliseconds that the first names are waited for. */
const readyMs = 2000;

/**
 * The containers of this machine: known before anything runs in them, named as soon as a runtime says how they are called.
 *
 * @example
 * import { ContainerCollection, machineNames } from 'rawbpf';
 * export async function follow(): Promise<void> {
 *   const containers = ContainerCollection.open({ names: machineNames() });
 *   await containers.ready;
 *   console.log(containers.list.map(({ id }) => id));
 *   for await (const { type, container } of containers.changes()) console.log(type, container.fields.runtime.containerName);
 * }
 */
export class ContainerCollection implements ContainerSet, ContainerNames {
  readonly #options: ContainerCollectionOptions;
  readonly #kernel: Kernel;
  readonly #tracker: Watcher;
  readonly #processes: ProcessReader;
  readonly #registry: ContainerRegistry;
  readonly #naming: Naming | null;
  readonly #changes: Changes;
  readonly #decided = new Set<(spaces: readonly Space[]) => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #clock: BootClock;
  #lostEvents = 0;
  #fullFilters = 0;
  #drainedUntil = 0;
  /** When the last sweeps were, in nanoseconds since boot. */
  readonly #sweeps: number[] = [];
  /** Something was left when the programs' reports were last read. */
  #behind = false;
  /** A runtime has told of containers in pods, whether they run or not. */
  #podsAreKnown = false;
  #ready: Promise<void> = Promise.resolve();
  #closed = false;

  private constructor(options: ContainerCollectionOptions, kernel: Kernel) {
    this.#options = options;
    this.#kernel = kernel;
    const hostRoot = options.hostRoot ?? '';
    const clock = new WallClock(kernel.sys);
    this.#clock = new BootClock(kernel.sys);
    this.#changes = new Changes((any) => this.#tracker.setReferenced(any));
    this.#naming = options.names === undefined || options.names === null ? null : new Naming(options.names);
    this.#processes = new ProcessReader(hostRoot);
    // The last that may throw: nothing has to be undone where it does.
    this.#tracker = openWatcher({
      kernel,
      hostRoot,
      polling: options.polling ?? 'never',
      onEvent: (event) => this.#registry.take(event),
      onBatchEnd: () => this.#recover(),
      notice: (message) => this.#notice(message),
      bufferBytes: options.bufferBytes,
    });
    this.#registry = new ContainerRegistry({
      host: this.#tracker.host,
      node: options.node ?? '',
      timeText: (bootNs) => epochText(clock, bootNs),
      polled: this.#tracker instanceof ProcWatcher,
      processes: this.#processes,
      naming: this.#naming,
      changes: this.#changes,
      after: (ms, work) => this.#after(ms, work),
      forget: (mntns, unique) => this.#tracker.forget(mntns, unique),
      decided: (spaces) => this.#tellDecided(spaces),
    });
  }

  /**
   * Loads the programs and looks at what runs already. Throws what loading throws: SyscallError with the missing capability,
   * UnsupportedError for a kernel without ring buffers; then `names` is closed, too.
   */
  static open(options: ContainerCollectionOptions = {}): ContainerCollection {
    const kernel = options.kernel ?? new Kernel();
    let collection: ContainerCollection | null = null;
    try {
      collection = new ContainerCollection(options, kernel);
      collection.#start();
      return collection;
    } catch (error) {
      collection?.close();
      options.names?.close();
      if (options.kernel === undefined) kernel.close();
      throw error;
    }
  }

  #start(): void {
    const { names } = this.#options;
    this.#tracker.scan();
    this.#tracker.drain();
    this.#scanProcesses();
    this.#recover();
    names?.onEvent?.((event) => {
      if (event.type !== 'names') return;
      this.#naming?.remember(event.id, event.names);
      const record = this.#registry.byId(event.id);
      // One that is being asked for gets the answer, which says more.
      if (record !== null && !record.naming) this.#registry.name(record, event.names);
    });
    this.#every(sweepMs, () => this.#sweep());
    this.#ready = this.#firstNames();
  }

  /** Resolves when the containers that were there have their names, or after two seconds. */
  get ready(): Promise<void> {
    return this.#ready;
  }

  get list(): readonly Container[] {
    this.sync();
    return [...this.#registry.live].filter(({ sandbox, announced }) => !sandbox && announced).map(({ snapshot }) => snapshot);
  }

  get netns(): readonly ContainerNetns[] {
    return groupByNetns(this.list);
  }

  changes(): AsyncIterable<ContainerChange> {
    return this.#changes.stream();
  }

  onChange(listener: (change: ContainerChange) => void): () => void {
    return this.#changes.on(listener);
  }

  get columns(): 'none' | 'runtime' | 'kubernetes' {
    if (this.#podsAreKnown || this.#registry.kubernetes) return 'kubernetes';
    return this.#registry.size > 0 || this.#options.names?.present === true ? 'runtime' : 'none';
  }

  get version(): number {
    return this.#registry.version;
  }

  byMntns(inode: number, tid: number, bootNs: number): ContainerFields | null {
    const space = this.spaceOf(inode, tid, bootNs);
    const record = space?.container ?? null;
    return space === null || record === null || record.sandbox ? null : record.fieldsFor(space.innerId);
  }

  byNetns(inode: number, bootNs: number): ContainerFields | null {
    if (inode === 0 || inode === this.#tracker.host.netns) return null;
    this.sync(bootNs);
    return this.#registry.byNetns.fields(inode, bootNs, this.version);
  }

  /** The mount namespace of an event; see {@link ContainerNames.byMntns}. Null for the host's, and for one never seen. */
  spaceOf(inode: number, tid: number, bootNs: number): Space | null {
    if (inode === this.#tracker.host.mntns) return null;
    this.sync(bootNs);
    if (inode !== 0) return this.#registry.spaces.at(inode, bootNs);
    const exited = tid === 0 ? null : this.#tracker.exited(tid);
    return exited === null ? null : this.#registry.spaces.exact(exited.mntns, exited.unique);
  }

  /** Containers in a network namespace at a time in nanoseconds since boot (0 for now); the host's has none. */
  inNetns(inode: number, bootNs: number): readonly ContainerRecord[] {
    if (inode === 0 || inode === this.#tracker.host.netns) return [];
    this.sync(bootNs);
    return this.#registry.byNetns.at(inode, bootNs);
  }

  /**
   * Takes what the programs have told until now, if that is not done: whatever an event of this time says about namespaces has
   * been told before it. False where not all could be taken: who asked is told by {@link onDecided} when to ask again.
   */
  sync(bootNs: number = Number.POSITIVE_INFINITY): boolean {
    if (bootNs !== 0 && bootNs <= this.#drainedUntil) return true;
    // Read before: what comes while reading may not be seen.
    const now = this.#clock.now();
    // What a scan finds after a loss has to be read, too.
    if (!this.#tracker.drain() || (this.#recover() && !this.#tracker.drain())) {
      this.#catchUp();
      return false;
    }
    this.#drainedUntil = now;
    return true;
  }

  /** Whether all is known that happened to a mount or network namespace until then; see {@link sync}. */
  isCurrent(inode: number, bootNs: number): boolean {
    const { mntns, netns } = this.#tracker.host;
    return inode === mntns || inode === netns || this.sync(bootNs);
  }

  /** Told which namespaces were decided about, at once, or that events may be judged again; returns how to stop it. */
  onDecided(listener: (spaces: readonly Space[]) => void): () => void {
    this.#decided.add(listener);
    return () => void this.#decided.delete(listener);
  }

  /** All mount namespaces that are remembered. */
  get spaces(): Iterable<Space> {
    this.sync();
    return this.#registry.spaces;
  }

  /** Has every new mount namespace put into a map of u64 inode numbers, in the kernel; see {@link Tracker.addFilter}. */
  addFilter(map: BpfMap): number {
    return this.#tracker.addFilter(map);
  }

  removeFilter(slot: number): void {
    this.#tracker.removeFilter(slot);
  }

  /** Takes a namespace out of a filter, unless its number belongs to another one by now. */
  filterOut(space: Space, slot: number): void {
    this.#tracker.forget(space.mntns, space.unique, slot);
  }

  /** What the programs and this object keep, for tests of leaks. */
  get sizes(): Readonly<Record<'live' | 'spaces' | 'known' | 'exiting' | 'leaving', number>> {
    const count = (map: 'known' | 'exiting' | 'leaving'): number => this.#tracker.count(map);
    return {
      live: this.#registry.size,
      spaces: this.#registry.spaces.size,
      known: count('known'),
      exiting: count('exiting'),
      leaving: count('leaving'),
    };
  }

  /** Detaches everything; loops over changes end. Harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#naming?.close();
    this.#options.names?.close();
    this.#tracker.close();
    this.#changes.close();
    if (this.#options.kernel === undefined) this.#kernel.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #catchUp(): void {
    if (this.#behind) return;
    this.#behind = true;
    this.#after(behindMs, () => {
      this.#behind = false;
      if (this.sync()) this.#tellDecided([]);
    });
  }

  #tellDecided(spaces: readonly Space[]): void {
    for (const listener of this.#decided) listener(spaces);
  }

  /**
   * Where reports had no room: what may be another's now is nobody's, what is there is looked for again, and the loss is told.
   * False where nothing was lost.
   */
  #recover(): boolean {
    const gap = this.#tracker.takeGap();
    if (gap === null) return false;
    this.#drainedUntil = 0;
    this.#lostEvents += gap.count;
    this.#registry.missed(gap, (space) => this.#tracker.holds(space.mntns, space.unique));
    this.#registry.removeEnded(
      (record) => this.#isGone(record),
      () => this.#tracker.drain(),
      gap.since,
    );
    this.#tracker.scan();
    this.#scanProcesses();
    this.#tracker.forgetUnreported();
    this.#notice(
      `${this.#lostEvents} reports of namespaces had no room: containers that came and went in those ${((gap.until - gap.since) / 1e9).toFixed(1)} s may have no name`,
    );
    return true;
  }

  #isGone({ snapshot }: ContainerRecord): boolean {
    return this.#processes.isGone(snapshot, this.#tracker.host.pidns);
  }

  /** Containers whose end nobody reported, and what need not be remembered any longer. */
  #sweep(): void {
    this.#clock.measure();
    this.sync();
    const { fullFilters } = this.#tracker;
    if (fullFilters > this.#fullFilters) this.#notice('more containers are there than the filter has room for: events of some are missing');
    this.#fullFilters = fullFilters;
    const now = this.#clock.now();
    // Sweeps are counted, too: a process that was stopped still has the events of that time before it.
    this.#sweeps.push(now);
    if (this.#sweeps.length > rememberNs / 1e6 / sweepMs) {
      const horizon = this.#sweeps.shift() ?? 0;
      this.#registry.spaces.prune(horizon);
      this.#tracker.forgetExited(horizon);
    }
    for (const record of this.#registry.live) if (record.isToBeAskedFor()) this.#registry.askAgain(record);
    this.#registry.removeEnded(
      (record) => this.#isGone(record),
      () => this.sync(),
      now,
    );
  }

  /** In a container the kernel's list of tasks has only its own: the host's are in the /proc that it was given. */
  #scanProcesses(): void {
    const { hostRoot } = this.#options;
    if (this.#tracker instanceof ProcWatcher || inInitialNamespace('pid') === true) return;
    if (hostRoot === undefined || !this.#processes.seesHostPids) {
      if (this.#lostEvents > 0) return;
      this.#notice("containers that run already cannot be seen from this pid namespace: mount the host's /proc and say --host-root DIR");
      return;
    }
    const isKnown = (mntns: number): boolean => mntns === this.#tracker.host.mntns || this.#registry.spaces.current(mntns) !== null;
    for (const event of this.#processes.ofNamespaces(isKnown)) this.#registry.take(event);
  }

  async #firstNames(): Promise<void> {
    const { names } = this.#options;
    if (names === undefined || names === null) return;
    // Who waits for this may have nothing else that keeps the process alive.
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, readyMs)));
    const named = (async () => {
      for (const each of await names.list()) {
        if (each.k8s !== null) this.#podsAreKnown = true;
        this.#naming?.remember(each.containerId, each);
        const record =
          this.#registry.byId(each.containerId) ??
          [...this.#registry.live].find(({ pid, hasId }) => !hasId && pid !== 0 && pid === each.containerPid);
        if (record !== undefined && !this.#closed) this.#registry.name(record, each);
      }
      while (!this.#closed && [...this.#registry.live].some(({ naming }) => naming)) await pause(20);
    })();
    await Promise.race([named, timeout]);
    clearTimeout(timer);
    if (!names.present && !this.#closed) this.#notice('no container runtime answers here: containers have ids, and no names');
  }

  #notice(message: string): void {
    this.#options.onNotice?.(message);
  }

  #after(ms: number, work: () => unknown): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#closed) work();
    }, ms);
    timer.unref();
    this.#timers.add(timer);
  }

  #every(ms: number, work: () => void): void {
    const timer = setInterval(work, ms);
    timer.unref();
    this.#timers.add(timer);
  }
}

/** RFC 3339 of a time in nanoseconds since boot. */
function epochText(clock: WallClock, bootNs: number): string {
  const moment: EpochTime = { seconds: 0, nanoseconds: 0 };
  clock.toEpoch(Math.floor(bootNs / 0x100000000), bootNs % 0x100000000, moment);
  return formatEpoch(moment);
}
