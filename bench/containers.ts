// What it costs to follow 500 containers: node build/bench/containers.js [COUNT]. Cgroups and namespaces are made as runtimes
// make them. Times with and without the programs are taken in turns, on one machine, and shown as ratios.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { Kernel } from '../src/bpf/kernel/kernel.ts';
import { ContainerCollection } from '../src/enrich/containers/collection.ts';
import { defaultSys } from '../src/sys/default-sys.ts';

const count = Number(process.argv[2] ?? 500);
const rounds = 7;
const sys = defaultSys();
const mount = readFileSync('/proc/mounts', 'utf8')
  .split('\n')
  .map((line) => line.split(' '))
  .find(([, , type]) => type === 'cgroup2')?.[1];
if (mount === undefined) throw new Error('no cgroup v2 is mounted');
const root = `${mount}/rawbpf-bench-${process.pid}`;
const folders = Array.from(
  { length: count },
  (_, i) => `${root}/docker/${createHash('sha256').update(`${process.pid} ${i}`).digest('hex')}`,
);

const rss = (): number => Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const say = (what: string, value: string): void => console.log(`${what.padEnd(64)} ${value}`);

const containers: ChildProcess[] = [];

/** Processes that only wait, each in a cgroup and a mount namespace of its own. */
async function startContainers(): Promise<void> {
  for (const folder of folders) {
    mkdirSync(folder, { recursive: true });
    const child = spawn('unshare', ['-m', '--propagation', 'unchanged', 'sleep', '3600'], { stdio: 'ignore' });
    writeFileSync(`${folder}/cgroup.procs`, String(child.pid));
    containers.push(child);
    if (containers.length % 20 === 0) await pause(5);
  }
  await pause(500);
}

async function stopContainers(): Promise<void> {
  for (const child of containers) child.kill('SIGKILL');
  for (const child of containers) {
    if (child.exitCode === null && child.signalCode === null) await new Promise((resolve) => child.on('exit', resolve));
  }
  for (const folder of [...folders, `${root}/docker`, root]) {
    try {
      rmdirSync(folder);
    } catch {
      // Its process is only just ending.
    }
  }
}

/** CPU seconds of programs that do nothing, started from a shell. */
function startPrograms(): number {
  const { stdout } = spawnSync('sh', ['-c', 'i=0; while [ $i -lt 500 ]; do i=$((i+1)); /bin/true; done; times'], { encoding: 'utf8' });
  return [...stdout.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}

/** CPU milliseconds of system calls that do next to nothing. */
function callKernel(): number {
  const start = cpuMs();
  for (let i = 0; i < 300_000; i++) sys.call('getppid');
  return cpuMs() - start;
}

function ratioOf(work: () => number): string {
  const ratios: number[] = [];
  work();
  for (let i = 0; i < rounds; i++) {
    const without = work();
    const kernel = new Kernel();
    const collection = ContainerCollection.open({ kernel });
    const withThem = work();
    collection.close();
    kernel.close();
    ratios.push(withThem / without);
  }
  return `x ${median(ratios).toFixed(3)} (median of ${rounds}, ${Math.min(...ratios).toFixed(3)} to ${Math.max(...ratios).toFixed(3)})`;
}

async function measure(): Promise<void> {
  say('starting programs on the host, with the tracker / without', ratioOf(startPrograms));
  say('system calls of the host, with the tracker / without', ratioOf(callKernel));
  await startContainers();
  globalThis.gc?.();
  const before = rss();
  const kernel = new Kernel();
  const opened = performance.now();
  const collection = ContainerCollection.open({ kernel });
  say(`opening, with ${count} containers that run already`, `${(performance.now() - opened).toFixed(0)} ms`);
  const mine = collection.list.filter(({ cgroups }) => cgroups.some(({ path }) => path.startsWith(`/rawbpf-bench-${process.pid}/`)));
  say('containers of these that are known', String(mine.length));
  kernel.dropCaches();
  globalThis.gc?.();
  say("memory that it takes, the kernel's types dropped", `${(rss() - before).toFixed(1)} MB`);
  const cpu = cpuMs();
  await pause(10_000);
  say('CPU while nothing happens', `${((cpuMs() - cpu) / 100).toFixed(2)} %`);
  const [first] = mine;
  const start = cpuMs();
  const lookups = 1_000_000;
  for (let i = 0; i < lookups; i++) {
    const container = mine[i % mine.length] ?? first;
    collection.byMntns(container?.mntns ?? 0, 0, (container?.sinceBootNs ?? 0) + 1e6);
  }
  say('finding the container of an event', `${(((cpuMs() - start) * 1e6) / lookups).toFixed(0)} ns`);
  const cpuBefore = cpuMs();
  await stopContainers();
  await pause(500);
  collection.sync();
  say(`CPU for the end of ${count} containers, ending them included`, `${(cpuMs() - cpuBefore).toFixed(0)} ms`);
  collection.close();
  kernel.close();
}

try {
  await measure();
} finally {
  await stopContainers();
}
