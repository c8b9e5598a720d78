/** What a {@link TaskEvent} is about. */
export const TASK_EVENT = { NEW: 1, INIT: 2, EXEC: 3, ATTACH: 4, DIED: 5, GONE: 6 } as const;

/** A cgroup on the way from the root to the task's own. */
export interface CgroupLevel {
  readonly name: string;
  /** Who owns its directory: whoever is not root may have made those below it. */
  readonly owner: number;
}

/** The task's cgroup in one hierarchy; v1 and v2 have ids of their own. */
export interface CgroupPlace {
  /** 0 for v2. */
  readonly hierarchy: number;
  readonly id: bigint;
  readonly path: string;
  /** From the root's children to the task's own cgroup. */
  readonly levels: readonly CgroupLevel[];
}

/** A task in a mount namespace that is not the host's, at a moment that matters; see programs/tracker.bpf.c. */
export interface TaskEvent {
  readonly kind: number;
  /** Nanoseconds since boot. */
  readonly time: number;
  /** Tells namespaces with the same inode number apart; 0 where unknown. */
  readonly unique: bigint;
  /** When the process started, in nanoseconds since boot. */
  readonly start: number;
  readonly mntns: number;
  /** The mount namespace that it was made from; 0 for one that was there before. */
  readonly fromMntns: number;
  readonly netns: number;
  readonly pidns: number;
  readonly pidnsParent: number;
  readonly pidnsLevel: number;
  readonly pid: number;
  readonly tid: number;
  /** The process's id in its own pid namespace. */
  readonly nsPid: number;
  readonly parentPid: number;
  readonly usernsLevel: number;
  /** Who made the outermost user namespace it is in; 0 in the first one. */
  readonly usernsOwner: number;
  /** Whether it is in another cgroup than its parent. */
  readonly ownCgroup: boolean;
  readonly comm: string;
  readonly parentComm: string;
  /** v2 first, then the deepest of v1; none for events without cgroups. */
  readonly places: readonly CgroupPlace[];
}

// struct task_event and struct place_event of programs/tracker.bpf.c.
const taskSize = 112;
const placeSize = 64;
const maxLevels = 12;
const commSize = 16;

const decoder = new TextDecoder();

/** Reads a record of the tracker's ring buffer; the bytes are copied. */
export function readTaskEvent(view: DataView, at: number, length: number): TaskEvent {
  const u32 = (offset: number): number => view.getUint32(at + offset, true);
  const time = (offset: number): number => u32(offset + 4) * 0x100000000 + u32(offset);
  const text = (offset: number): string => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at + offset, commSize);
    const end = bytes.indexOf(0);
    return decoder.decode(bytes.slice(0, end < 0 ? commSize : end));
  };
  return {
    kind: u32(24),
    time: time(0),
    unique: view.getBigUint64(at + 8, true),
    start: time(16),
    mntns: u32(28),
    fromMntns: u32(32),
    netns: u32(36),
    pidns: u32(40),
    pidnsParent: u32(44),
    pid: u32(48),
    tid: u32(52),
    nsPid: u32(56),
    parentPid: u32(60),
    pidnsLevel: u32(64),
    usernsLevel: u32(68),
    usernsOwner: u32(72),
    ownCgroup: u32(76) !== 0,
    comm: text(80),
    parentComm: text(96),
    places: length < taskSize + 2 * placeSize ? [] : readPlaces(view, at + taskSize, at + length),
  };
}

/** A task need not be in a hierarchy of v1; every cgroup's directory has a number. */
function isPlace({ id }: CgroupPlace): boolean {
  return id !== 0n;
}

/** Two places, and after them the names of both, each with a zero behind it. */
function readPlaces(view: DataView, at: number, end: number): readonly CgroupPlace[] {
  let name = at + 2 * placeSize;
  const nextName = (): string => {
    const start = name;
    while (name < end && view.getUint8(name) !== 0) name++;
    return decoder.decode(new Uint8Array(view.buffer, view.byteOffset + start, name++ - start).slice());
  };
  const places: CgroupPlace[] = [];
  for (const place of [at, at + placeSize]) {
    const levels: CgroupLevel[] = [];
    const count = Math.min(view.getUint32(place + 12, true), maxLevels);
    for (let i = 0; i < count; i++) levels.unshift({ name: nextName(), owner: view.getUint32(place + 16 + 4 * i, true) });
    places.push({ hierarchy: view.getUint32(place + 8, true), id: view.getBigUint64(place, true), path: pathOf(levels), levels });
  }
  return places.filter(isPlace);
}

/** `/a/b`; `/` for the root. */
export function pathOf(levels: readonly CgroupLevel[]): string {
  return `/${levels.map(({ name }) => name).join('/')}`;
}
