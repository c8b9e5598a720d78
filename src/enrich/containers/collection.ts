import { setTimeout as pause } from 'node:timers/promises';
import type { BpfMap } from '../../bpf/map/map.ts';
import { Kernel } from '../../bpf/kernel/kernel.ts';
import { inInitialNamespace } from '../../sys/namespaces.ts';
import type { ContainerFields, ContainerNames, EpochTime } from '../../gadget/context.ts';
import { formatEpoch } from '../../gadget/special/epoch.ts';
import { WallClock } from '../time.ts';
import { mergeNames } from '../runtimes/join.ts';
import { BootClock } from './boot-clock.ts';
import { Changes } from './changes.ts';
import type { Container, ContainerChange, ContainerNetns, ContainerSet } from './container.ts';
import { identityOfCgroups, identityOfProcess, runtimeOfShim, type Identity } from './identity.ts';
import type { NameSource } from './names.ts';
import { Naming } from './naming.ts';
import { groupByNetns, NetnsIndex } from './netns-index.ts';
import { ContainerRecord, type RecordWorld } from './record.ts';
import { SpaceHistory, type Space } from './spaces.ts';
import { TASK_EVENT, type TaskEvent } from './task-event.ts';
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
  /** Told what is missing: no runtime, no programs, lost events. */
  readonly onNotice?: (message: string) => void;
}

/** Milliseconds that a container which is gone is kept in the filters, for what its last processes still do. */
const lingerMs = 2000;
/** Nanoseconds that namespaces which are gone are remembered for late events. */
const rememberNs = 30e9;
/** Milliseconds between looks for containers that went unseen. */
const sweepMs = 5000;
/** Milliseconds after which a namespace in which no program was started is nobody's container. */
const setupMs = 10_000;
/** Milliseconds until a report that was being written when it was to be read is looked at again. */
const behindMs = 2;
/** Milliseconds after which a container whose program was not seen to start has the id that it has. */
const settleMs = 2000;
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
  /** Resolves when the containers that were there have their names, or after two seconds. */
  readonly ready: Promise<void>;
  readonly #options: ContainerCollectionOptions;
  readonly #kernel: Kernel;
  readonly #tracker: Watcher;
  readonly #processes: ProcessReader;
  readonly #spaces = new SpaceHistory();
  /** All that are there. */
  readonly #live = new Map<number, ContainerRecord>();
  readonly #byId = new Map<string, ContainerRecord>();
  readonly #byNetns = new NetnsIndex(lingerMs * 1e6);
  readonly #naming: Naming | null;
  readonly #changes: Changes;
  readonly #decided = new Set<(spaces: readonly Space[]) => void>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #world: RecordWorld;
  readonly #clock: BootClock;
  readonly #toldLosses = { events: 0, filters: 0 };
  #version = 0;
  #drainedUntil = 0;
  /** When the last sweeps were, in nanoseconds since boot. */
  readonly #sweeps: number[] = [];
  /** Something was left when the programs' reports were last read. */
  #behind = false;
  #kubernetes = false;
  #closed = false;

  private constructor(options: ContainerCollectionOptions) {
    this.#options = options;
    this.#kernel = options.kernel ?? new Kernel();
    const clock = new WallClock(this.#kernel.sys);
    const moment: EpochTime = { seconds: 0, nanoseconds: 0 };
    const timeText = (bootNs: number): string => {
      clock.toEpoch(Math.floor(bootNs / 0x100000000), bootNs % 0x100000000, moment);
      return formatEpoch(moment);
    };
    this.#changes = new Changes((any) => this.#tracker.setReferenced(any));
    this.#naming = options.names === undefined || options.names === null ? null : new Naming(options.names);
    this.#processes = new ProcessReader(options.hostRoot ?? '');
    this.#tracker = openWatcher({
      kernel: this.#kernel,
      hostRoot: options.hostRoot ?? '',
      polling: options.polling ?? 'never',
      onEvent: (event) => this.#take(event),
      onBatchEnd: () => this.#checkLosses(),
      notice: (message) => this.#notice(message),
    });
    this.#world = { host: this.#tracker.host, node: options.node ?? '', timeText };
    this.#clock = new BootClock(this.#kernel.sys);
    this.#tracker.scan();
    this.#tracker.drain();
    this.#scanProcesses();
    this.#checkLosses();
    options.names?.onEvent?.((event) => {
      if (event.type !== 'names') return;
      this.#naming?.remember(event.id, event.names);
      const record = this.#byId.get(event.id);
      // One that is being asked for gets the answer, which says more.
      if (record !== undefined && !record.naming) this.#name(record, event.names);
    });
    this.#every(sweepMs, () => this.#sweep());
    this.ready = this.#firstNames();
  }

  /**
   * Loads the programs and looks at what runs already. Throws what loading throws: SyscallError with the missing capability,
   * UnsupportedError for a kernel without ring buffers.
   */
  static open(options: ContainerCollectionOptions = {}): ContainerCollection {
    return new ContainerCollection(options);
  }

  get list(): readonly Container[] {
    this.sync();
    return [...this.#live.values()].filter(({ sandbox, announced }) => !sandbox && announced).map(({ snapshot }) => snapshot);
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
    if (this.#kubernetes) return 'kubernetes';
    return this.#live.size > 0 || this.#options.names?.present === true ? 'runtime' : 'none';
  }

  get version(): number {
    return this.#version;
  }

  byMntns(inode: number, tid: number, bootNs: number): ContainerFields | null {
    const space = this.spaceOf(inode, tid, bootNs);
    const record = space?.container ?? null;
    return space === null || record === null || record.sandbox ? null : record.fieldsFor(space.innerId);
  }

  byNetns(inode: number, bootNs: number): ContainerFields | null {
    if (inode === 0 || inode === this.#tracker.host.netns) return null;
    this.sync(bootNs);
    return this.#byNetns.fields(inode, bootNs, this.#version);
  }

  /** The mount namespace of an event; see {@link ContainerNames.byMntns}. Null for the host's, and for one never seen. */
  spaceOf(inode: number, tid: number, bootNs: number): Space | null {
    if (inode === this.#tracker.host.mntns) return null;
    this.sync(bootNs);
    if (inode !== 0) return this.#spaces.at(inode, bootNs);
    const exited = tid === 0 ? null : this.#tracker.exited(tid);
    return exited === null ? null : this.#spaces.exact(exited.mntns, exited.unique);
  }

  /** Containers in a network namespace at a time in nanoseconds since boot (0 for now); the host's has none. */
  inNetns(inode: number, bootNs: number): readonly ContainerRecord[] {
    if (inode === 0 || inode === this.#tracker.host.netns) return [];
    this.sync(bootNs);
    return this.#byNetns.at(inode, bootNs);
  }

  /**
   * Takes what the programs have told until now, if that is not done: whatever an event of this time says about namespaces has
   * been told before it. False where not all could be taken: who asked is told by {@link onDecided} when to ask again.
   */
  sync(bootNs: number = Number.POSITIVE_INFINITY): boolean {
    if (bootNs !== 0 && bootNs <= this.#drainedUntil) return true;
    // Read before: what comes while reading may not be seen.
    const now = this.#clock.now();
    if (!this.#tracker.drain()) {
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
    return this.#spaces;
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
      live: this.#live.size,
      spaces: this.#spaces.size,
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

  #take(event: TaskEvent): void {
    if (event.kind === TASK_EVENT.NEW) this.#appeared(event);
    else {
      const space = this.#spaces.exact(event.mntns, event.unique);
      if (space === null) return;
      if (event.kind === TASK_EVENT.GONE || event.kind === TASK_EVENT.DIED) this.#ended(space, event);
      else this.#progressed(space, event);
    }
  }

  #appeared(event: TaskEvent): void {
    // The scan reports what was there; its time is not when the namespace was made.
    const from = event.fromMntns === 0 && !(this.#tracker instanceof ProcWatcher) ? 0 : event.time;
    const space: Space = {
      mntns: event.mntns,
      unique: event.unique,
      from,
      to: null,
      verdict: 'pending',
      container: null,
      innerId: '',
    };
    const before = this.#spaces.exact(event.mntns, event.unique);
    // Pushed out of the kernel's memory and seen again.
    if (before !== null && before === this.#spaces.current(event.mntns)) return;
    this.#spaces.add(space);
    this.#version++;
    const parent = event.fromMntns === 0 || event.fromMntns === event.mntns ? null : this.#spaces.at(event.fromMntns, event.time);
    if (parent !== null && parent.container !== null) return this.#within(space, parent.container, event);
    const identity = identityOfCgroups(event);
    if (identity !== null) return this.#contains(space, identity, event);
    if (event.usernsOwner !== 0) return this.#decide(space, 'none');
    // What runs already is as far as it comes; the others show with their first process whose they are.
    if (event.fromMntns !== 0) return this.#after(setupMs, () => space.verdict === 'pending' && this.#decide(space, 'none'));
    const owner = this.#ownerOfPidns(event);
    if (owner !== null) return this.#within(space, owner, event);
    const process = identityOfProcess(event, this.#tracker.host);
    if (process === null) this.#decide(space, 'none');
    else this.#contains(space, process, event);
  }

  #progressed(space: Space, event: TaskEvent): void {
    const identity = identityOfCgroups(event);
    const own = space.container;
    if (own !== null && own.unique === space.unique) {
      const better = identity ?? (own.unsettled ? identityOfProcess(event, this.#tracker.host) : null);
      if (better !== null && better.id !== '' && !own.hasId) this.#rename(own, better);
      own.update(event);
      if (own.runtime === '') own.setRuntime(runtimeOfShim(event, this.#processes));
      if (event.kind !== TASK_EVENT.ATTACH && (own.pid === 0 || event.kind === TASK_EVENT.INIT)) own.setProcess(event);
      if (event.kind === TASK_EVENT.EXEC) this.#settle(own);
      this.#byNetns.place(own);
      this.#announce(own);
      return;
    }
    if (own !== null) {
      if (identity !== null && identity.innerId !== '') this.#setInner(space, own, identity.innerId, identity.runtime);
      return;
    }
    if (identity !== null) this.#contains(space, identity, event);
    else if (event.kind !== TASK_EVENT.ATTACH) {
      const process = identityOfProcess(event, this.#tracker.host);
      if (process !== null) this.#contains(space, process, event);
      else if (event.kind === TASK_EVENT.EXEC && space.verdict === 'pending') this.#decide(space, 'none');
    }
  }

  #ended(space: Space, event: TaskEvent): void {
    const record = space.container;
    const isMain = record !== null && record.unique === space.unique;
    if (event.kind === TASK_EVENT.DIED) {
      if (!isMain || record.pid !== event.pid) return;
      // The first process takes a pid namespace with it; elsewhere it may be a runtime's hook, and others go on.
      if (event.nsPid !== 1 || record.pidns === this.#tracker.host.pidns) {
        record.pid = 0;
        return;
      }
    }
    if (event.kind === TASK_EVENT.GONE) space.to = event.time;
    if (isMain && record.goneBootNs === null) this.#gone(record, event.time);
    if (event.kind !== TASK_EVENT.GONE) return;
    if (space.verdict === 'pending') this.#decide(space, 'none');
    if (record !== null && !isMain) {
      record.removeInner(space.mntns);
      record.spaces = record.spaces.filter((other) => other !== space);
    }
    this.#after(lingerMs, () => this.#tracker.forget(space.mntns, space.unique));
  }

  /** A namespace that was made inside a container belongs to that container. */
  #within(space: Space, record: ContainerRecord, event: TaskEvent): void {
    space.container = record;
    record.spaces.push(space);
    const innerId = identityOfCgroups(event)?.innerId ?? '';
    if (innerId !== '') this.#setInner(space, record, innerId, '');
    this.#decide(space, 'container');
  }

  #setInner(space: Space, record: ContainerRecord, id: string, runtime: string): void {
    if (space.innerId === id) return;
    space.innerId = id;
    record.addInner({ id, runtime, mntns: space.mntns });
    this.#version++;
  }

  /** A namespace is a container's: of a new one, or a further one of a container that is there. */
  #contains(space: Space, identity: Identity, event: TaskEvent): void {
    const known = identity.id === '' ? undefined : this.#byId.get(identity.id);
    // One out of /proc, where namespaces have a number alone, is now seen by the programs too.
    if (known?.unique === 0n && known.mntns === space.mntns) known.unique = space.unique;
    if (known !== undefined && known.goneBootNs === null && known.unique === space.unique) {
      space.container = known;
      known.spaces.push(space);
      this.#decide(space, 'container');
      return;
    }
    if (known !== undefined && known.goneBootNs === null) {
      // A further one of its own, or the real one after one that was only there while it was being set up.
      if (event.fromMntns !== 0 && known.state === 'created') this.#replaceMain(known, space, event);
      return this.#within(space, known, event);
    }
    const record = new ContainerRecord(this.#world, identity, event);
    if (record.runtime === '') record.setRuntime(runtimeOfShim(event, this.#processes));
    space.container = record;
    record.spaces.push(space);
    if (event.kind === TASK_EVENT.INIT || event.kind === TASK_EVENT.EXEC || event.fromMntns === 0) record.setProcess(event);
    if (event.kind === TASK_EVENT.EXEC || (event.kind === TASK_EVENT.NEW && event.fromMntns === 0)) record.state = 'running';
    this.#live.set(record.serial, record);
    if (record.hasId) this.#byId.set(record.id, record);
    this.#byNetns.place(record);
    this.#version++;
    this.#askName(record);
    if (record.unsettled) this.#after(settleMs, () => record.unsettled && this.#settle(record));
    this.#decide(space, 'container');
    this.#announce(record);
  }

  /** Its program runs, or nothing was heard of one: its cgroup is final, and with that its id. */
  #settle(record: ContainerRecord): void {
    const { unsettled } = record;
    if (record.state === 'created') record.state = 'running';
    if (unsettled) this.#tellDecided(record.spaces);
  }

  #replaceMain(record: ContainerRecord, space: Space, event: TaskEvent): void {
    record.mntns = space.mntns;
    record.unique = space.unique;
    record.update(event);
    this.#byNetns.place(record);
  }

  #rename(record: ContainerRecord, identity: Identity): void {
    record.setIdentity(identity);
    this.#byId.set(record.id, record);
    if (record.names === null && !record.naming) this.#askName(record);
    this.#version++;
    if (!record.naming) this.#tellDecided(record.spaces);
  }

  #askName(record: ContainerRecord): void {
    if (this.#naming?.hopeful !== true) return;
    record.naming = true;
    this.#naming.ask({
      get query() {
        return record.query;
      },
      get wanted() {
        return record.naming;
      },
      named: (names) => this.#name(record, names),
      unnamed: () => {
        record.naming = false;
        this.#tellDecided(record.spaces);
      },
    });
  }

  /** Of a container that nobody knew: its runtime may have been hanging, or starting. */
  #askAgain(record: ContainerRecord): void {
    void this.#naming?.askOnce(record.query).then((names) => names !== null && record.state !== 'gone' && this.#name(record, names));
  }

  #name(record: ContainerRecord, names: NonNullable<ContainerRecord['names']>): void {
    record.naming = false;
    record.setNames(record.names === null ? names : mergeNames(names, record.names));
    if (record.hasId) this.#byId.set(record.id, record);
    if (names.k8s !== null) this.#kubernetes = true;
    this.#version++;
    if (record.announced) {
      if (record.sandbox) this.#changes.tell({ type: 'removed', container: record.snapshot });
      else this.#changes.tell({ type: 'named', container: record.snapshot });
    }
    this.#tellDecided(record.spaces);
  }

  #announce(record: ContainerRecord): void {
    if (record.announced || record.sandbox || record.pid === 0) return;
    record.announced = true;
    this.#changes.tell({ type: 'added', container: record.snapshot });
  }

  #gone(record: ContainerRecord, bootNs: number): void {
    record.state = 'gone';
    record.goneBootNs = bootNs;
    record.changed();
    this.#version++;
    this.#live.delete(record.serial);
    if (this.#byId.get(record.id) === record) {
      // Names may still come, and late questions are still answered.
      this.#after(rememberNs / 1e6, () => this.#byId.get(record.id) === record && this.#byId.delete(record.id));
    }
    if (record.announced && !record.sandbox) this.#changes.tell({ type: 'removed', container: record.snapshot });
    this.#after(lingerMs, () => this.#tracker.forget(record.mntns, record.unique));
    this.#after(rememberNs / 1e6, () => this.#byNetns.remove(record));
  }

  #ownerOfPidns(event: TaskEvent): ContainerRecord | null {
    if (event.pidnsLevel === 0) return null;
    for (const record of this.#live.values()) {
      if (record.pidns !== this.#tracker.host.pidns && (record.pidns === event.pidns || record.pidns === event.pidnsParent)) return record;
    }
    return null;
  }

  #catchUp(): void {
    if (this.#behind) return;
    this.#behind = true;
    this.#after(behindMs, () => {
      this.#behind = false;
      if (this.sync()) this.#tellDecided([]);
    });
  }

  #decide(space: Space, verdict: Space['verdict']): void {
    if (space.verdict === verdict) return;
    space.verdict = verdict;
    this.#version++;
    this.#tellDecided([space]);
  }

  #tellDecided(spaces: readonly Space[]): void {
    for (const listener of this.#decided) listener(spaces);
  }

  /** What had no room is told. */
  #checkLosses(): void {
    const losses = this.#tracker.losses;
    if (losses.events > this.#toldLosses.events) {
      this.#toldLosses.events = losses.events;
      this.#notice(`${losses.events} namespaces came and went unseen: more containers were started at once than there was room for`);
      this.#tracker.scan();
    }
    if (losses.filters > this.#toldLosses.filters) {
      this.#toldLosses.filters = losses.filters;
      this.#notice('more containers are there than the filter has room for: events of some are missing');
    }
  }

  /** Containers whose end nobody reported, and what need not be remembered any longer. */
  #sweep(): void {
    this.#clock.measure();
    this.sync();
    this.#checkLosses();
    const now = this.#clock.now();
    // Sweeps are counted, too: a process that was stopped still has the events of that time before it.
    this.#sweeps.push(now);
    if (this.#sweeps.length > rememberNs / 1e6 / sweepMs) {
      const horizon = this.#sweeps.shift() ?? 0;
      this.#spaces.prune(horizon);
      this.#tracker.forgetExited(horizon);
    }
    for (const record of this.#live.values()) if (record.isToBeAskedFor()) this.#askAgain(record);
    const gone = [...this.#live.values()].filter((record) => this.#processes.isGone(record.snapshot, this.#tracker.host.pidns));
    for (const record of gone) this.#gone(record, now);
  }

  /** In a container the kernel's list of tasks has only its own: the host's are in the /proc that it was given. */
  #scanProcesses(): void {
    const { hostRoot } = this.#options;
    if (this.#tracker instanceof ProcWatcher || inInitialNamespace('pid') === true) return;
    if (hostRoot === undefined || !this.#processes.seesHostPids) {
      this.#notice("containers that run already cannot be seen from this pid namespace: mount the host's /proc and say --host-root DIR");
      return;
    }
    const isKnown = (mntns: number): boolean => mntns === this.#tracker.host.mntns || this.#spaces.current(mntns) !== null;
    for (const event of this.#processes.ofNamespaces(isKnown)) this.#take(event);
  }

  async #firstNames(): Promise<void> {
    const { names } = this.#options;
    if (names === undefined || names === null) return;
    // Who waits for this may have nothing else that keeps the process alive.
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, readyMs)));
    const named = (async () => {
      for (const each of await names.list()) {
        if (each.k8s !== null) this.#kubernetes = true;
        this.#naming?.remember(each.containerId, each);
        const record =
          this.#byId.get(each.containerId) ??
          [...this.#live.values()].find(({ pid, hasId }) => !hasId && pid !== 0 && pid === each.containerPid);
        if (record !== undefined && !this.#closed) this.#name(record, each);
      }
      while (!this.#closed && [...this.#live.values()].some(({ naming }) => naming)) await pause(20);
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
