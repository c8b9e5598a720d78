import type { ContainerFields } from '../../gadget/context.ts';
import type { Container, ContainerCgroup, ContainerState, InnerContainer } from './container.ts';
import { makeFields } from './fields.ts';
import type { Identity } from './identity.ts';
import type { NameQuery, RuntimeNames } from './names.ts';
import type { Space } from './spaces.ts';
import type { HostNamespaces } from './tracker.ts';
import type { TaskEvent } from './task-event.ts';

/** What all containers of a collection share. */
export interface RecordWorld {
  readonly host: HostNamespaces;
  readonly node: string;
  /** RFC 3339 of a time in nanoseconds since boot. */
  readonly timeText: (bootNs: number) => string;
}

/** USER_HZ, which is 100 on every architecture that Node runs on. */
const nsPerTick = 1e7;

/** Of one minute, at most. */
const maxSweepsBetween = 12;

let serials = 0;

/** A container while it changes; {@link ContainerRecord.snapshot} is what others see. */
export class ContainerRecord {
  readonly serial: number = ++serials;
  readonly sinceBootNs: number;
  id: string;
  runtime: string;
  cgroupPath: string;
  pid = 0;
  start = 0;
  mntns: number;
  /** Of the mount namespace. */
  unique: bigint;
  netns = 0;
  pidns = 0;
  /** Mount namespaces: its own, and those made inside it. */
  spaces: Space[] = [];
  state: ContainerState = 'created';
  goneBootNs: number | null = null;
  names: RuntimeNames | null = null;
  /** Whether its names are being asked for. */
  naming = false;
  /** Whether others have been told of it. */
  announced = false;
  readonly #world: RecordWorld;
  readonly #inner = new Map<number, InnerContainer>();
  readonly #fields = new Map<string, ContainerFields>();
  #cgroups: readonly ContainerCgroup[] = [];
  #snapshot: Container | null = null;
  /** Sweeps until it is asked for again, and how many there were between the last two questions. */
  #sweepsLeft = 1;
  #sweepsBetween = 1;

  constructor(world: RecordWorld, identity: Identity, event: TaskEvent) {
    this.#world = world;
    this.mntns = event.mntns;
    this.unique = event.unique;
    this.id = identity.id || `mntns-${event.mntns}`;
    this.runtime = identity.runtime;
    this.cgroupPath = identity.cgroupPath;
    this.sinceBootNs = event.fromMntns === 0 ? event.start : event.time;
    this.update(event);
  }

  /** Whether the runtime's id is known, or only a number of the kernel's. */
  get hasId(): boolean {
    return !this.id.startsWith('mntns-');
  }

  /** Without an id so far, and still being set up: its cgroup may come yet. */
  get unsettled(): boolean {
    return this.state === 'created' && !this.hasId;
  }

  /** A pod's sandbox holds namespaces and is nobody's container. */
  get sandbox(): boolean {
    return this.names?.sandbox === true;
  }

  /** What is asked about it. */
  get query(): NameQuery {
    return { id: this.hasId ? this.id : '', pid: this.pid, cgroupPath: this.cgroupPath, runtimeHint: this.runtime };
  }

  /** Whether it is time to ask for its names once more, at every sweep; less and less often. */
  isToBeAskedFor(): boolean {
    if (this.naming || this.sandbox || (this.names?.containerName ?? '') !== '' || --this.#sweepsLeft > 0) return false;
    this.#sweepsLeft = this.#sweepsBetween;
    this.#sweepsBetween = Math.min(maxSweepsBetween, 2 * this.#sweepsBetween);
    return true;
  }

  /** Takes over what a later event of its first process says. */
  update(event: TaskEvent): void {
    this.netns = event.netns;
    this.pidns = event.pidns;
    if (event.places.length > 0) this.#cgroups = event.places.map(({ hierarchy, id, path }) => ({ hierarchy, id, path }));
    this.changed();
  }

  setProcess(event: TaskEvent): void {
    this.pid = event.pid;
    this.start = event.start;
    this.changed();
  }

  /** What set it up, where its cgroup did not tell. */
  setRuntime(runtime: string): void {
    if (runtime === '') return;
    this.runtime = runtime;
    this.changed();
  }

  setIdentity({ id, runtime, cgroupPath }: Identity): void {
    if (id !== '') this.id = id;
    if (runtime !== '') this.runtime = runtime;
    this.cgroupPath = cgroupPath;
    this.changed();
  }

  setNames(names: RuntimeNames): void {
    this.names = names;
    if (!this.hasId && names.containerId !== '') this.id = names.containerId;
    this.changed();
  }

  addInner(inner: InnerContainer): void {
    this.#inner.set(inner.mntns, inner);
    this.changed();
  }

  removeInner(mntns: number): void {
    if (this.#inner.delete(mntns)) this.changed();
  }

  changed(): void {
    this.#snapshot = null;
    this.#fields.clear();
  }

  get hostNetwork(): boolean {
    return this.netns === this.#world.host.netns;
  }

  get startedAt(): string {
    const said = this.names?.containerStartedAt ?? '';
    return said !== '' || this.start === 0 ? said : this.#world.timeText(this.start);
  }

  /** What events show, of the container itself or of one within it. */
  fieldsFor(innerId: string): ContainerFields {
    let fields = this.#fields.get(innerId);
    if (fields === undefined) {
      const { id, runtime, startedAt, hostNetwork, names } = this;
      const pid = this.pid || (names?.containerPid ?? 0);
      fields = makeFields({ id, runtime, pid, startedAt, hostNetwork, names, node: this.#world.node }, innerId);
      this.#fields.set(innerId, fields);
    }
    return fields;
  }

  get snapshot(): Container {
    this.#snapshot ??= {
      serial: this.serial,
      id: this.names?.containerId || this.id,
      runtime: this.names?.runtimeName || this.runtime,
      pid: this.pid || (this.names?.containerPid ?? 0),
      mntns: this.mntns,
      netns: this.netns,
      pidns: this.pidns,
      hostNetwork: this.hostNetwork,
      cgroups: this.#cgroups,
      sinceBootNs: this.sinceBootNs,
      goneBootNs: this.goneBootNs,
      startTimeTicks: BigInt(Math.floor(this.start / nsPerTick)),
      startedAt: this.startedAt,
      state: this.state,
      names: this.names,
      fields: this.fieldsFor(''),
      inner: [...this.#inner.values()],
    };
    return this.#snapshot;
  }
}
