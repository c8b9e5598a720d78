import type { Changes } from './changes.ts';
import { identityOfCgroups, identityOfProcess, runtimeOfShim, type Identity } from './identity.ts';
import { mergeNames } from '../runtimes/join.ts';
import type { RuntimeNames } from './names.ts';
import type { Naming } from './naming.ts';
import { NetnsIndex } from './netns-index.ts';
import type { ProcessReader } from './process.ts';
import { ContainerRecord, type RecordWorld } from './record.ts';
import { SpaceHistory, type Space } from './spaces.ts';
import { TASK_EVENT, type TaskEvent } from './task-event.ts';
import type { Gap } from './watcher.ts';

/** Milliseconds that a container which is gone is kept in the filters, for what its last processes still do. */
const lingerMs = 2000;
/** Nanoseconds that namespaces and containers which are gone are remembered for late events. */
export const rememberNs = 30e9;
/** Milliseconds after which a namespace in which no program was started is nobody's container. */
const setupMs = 10_000;
/** Milliseconds after which a container whose program was not seen to start has the id that it has. */
const settleMs = 2000;

/** What a {@link ContainerRegistry} needs of the collection that it is part of. */
export interface RegistryWorld extends RecordWorld {
  /** Whether namespaces are found by looks into /proc: then the time of a report is all that is known of their beginning. */
  readonly polled: boolean;
  readonly processes: ProcessReader;
  /** Null where nobody knows names. */
  readonly naming: Naming | null;
  readonly changes: Changes;
  /** Does something later, unless the collection is closed by then. */
  after(ms: number, work: () => unknown): void;
  /** Lets the programs forget a namespace. */
  forget(mntns: number, unique: bigint): void;
  /** These were decided about, or have a name now. */
  decided(spaces: readonly Space[]): void;
}

/**
 * Whose a mount namespace is: what happens to namespaces goes in, what is known of containers comes out. A namespace is pending
 * until its cgroups, its first process or the time say that it is a container's, a part of one, or nobody's.
 */
export class ContainerRegistry {
  readonly spaces: SpaceHistory = new SpaceHistory();
  readonly byNetns: NetnsIndex = new NetnsIndex(lingerMs * 1e6);
  /** All that are there. */
  readonly #live = new Map<number, ContainerRecord>();
  readonly #byId = new Map<string, ContainerRecord>();
  readonly #world: RegistryWorld;
  #gap: Gap | null = null;
  #version = 0;
  #kubernetes = false;

  constructor(world: RegistryWorld) {
    this.#world = world;
  }

  /** All that are there. */
  get live(): Iterable<ContainerRecord> {
    return this.#live.values();
  }

  /** How many are there. */
  get size(): number {
    return this.#live.size;
  }

  /** Grows with whatever changes what events show. */
  get version(): number {
    return this.#version;
  }

  /** Whether any that got a name is in a pod. */
  get kubernetes(): boolean {
    return this.#kubernetes;
  }

  /** One that is there or was lately; null where none has this id. */
  byId(id: string): ContainerRecord | null {
    return this.#byId.get(id) ?? null;
  }

  /** Reports are missing. `holds`: whether the number of a namespace still belongs to it. */
  missed(gap: Gap, holds: (space: Space) => boolean): void {
    this.#gap = gap;
    this.spaces.doubt(gap.since, gap.until, holds);
    this.#version++;
  }

  /** Takes what happened to a mount namespace. */
  take(event: TaskEvent): void {
    if (event.kind === TASK_EVENT.NEW) this.#appeared(event);
    else {
      const space = this.spaces.exact(event.mntns, event.unique);
      if (space === null) return;
      if (event.kind === TASK_EVENT.GONE || event.kind === TASK_EVENT.DIED) this.#ended(space, event);
      else this.#progressed(space, event);
    }
  }

  #appeared(event: TaskEvent): void {
    // The scan reports what was there; its time is not when the namespace was made.
    const wasThere = event.fromMntns === 0 && !this.#world.polled;
    // After a gap it is one whose making was missed: it is not older than that, nor, but for who made it, than its first process.
    const from = wasThere ? (this.#gap === null ? 0 : Math.max(this.#gap.since, event.start)) : event.time;
    const space: Space = {
      mntns: event.mntns,
      unique: event.unique,
      from,
      to: null,
      verdict: 'pending',
      container: null,
      innerId: '',
      doubtfulFrom: null,
      seenToEnd: false,
    };
    const before = this.spaces.exact(event.mntns, event.unique);
    // Pushed out of the kernel's memory and seen again.
    if (before !== null && before === this.spaces.current(event.mntns)) {
      before.doubtfulFrom = null;
      return;
    }
    this.spaces.add(space);
    this.#version++;
    const parent = event.fromMntns === 0 || event.fromMntns === event.mntns ? null : this.spaces.at(event.fromMntns, event.time);
    if (parent !== null && parent.container !== null) return this.#within(space, parent.container, event);
    const identity = identityOfCgroups(event);
    if (identity !== null) return this.#contains(space, identity, event);
    if (event.usernsOwner !== 0) return this.#decide(space, 'none');
    // What runs already is as far as it comes; the others show with their first process whose they are.
    if (event.fromMntns !== 0) return this.#world.after(setupMs, () => space.verdict === 'pending' && this.#decide(space, 'none'));
    const owner = this.#ownerOfPidns(event);
    if (owner !== null) return this.#within(space, owner, event);
    const process = identityOfProcess(event, this.#world.host);
    if (process === null) this.#decide(space, 'none');
    else this.#contains(space, process, event);
  }

  #progressed(space: Space, event: TaskEvent): void {
    const identity = identityOfCgroups(event);
    const own = space.container;
    if (own !== null && own.unique === space.unique) {
      const better = identity ?? (own.unsettled ? identityOfProcess(event, this.#world.host) : null);
      const known = better === null ? undefined : this.#byId.get(better.id);
      const isTaken = better !== null && known !== undefined && known !== own && this.#isTaken(known, space, better, event);
      if (better !== null && better.id !== '' && !own.hasId && !isTaken) this.#rename(own, better);
      own.update(event);
      if (own.runtime === '') own.setRuntime(runtimeOfShim(event, this.#world.processes));
      if (event.kind !== TASK_EVENT.ATTACH && (own.pid === 0 || event.kind === TASK_EVENT.INIT)) own.setProcess(event);
      if (event.kind === TASK_EVENT.EXEC) this.#settle(own);
      this.byNetns.place(own);
      this.#announce(own);
      return;
    }
    if (own !== null) {
      if (identity !== null && identity.innerId !== '') this.#setInner(space, own, identity.innerId, identity.runtime);
      return;
    }
    if (identity !== null) this.#contains(space, identity, event);
    else if (event.kind !== TASK_EVENT.ATTACH) {
      const process = identityOfProcess(event, this.#world.host);
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
      if (event.nsPid !== 1 || record.pidns === this.#world.host.pidns) {
        record.pid = 0;
        return;
      }
    }
    if (event.kind === TASK_EVENT.GONE) {
      space.to = event.time;
      space.seenToEnd = true;
    }
    if (isMain && record.goneBootNs === null) this.gone(record, event.time);
    if (event.kind !== TASK_EVENT.GONE) return;
    if (space.verdict === 'pending') this.#decide(space, 'none');
    if (record !== null && !isMain) {
      record.removeInner(space.mntns);
      record.spaces = record.spaces.filter((other) => other !== space);
    }
    this.#world.after(lingerMs, () => this.#world.forget(space.mntns, space.unique));
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
    if (known !== undefined && this.#isTaken(known, space, identity, event)) {
      return this.#contains(space, { ...identity, id: '', cgroupPath: '' }, event);
    }
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
    if (record.runtime === '') record.setRuntime(runtimeOfShim(event, this.#world.processes));
    space.container = record;
    record.spaces.push(space);
    if (event.kind === TASK_EVENT.INIT || event.kind === TASK_EVENT.EXEC || event.fromMntns === 0) record.setProcess(event);
    if (event.kind === TASK_EVENT.EXEC || (event.kind === TASK_EVENT.NEW && event.fromMntns === 0)) record.state = 'running';
    this.#live.set(record.serial, record);
    if (record.hasId) this.#byId.set(record.id, record);
    this.byNetns.place(record);
    this.#version++;
    this.#askName(record);
    if (record.unsettled) this.#world.after(settleMs, () => record.unsettled && this.#settle(record));
    this.#decide(space, 'container');
    this.#announce(record);
  }

  /**
   * Whether another container that runs has this id, which nobody but a cgroup's name tells: some runtimes call all their cgroups the
   * same. A name that two have is nobody's.
   */
  #isTaken(known: ContainerRecord, space: Space, identity: Identity, event: TaskEvent): boolean {
    if (known.goneBootNs !== null || known.unique === space.unique || known.state === 'created') return false;
    if (identityOfCgroups(event) !== null) return false;
    const sharesProcesses = known.pidns === event.pidns || known.pidns === event.pidnsParent;
    return !sharesProcesses || known.cgroupPath !== identity.cgroupPath;
  }

  /** Its program runs, or nothing was heard of one: its cgroup is final, and with that its id. */
  #settle(record: ContainerRecord): void {
    const { unsettled } = record;
    if (record.state === 'created') record.state = 'running';
    if (unsettled) this.#world.decided(record.spaces);
  }

  #replaceMain(record: ContainerRecord, space: Space, event: TaskEvent): void {
    record.mntns = space.mntns;
    record.unique = space.unique;
    record.update(event);
    this.byNetns.place(record);
  }

  #rename(record: ContainerRecord, identity: Identity): void {
    record.setIdentity(identity);
    this.#byId.set(record.id, record);
    if (record.names === null && !record.naming) this.#askName(record);
    this.#version++;
    if (!record.naming) this.#world.decided(record.spaces);
  }

  #askName(record: ContainerRecord): void {
    if (this.#world.naming?.hopeful !== true) return;
    record.naming = true;
    this.#world.naming.ask({
      get query() {
        return record.query;
      },
      get wanted() {
        return record.naming;
      },
      named: (names) => this.name(record, names),
      unnamed: () => {
        record.naming = false;
        this.#world.decided(record.spaces);
      },
    });
  }

  /** Of a container that nobody knew: its runtime may have been hanging, or starting. */
  askAgain(record: ContainerRecord): void {
    void this.#world.naming?.askOnce(record.query).then((names) => names !== null && record.state !== 'gone' && this.name(record, names));
  }

  /** Takes what a runtime says of a container. */
  name(record: ContainerRecord, names: RuntimeNames): void {
    record.naming = false;
    record.setNames(record.names === null ? names : mergeNames(names, record.names));
    if (record.hasId) this.#byId.set(record.id, record);
    if (names.k8s !== null) this.#kubernetes = true;
    this.#version++;
    if (record.announced) {
      if (record.sandbox) this.#world.changes.tell({ type: 'removed', container: record.snapshot });
      else this.#world.changes.tell({ type: 'named', container: record.snapshot });
    }
    this.#world.decided(record.spaces);
  }

  #announce(record: ContainerRecord): void {
    if (record.announced || record.sandbox || record.pid === 0) return;
    record.announced = true;
    this.#world.changes.tell({ type: 'added', container: record.snapshot });
  }

  /**
   * Takes containers for gone whose end nobody reported. Processes may have ended just now: what was reported of them until then, their
   * cgroup and their program among it, is taken by `sync` first. Nothing happens where that cannot take all.
   */
  removeEnded(isGone: (record: ContainerRecord) => boolean, sync: () => boolean, bootNs: number): void {
    const gone = [...this.#live.values()].filter(isGone);
    if (gone.length === 0 || !sync()) return;
    for (const record of gone) if (record.goneBootNs === null && isGone(record)) this.gone(record, bootNs);
  }

  /** A container has ended: it is forgotten when late events need it no longer. */
  gone(record: ContainerRecord, bootNs: number): void {
    record.state = 'gone';
    record.goneBootNs = bootNs;
    record.changed();
    this.#version++;
    this.#live.delete(record.serial);
    if (this.#byId.get(record.id) === record) {
      // Names may still come, and late questions are still answered.
      this.#world.after(rememberNs / 1e6, () => this.#byId.get(record.id) === record && this.#byId.delete(record.id));
    }
    if (record.announced && !record.sandbox) this.#world.changes.tell({ type: 'removed', container: record.snapshot });
    this.#world.after(lingerMs, () => this.#world.forget(record.mntns, record.unique));
    this.#world.after(rememberNs / 1e6, () => this.byNetns.remove(record));
  }

  #ownerOfPidns(event: TaskEvent): ContainerRecord | null {
    if (event.pidnsLevel === 0) return null;
    for (const record of this.#live.values()) {
      if (record.pidns !== this.#world.host.pidns && (record.pidns === event.pidns || record.pidns === event.pidnsParent)) return record;
    }
    return null;
  }

  #decide(space: Space, verdict: Space['verdict']): void {
    if (space.verdict === verdict) return;
    space.verdict = verdict;
    this.#version++;
    this.#world.decided([space]);
  }
}
