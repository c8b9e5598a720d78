// Where the programs that see containers cannot be loaded or attached, /proc and fs.watch on folders of cgroups tell.
import { readdirSync } from 'node:fs';
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { ProcWatcher } from '../../../src/enrich/containers/proc-watcher.ts';
import { TASK_EVENT, type TaskEvent } from '../../../src/enrich/containers/task-event.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { failNamed, type Fault, FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { idOf, startContainer, tag, TestCgroups, traceExec, until } from './fixture.ts';

t.setTimeout(110_000);
const cgroups = new TestCgroups();
t.teardown(() => cgroups.close());
const inDocker = (word: string): string => cgroups.make(`docker/${idOf(word)}`);

const refusals: readonly (readonly [what: string, fault: Fault, reason: RegExp])[] = [
  ['programs are refused with EPERM', failNamed('BPF_PROG_LOAD', 'EPERM'), /EPERM/],
  ['programs are refused with EINVAL', failNamed('BPF_PROG_LOAD', 'EINVAL'), /EINVAL/],
  ['maps are refused with EPERM', failNamed('BPF_MAP_CREATE', 'EPERM'), /EPERM/],
  ['bpf(2) is not there', { when: ({ command }) => command !== null, errno: 'ENOSYS' }, /ENOSYS/],
  [
    'nothing can be attached',
    {
      when: ({ name, command }) => command === 'BPF_RAW_TRACEPOINT_OPEN' || command === 'BPF_LINK_CREATE' || name === 'perf_event_open',
      errno: 'EACCES',
    },
    /EACCES/,
  ],
];

for (const [i, [what, fault, reason]] of refusals.entries()) {
  void t.test(`${what}: containers are found all the same, filtered in user space, with one notice`, async (t) => {
    const before = readdirSync('/proc/self/fd').length;
    const faults = new FaultInjector(createBackend(), hostArch(), [fault]);
    // The gadget's own programs are loaded: only the tracker's are not.
    const refusing = new Kernel({ sys: new Sys(faults, hostArch()) });
    const [there, later, other] = ['there', 'later', 'other'].map((name) => `${tag}-${name}${i}`) as [string, string, string];
    const first = startContainer({ cgroup: inDocker(there), command: ['sh', '-c', 'echo ready; read x'] });
    await new Promise((resolve) => first.stdout?.once('data', resolve));
    const notices: string[] = [];
    const filter = new ContainerFilter({ containerName: idOf(later) });
    const traced = await traceExec({ kernel: refusing, polling: 'fallback', filter, onNotice: (notice) => notices.push(notice) });
    const listed = (word: string): boolean => traced.containers.list.some(({ id }) => id === idOf(word));
    t.ok(faults.injected > 0, 'the kernel refused');
    t.match(notices, [reason]);
    t.equal(notices.length, 1);
    t.ok(listed(there), 'what runs already');
    const children = [later, other].map((word) =>
      startContainer({ cgroup: inDocker(word), command: ['sh', '-c', `read x; /bin/true ${tag} ${word}`] }),
    );
    t.ok(await until(() => listed(later) && listed(other)), 'what comes');
    for (const child of [first, ...children]) child.stdin?.end('\n');
    t.ok(await until(() => ![there, later, other].some(listed)), 'what goes');
    await traced.stop(tag);
    t.same(
      traced.execs.filter(({ args }) => args[0] === '/bin/true').map(({ args, runtime }) => [args[2], runtime.containerId]),
      [[later, idOf(later)]],
    );
    t.ok(
      traced.execs.every(({ runtime }) => runtime.containerId === idOf(later)),
      'nobody else',
    );
    refusing.close();
    // What a process opens once and keeps is there after the first round.
    if (i > 0) t.ok(await until(() => readdirSync('/proc/self/fd').length <= before), 'no descriptor and no watch is left');
    t.end();
  });
}

void t.test('a program that rawbpf may not load at all is an error where nobody wants to poll', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [failNamed('BPF_PROG_LOAD', 'EPERM')]);
  const refusing = new Kernel({ sys: new Sys(faults, hostArch()) });
  await t.rejects(traceExec({ kernel: refusing, polling: 'never' }), { code: 'E_SYSCALL' });
  refusing.close();
});

for (const [what, limits] of [
  ['fs.watch alone', { idleMs: 2 ** 30 }],
  ['the clock alone', { maxFolders: 0 }],
] as const) {
  void t.test(`${what} finds a container and its end`, async (t) => {
    const seen: TaskEvent[] = [];
    const watcher = new ProcWatcher('', (event) => seen.push(event), limits);
    watcher.scan();
    watcher.setReferenced(true);
    const word = `${tag}-${what.replaceAll(' ', '-')}`;
    const cgroup = inDocker(word);
    const found = (): TaskEvent | undefined =>
      seen.find(({ kind, places }) => kind === TASK_EVENT.NEW && places.some(({ path }) => path.endsWith(`/docker/${idOf(word)}`)));
    const child = startContainer({ cgroup, command: ['sh', '-c', 'echo ready; read x'] });
    t.ok(await until(() => found() !== undefined), 'its coming');
    child.stdin?.end('\n');
    await new Promise((resolve) => child.once('exit', resolve));
    // Removing its folder is what is heard of.
    cgroups.remove(`docker/${idOf(word)}`);
    const mntns = found()?.mntns;
    t.ok(await until(() => seen.some((event) => event.kind === TASK_EVENT.GONE && event.mntns === mntns)), 'its end');
    watcher.close();
    t.end();
  });
}
