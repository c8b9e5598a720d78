// 24 containers made and removed in a loop, each with a loop device mounted in it and a veth pair: nothing may grow, and
// nothing may keep what only their namespaces held. RAWBPF_SOAK_MINUTES says for how long (10).
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { ContainerFilter } from '../../../src/enrich/containers/filter.ts';
import { FakeRuntime, idOf, startContainer, tag, TestCgroups, traceExec, until, type Traced } from './fixture.ts';

const minutes = Number(process.env['RAWBPF_SOAK_MINUTES'] ?? 10);
const count = 24;
const atOnce = 6;
t.setTimeout((minutes + 5) * 60_000);

const cgroups = new TestCgroups();
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-leaks-'));
t.teardown(() => {
  cgroups.close();
  rmSync(folder, { recursive: true });
});

/** A file system of its own for each container that runs at the same time: a file can be told from another's loop device. */
const images = Array.from({ length: count }, (_, i) => path.join(folder, `image-${i}`));
const mkfs = spawnSync('mkfs.ext4', ['-q', images[0] ?? '', '1M'], { encoding: 'utf8' });
if (mkfs.status !== 0) throw new Error(mkfs.stderr);
for (const image of images.slice(1)) copyFileSync(images[0] ?? '', image);

/** Files behind the machine's loop devices. */
function backingFiles(): readonly string[] {
  return readdirSync('/sys/block').flatMap((name) => {
    try {
      return [readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim()];
    } catch {
      return [];
    }
  });
}

const veth = (i: number): string => `rl${process.pid % 100_000}x${i}`;
const fds = (): number => readdirSync('/proc/self/fd').length;
/** Kilobytes. */
function rss(): number {
  globalThis.gc?.();
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
}

/** The worst that was seen, in milliseconds after the container's end. */
const late = { loop: 0, veth: 0 };

/** One container, from its start until nothing of it is left. */
async function live(i: number, word: string): Promise<void> {
  const image = images[i] ?? '';
  const child = startContainer({
    cgroup: cgroups.make(`docker/${idOf(word)}`),
    unshare: ['-mnpf', '--mount-proc'],
    command: ['sh', '-c', `mount -o loop,ro ${image} /mnt && echo ready; read x; exec /bin/true ${tag} ${word}`],
  });
  const ended = new Promise((resolve) => child.once('exit', resolve));
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  // The first process in the new namespaces is the only child of unshare, which the shell became.
  const [pid = ''] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ');
  const made = spawnSync('ip', ['link', 'add', veth(i), 'type', 'veth', 'peer', 'name', 'eth0', 'netns', pid], { encoding: 'utf8' });
  if (made.status !== 0) throw new Error(made.stderr);
  if (!backingFiles().includes(image)) throw new Error(`${image} is on no loop device`);
  child.stdin?.end();
  await ended;
  const start = performance.now();
  const gone = { loop: false, veth: false };
  const look = (): boolean => {
    if (!gone.loop && !backingFiles().includes(image)) {
      gone.loop = true;
      late.loop = Math.max(late.loop, performance.now() - start);
    }
    if (!gone.veth && !existsSync(`/sys/class/net/${veth(i)}`)) {
      gone.veth = true;
      late.veth = Math.max(late.veth, performance.now() - start);
    }
    return gone.loop && gone.veth;
  };
  if (!(await until(look, 20_000))) throw new Error(`held: ${JSON.stringify(gone)}`);
}

let round = 0;

async function once(runtime: FakeRuntime, traced: Traced | null): Promise<number> {
  const words = Array.from({ length: count }, (_, i) => `${tag}-${round}-${i}`);
  round++;
  const queue = words.entries();
  const worker = async (): Promise<void> => {
    for (const [i, word] of queue) {
      runtime.add(idOf(word), { containerName: word });
      await live(i, word);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  let right = 0;
  if (traced !== null) {
    const mine = (): typeof traced.execs => traced.execs.filter(({ args }) => args[0] === '/bin/true' && args[1] === tag);
    await until(() => mine().length >= words.length, 30_000);
    right = mine().filter(({ args, runtime: { containerName } }) => containerName === args[2]).length;
    // What this test keeps would be taken for what it looks for.
    traced.execs.length = 0;
  }
  runtime.known.clear();
  cgroups.close();
  cgroups.make('docker');
  return right;
}

void t.test(`containers come and go for ${minutes} minutes`, async (t) => {
  const runtime = new FakeRuntime(20);
  await once(runtime, null);
  await once(runtime, null);
  t.comment(`without rawbpf: loop devices are gone after ${late.loop.toFixed(0)} ms at worst, veths after ${late.veth.toFixed(0)} ms`);
  late.loop = 0;
  late.veth = 0;
  const traced = await traceExec({ names: runtime, filter: new ContainerFilter({ containerName: '!nobody' }) });
  // What is remembered for 30 s is there first.
  for (const end = performance.now() + Math.min(45_000, minutes * 20_000); performance.now() < end;) await once(runtime, traced);
  const before = { ...traced.containers.sizes, fds: fds(), rss: rss() };
  const first = round;
  let right = 0;
  let told = performance.now();
  for (const end = performance.now() + minutes * 60_000; performance.now() < end;) {
    right += await once(runtime, traced);
    if (performance.now() - told < 60_000) continue;
    told = performance.now();
    t.comment(JSON.stringify({ rounds: round - first, ...traced.containers.sizes, fds: fds(), rss: rss() }));
  }
  t.equal(right, (round - first) * count, `${right} containers in ${round - first} rounds, each with its name`);
  await new Promise((resolve) => setTimeout(resolve, 3000));
  const after = { ...traced.containers.sizes, fds: fds(), rss: rss() };
  t.comment(JSON.stringify({ before, after }));
  t.comment(`with rawbpf: loop devices are gone after ${late.loop.toFixed(0)} ms at worst, veths after ${late.veth.toFixed(0)} ms`);
  t.ok(late.loop < 2000 && late.veth < 2000, 'loop devices and veths are gone within 2 s');
  t.equal(after.fds, before.fds, 'descriptors');
  t.ok(after.known <= before.known + 8, 'namespaces that the programs know');
  t.ok(after.leaving <= before.leaving + 8, 'threads that are on their way to another namespace');
  t.ok(after.spaces <= before.spaces * 1.5 + 50, 'namespaces that are remembered');
  t.ok(after.exiting <= before.exiting * 1.5 + 200, 'tasks that ended lately');
  t.ok(after.rss - before.rss < 30_000, `memory: ${after.rss - before.rss} KB more`);
  await traced.stop(tag);
});
