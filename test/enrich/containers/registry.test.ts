import t from 'tap';
import { Changes } from '../../../src/enrich/containers/changes.ts';
import { ProcessReader } from '../../../src/enrich/containers/process.ts';
import { ContainerRegistry } from '../../../src/enrich/containers/registry.ts';
import type { Space } from '../../../src/enrich/containers/spaces.ts';
import { TASK_EVENT } from '../../../src/enrich/containers/task-event.ts';
import { emptyNames } from '../../../src/enrich/runtimes/source.ts';
import { eventOf, placeOf } from './task-events.ts';

const id = 'ab'.repeat(32);
const docker = { places: [placeOf(`/docker/${id}`)] };
const host = { mntns: 1, netns: 2, pidns: 3 };

/** A registry whose timers the test runs. */
function makeRegistry() {
  const told: string[] = [];
  const forgotten: number[] = [];
  const decided: Space[][] = [];
  const timers: { readonly ms: number; readonly work: () => unknown }[] = [];
  const changes = new Changes(() => {});
  changes.on(({ type, container }) => told.push(`${type} ${container.names?.containerName ?? ''}`.trim()));
  const registry = new ContainerRegistry({
    host,
    node: '',
    timeText: String,
    polled: false,
    processes: new ProcessReader('/nonexistent'),
    naming: null,
    changes,
    after: (ms, work) => void timers.push({ ms, work }),
    forget: (mntns) => void forgotten.push(mntns),
    decided: (spaces) => void decided.push([...spaces]),
  });
  const runTimers = (): void => timers.splice(0).forEach(({ work }) => work());
  return { registry, told, forgotten, decided, timers, runTimers };
}

void t.test('a container from its namespace to its end', (t) => {
  const { registry, told, forgotten, decided, runTimers } = makeRegistry();
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 10 }));
  const [space] = registry.spaces;
  t.equal(space?.verdict, 'pending', 'its cgroup may come yet');
  registry.take(eventOf({ kind: TASK_EVENT.ATTACH, time: 20, netns: 20, ...docker }));
  t.equal(space?.verdict, 'container');
  t.same(decided.at(-1), [space]);
  t.equal(registry.byId(id)?.state, 'created');
  t.same(told, [], 'nothing runs in it yet');
  registry.take(eventOf({ kind: TASK_EVENT.EXEC, time: 30, netns: 20, pid: 77, ...docker }));
  t.equal(registry.byId(id)?.state, 'running');
  t.equal(registry.byId(id)?.pid, 77);
  const [record] = registry.live;
  if (record === undefined) throw new Error('no record');
  registry.name(record, { ...emptyNames, containerId: id, containerName: 'web' });
  registry.take(eventOf({ kind: TASK_EVENT.DIED, time: 40, pid: 77 }));
  t.same(told, ['added', 'named web', 'removed web']);
  t.equal(registry.size, 0);
  t.equal(registry.byId(id)?.state, 'gone', 'late questions are answered');
  registry.take(eventOf({ kind: TASK_EVENT.GONE, time: 50 }));
  t.equal(space?.to, 50);
  runTimers();
  t.equal(registry.byId(id), null, 'and forgotten later');
  t.ok(forgotten.includes(100), 'by the programs, too');
  t.equal(registry.byNetns.size, 0);
  t.end();
});

void t.test('namespaces that are nobody’s, and those within a container', (t) => {
  const { registry, runTimers } = makeRegistry();
  registry.take(eventOf({ kind: TASK_EVENT.NEW, mntns: 200, usernsOwner: 1000 }));
  t.equal(registry.spaces.current(200)?.verdict, 'none', "a user's own");
  registry.take(eventOf({ kind: TASK_EVENT.NEW, mntns: 201 }));
  runTimers();
  t.equal(registry.spaces.current(201)?.verdict, 'none', 'no program was ever started there');
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 5, mntns: 100, ...docker }));
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 6, mntns: 202, unique: 2n, fromMntns: 100 }));
  t.equal(registry.spaces.current(202)?.container, registry.byId(id), 'made in a container');
  t.equal(registry.size, 1);
  t.end();
});

void t.test('the index of network namespaces keeps nothing of containers that are gone', (t) => {
  const { registry, runTimers } = makeRegistry();
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 1, netns: 20, ...docker }));
  registry.take(eventOf({ kind: TASK_EVENT.EXEC, time: 2, netns: 20, ...docker }));
  t.equal(registry.byNetns.fields(20, 0, registry.version)?.runtime.containerId, id);
  for (let inode = 1000; inode < 1100; inode++) t.equal(registry.byNetns.fields(inode, 0, registry.version), null);
  t.equal(registry.byNetns.size, 3, 'events name namespaces that are no container’s: these are not kept');
  // A process of it in another namespace, then the end: what was filed is taken out, wherever it was.
  const [record] = registry.live;
  if (record === undefined) throw new Error('no record');
  record.netns = 21;
  registry.take(eventOf({ kind: TASK_EVENT.GONE, time: 3 }));
  runTimers();
  t.equal(registry.byNetns.size, 0);
  t.end();
});

void t.test('of what came and went while reports had no room nobody gets a name of another', (t) => {
  const { registry } = makeRegistry();
  const other = { places: [placeOf(`/docker/${'cd'.repeat(32)}`)] };
  const nameAt = (inode: number, time: number): string => registry.spaces.at(inode, time)?.container?.id.slice(0, 2) ?? '';
  // 100 ends unseen and its number goes on to others; 101 is there all the time; 102 has ended before; 103 is older than both.
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 10e6, mntns: 100, unique: 1n, ...docker }));
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 11e6, mntns: 101, unique: 2n, pid: 11, ...docker }));
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 12e6, mntns: 102, unique: 3n, pid: 12, ...other }));
  registry.take(eventOf({ kind: TASK_EVENT.GONE, time: 15e6, mntns: 102, unique: 3n, pid: 12 }));
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 13e6, mntns: 103, unique: 4n, pid: 13, ...docker }));
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 14e6, mntns: 103, unique: 5n, pid: 14, ...other }));
  // What is reported after the gap is as sure as ever.
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 40e6, mntns: 100, unique: 9n, pid: 15, ...other }));
  registry.missed({ count: 3, since: 20e6, until: 30e6 }, ({ mntns }) => mntns === 101 || mntns === 103);
  t.same([nameAt(100, 19e6), nameAt(100, 21e6), nameAt(100, 35e6), nameAt(100, 41e6)], ['ab', '', '', 'cd']);
  t.same([nameAt(101, 19e6), nameAt(101, 25e6), nameAt(101, 50e6)], ['ab', 'ab', 'ab'], 'its number is still its own');
  t.same([nameAt(102, 16e6), nameAt(102, 25e6)], ['cd', ''], 'late events of what ended before have their name');
  t.same(
    [nameAt(103, 13.5e6), nameAt(103, 19e6), nameAt(103, 25e6)],
    ['ab', 'cd', 'cd'],
    'and so has what was followed by another one before',
  );
  // The scan after it finds one that is there: it is not older than the gap, nor than its process.
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 50e6, start: 25e6, fromMntns: 0, mntns: 102, unique: 10n, pid: 16, ...docker }));
  t.same([nameAt(102, 16e6), nameAt(102, 22e6), nameAt(102, 26e6)], ['cd', '', 'ab']);
  // And so is one that was only pushed out of the kernel's memory: no longer in doubt.
  registry.missed({ count: 1, since: 60e6, until: 61e6 }, () => false);
  t.equal(nameAt(102, 60.5e6), '');
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 62e6, start: 25e6, fromMntns: 0, mntns: 102, unique: 10n, pid: 16, ...docker }));
  t.equal(nameAt(102, 60.5e6), 'ab');
  t.end();
});

void t.test("a cgroup's name that two containers have at once is neither's id", (t) => {
  const { registry } = makeRegistry();
  const started = (unique: bigint, pidns: number, path: string, kind: number): void => {
    const parts = { mntns: Number(unique) + 300, unique, pidns, pid: pidns, ownCgroup: true, places: [placeOf(path)] };
    registry.take(eventOf({ ...parts, kind: TASK_EVENT.NEW, time: pidns }));
    registry.take(eventOf({ ...parts, kind, time: pidns + 1 }));
  };
  started(1n, 50, '/a/main', TASK_EVENT.EXEC);
  started(2n, 60, '/b/main', TASK_EVENT.EXEC);
  started(3n, 70, '/a/main', TASK_EVENT.EXEC);
  t.same(
    [...registry.live].map(({ id }) => id),
    ['main', 'mntns-302', 'mntns-303'],
  );
  t.equal(new Set([1, 2, 3].map((i) => registry.spaces.current(300 + i)?.container)).size, 3, 'and each is one of its own');
  // Another one after it may be called so.
  registry.take(eventOf({ kind: TASK_EVENT.GONE, time: 90, mntns: 301, unique: 1n }));
  started(4n, 95, '/b/main', TASK_EVENT.EXEC);
  t.equal(registry.spaces.current(304)?.container?.id, 'main');
  t.end();
});

void t.test('a container that ends while its end is looked for keeps what was reported of it and not read yet', (t) => {
  const { registry, told } = makeRegistry();
  const process = { pid: 77, pidns: 30, pidnsParent: host.pidns, pidnsLevel: 1, netns: 20, comm: 'crun' };
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 10, fromMntns: 9, ...process }));
  registry.take(eventOf({ kind: TASK_EVENT.INIT, time: 11, nsPid: 1, ...process }));
  const [record] = registry.live;
  t.match(record, { id: 'mntns-100', unsettled: true }, 'its cgroup may come yet');
  const isGone = (): boolean => true;
  // A report is still being written, and all behind it waits.
  registry.removeEnded(isGone, () => false, 50);
  t.equal(record?.goneBootNs, null);
  const reports = [
    eventOf({ kind: TASK_EVENT.EXEC, time: 30, nsPid: 1, ownCgroup: true, ...process, places: [placeOf('/web-1')] }),
    eventOf({ kind: TASK_EVENT.DIED, time: 40, nsPid: 1, ...process }),
  ];
  const sync = (): boolean => {
    for (const report of reports) registry.take(report);
    return true;
  };
  registry.removeEnded(isGone, sync, 50);
  t.match(record, { id: 'web-1', state: 'gone', goneBootNs: 40 });
  t.equal(registry.spaces.at(100, 30)?.container?.id, 'web-1', 'what its program did is its own');
  t.same(told, ['added', 'removed'], 'once');
  // One whose end was lost.
  registry.take(eventOf({ kind: TASK_EVENT.NEW, time: 60, mntns: 101, unique: 2n, pid: 78, ...docker }));
  registry.removeEnded(isGone, () => true, 70);
  t.equal(registry.byId(id)?.goneBootNs, 70);
  t.end();
});
