import type { CgroupPlace, TaskEvent } from '../../../src/enrich/containers/task-event.ts';

/** `owners` from the root's children to the leaf. */
export function placeOf(path: string, owners: readonly number[] = [], hierarchy = 0): CgroupPlace {
  const levels = path
    .split('/')
    .slice(1)
    .map((name, i) => ({ name, owner: owners[i] ?? 0 }));
  return { hierarchy, id: 7n, path, levels: path === '/' ? [] : levels };
}

/** An event of a process in namespaces of its own, but for what is said. */
export function eventOf(parts: Partial<TaskEvent>): TaskEvent {
  return {
    kind: 3,
    time: 1,
    unique: 1n,
    start: 1,
    mntns: 100,
    fromMntns: 1,
    netns: 2,
    pidns: 30,
    pidnsParent: 3,
    pidnsLevel: 1,
    pid: 10,
    tid: 10,
    nsPid: 1,
    parentPid: 9,
    usernsLevel: 0,
    usernsOwner: 0,
    ownCgroup: false,
    comm: 'true',
    parentComm: 'sh',
    places: [],
    ...parts,
  };
}
