// Every way to make a container, without a hook at the exits of clone and clone3, or at cgroup_mkdir: each is seen where it happens.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { TASK_EVENT } from '../../../src/enrich/containers/task-event.ts';
import { Tracker } from '../../../src/enrich/containers/tracker.ts';
import { idOf, tag, TestCgroups, traceExec } from './fixture.ts';

t.setTimeout(280_000);
const cgroups = new TestCgroups();
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-making-'));
t.teardown(() => {
  cgroups.close();
  rmSync(folder, { recursive: true });
});

const maker = path.join(folder, 'making');
const source = fileURLToPath(new URL('../../../../test/enrich/containers/making.c', import.meta.url));
const built = spawnSync('gcc', ['-O1', '-w', '-o', maker, source], { encoding: 'utf8' });
if (built.status !== 0) throw new Error(built.stderr);

/** Runs a program in a container; gives when its first process and its maker went on after the call that made it, in nanoseconds since boot. */
function make(how: string, cgroup: string, word: string): { readonly child: number; readonly parent: number } {
  const { status, stdout, stderr } = spawnSync(maker, [how, cgroup, '/bin/true', tag, word], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${how}: ${stderr}`);
  return { child: Number(stdout), parent: Number(stderr) };
}

const ways: readonly (readonly [how: string, what: string])[] = [
  ['clone', 'clone with CLONE_NEWNS'],
  ['clone3', 'clone3 with CLONE_INTO_CGROUP: no process is moved, so no tracepoint of cgroups tells of it'],
  ['unshare', 'unshare, then a fork'],
  ['setns', 'setns into namespaces that a waiting process holds'],
  ['late-cgroup', 'clone, and the cgroup only then, as crun does it'],
];

for (const [how, what] of ways) {
  void t.test(`made by ${what}`, async (t) => {
    const docker = `${tag}-${how}-d`;
    const bare = `${tag}-${how}-bare`;
    const traced = await traceExec();
    make(how, cgroups.make(`docker/${idOf(docker)}`), docker);
    make(how, cgroups.make(bare), bare);
    const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
    const ids = new Map(execs.map(({ args, runtime }) => [args[2], runtime.containerId]));
    t.equal(ids.get(docker), idOf(docker), 'by the layout of a runtime');
    // Its own is a cgroup that its maker is not in.
    if (how === 'clone3' || how === 'late-cgroup') t.equal(ids.get(bare), bare, 'by the name of its own cgroup');
    else t.match(ids.get(bare), /^mntns-\d+$/, 'without a cgroup of its own by its number');
    t.equal(execs.length, 2);
    t.ok(execs.every(({ runtime }) => runtime.containerPid > 0));
    t.end();
  });
}

void t.test('a new namespace is reported before the first instruction in it; the exit of clone comes too late for that', async (t) => {
  const kernel = new Kernel();
  const made: { from: number; pid: number }[] = [];
  const tracker = new Tracker(
    kernel,
    ({ kind, time, pid, comm }) => kind === TASK_EVENT.NEW && comm === 'making' && made.push({ from: time, pid }),
    () => {},
  );
  const rounds = 40;
  let late = 0;
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < rounds; i++) {
    made.length = 0;
    const { child, parent } = make(i % 2 === 0 ? 'clone' : 'clone3', cgroups.make(`${tag}-race`), 'race');
    tracker.drain();
    const mine = made.filter(({ from }) => from < child && from > child - 5e9);
    if (mine.length === 0) t.fail(`round ${i}: the child ran at ${child}, reported were ${JSON.stringify(made)}`);
    else least = Math.min(least, child - Math.max(...mine.map(({ from }) => from)));
    if (parent > child) late++;
  }
  tracker.close();
  kernel.close();
  t.comment(
    `the report is at least ${(least / 1000).toFixed(1)} us ahead of the child; of ${rounds} calls ${late} returned after the child's first instruction`,
  );
  t.ok(least > 0);
  t.end();
});

void t.test('the reports of 400 containers have room while nobody reads them, with paths as they are in a cluster', async (t) => {
  const kernel = new Kernel();
  const paths: (string | undefined)[] = [];
  const tracker = new Tracker(
    kernel,
    ({ kind, comm, places }) => kind === TASK_EVENT.NEW && comm === 'making' && paths.push(places[0]?.path),
    () => {},
  );
  const directory = cgroups.make(`${tag}-kubepods.slice/kubepods-burstable.slice/cri-containerd-${idOf(tag)}.scope`);
  // 1,200 events with paths at the least: 2 MiB has room for 743 that are as long as the longest.
  const { status, stderr } = spawnSync('sh', ['-c', `for i in $(seq 400); do ${maker} clone3 ${directory} /bin/true || exit 1; done`], {
    encoding: 'utf8',
  });
  t.equal(status, 0, stderr);
  tracker.drain();
  t.equal(tracker.takeGap(), null, 'nothing was lost');
  const mine = paths.filter((each) => each?.endsWith(`/cri-containerd-${idOf(tag)}.scope`));
  t.equal(mine.length, 400);
  tracker.close();
  kernel.close();
  t.end();
});

void t.test('a cgroup that is removed while the container runs, and one that its processes leave', async (t) => {
  const [first, second] = [`${tag}-removed`, `${tag}-elsewhere`];
  const own = cgroups.make(`docker/${idOf(first)}`);
  const other = cgroups.make(`docker/${idOf(second)}`);
  const traced = await traceExec();
  // Moved out, its directory removed, and then another program is started.
  const script = `echo 0 > ${cgroups.make('elsewhere')}/cgroup.procs; rmdir ${own}; /bin/true ${tag} ${first}; exit 0`;
  spawnSync('sh', ['-c', `echo $$ > ${own}/cgroup.procs; exec unshare -mpf sh -c '${script}'`]);
  // Into the cgroup of another container: it stays what it was when it was made.
  spawnSync('sh', [
    '-c',
    `echo $$ > ${cgroups.make(`docker/${idOf(`${second}-a`)}`)}/cgroup.procs; exec unshare -mpf sh -c 'echo 0 > ${other}/cgroup.procs; /bin/true ${tag} ${second}; exit 0'`,
  ]);
  const execs = (await traced.stop(tag)).filter(({ args }) => args[0] === '/bin/true');
  t.same(
    execs.map(({ args, runtime }) => [args[2], runtime.containerId]),
    [
      [first, idOf(first)],
      [second, idOf(`${second}-a`)],
    ],
  );
  t.end();
});
