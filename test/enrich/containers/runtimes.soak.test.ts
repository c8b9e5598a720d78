// Real runtimes: containers that only run /bin/true, started as fast as it goes, with and without the runtimes' sockets, and
// with rawbpf stopped in the middle. RAWBPF_CONTAINERS says how many of each (200), RAWBPF_RUNTIMES which, RAWBPF_CASES which cases (0,1,...,delay).
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { TASK_EVENT } from '../../../src/enrich/containers/task-event.ts';
import { Tracker } from '../../../src/enrich/containers/tracker.ts';

t.setTimeout(3_500_000);

const root = fileURLToPath(new URL('../../../../', import.meta.url));
const rigScript = path.join(root, 'scripts', 'containers', 'rig.mjs');
const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');
const count = Number(process.env['RAWBPF_CONTAINERS'] ?? 200);
const bare: readonly string[] = ['runc', 'crun', 'lxc', 'systemd-nspawn'];
/** Pods' containers; CRI-O only where it is (scripts/containers/README.md). */
const pods: readonly string[] = ['cri', 'cri-o'];
const crio = process.env['RAWBPF_CRIO'] === undefined ? [] : ['cri-o'];
const usual = ['docker', 'containerd', 'podman', 'cri', ...crio, ...bare];
const runtimes = (process.env['RAWBPF_RUNTIMES'] ?? usual.join(',')).split(',') as Runtime[];
const atOnce = 4;

type Runtime = 'docker' | 'containerd' | 'podman' | 'cri' | 'cri-o' | 'runc' | 'crun' | 'lxc' | 'systemd-nspawn';

interface Rig {
  readonly runtimes: Readonly<Record<Runtime, { readonly socket?: string; readonly cli: readonly string[]; readonly image: string }>>;
  readonly env: Readonly<Record<string, string>>;
}

interface Exec {
  readonly args: string;
  readonly runtime: {
    readonly containerId: string;
    readonly containerName: string;
    readonly containerPid: number;
    readonly runtimeName: string;
  };
  readonly k8s: { readonly podName: string; readonly namespace: string; readonly podLabels: string };
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-rig-'));
const rigEnv = { ...process.env, RAWBPF_RIG_DIR: folder };
const started = spawnSync(process.execPath, [rigScript, 'start', ...runtimes], { encoding: 'utf8', env: rigEnv, maxBuffer: 1 << 24 });
if (started.status !== 0) throw new Error(`the rig did not start: ${started.stderr}`);
const rig = JSON.parse(started.stdout) as Rig;
// At the very end, however it comes: a time limit does not run teardowns.
process.once('exit', () => {
  spawnSync(process.execPath, [rigScript, 'stop'], { env: rigEnv });
  rmSync(folder, { recursive: true, force: true });
});
process.once('SIGTERM', () => process.exit(1));

/** `rawbpf run trace_exec` beside this process. */
class Traced {
  readonly #child: ReturnType<typeof spawn>;
  #out = '';
  #err = '';

  constructor(args: readonly string[]) {
    this.#child = spawn(process.execPath, [program, 'run', 'trace_exec', '-v', '-o', 'json', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.on('data', (data: Buffer) => (this.#out += data.toString()));
    this.#child.stderr?.on('data', (data: Buffer) => (this.#err += data.toString()));
  }

  async ready(): Promise<this> {
    while (!/: attached$/m.test(this.#err)) {
      if (this.#child.exitCode !== null) throw new Error(this.#err);
      await pause(20);
    }
    return this;
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.#child.kill(name);
  }

  async stop(): Promise<{ readonly execs: readonly Exec[]; readonly stderr: string }> {
    const ended = new Promise((resolve) => this.#child.on('close', resolve));
    this.#child.kill('SIGINT');
    await ended;
    // A machine that gives this process no time for a second looks to it as if nobody read.
    if (/not being read/.test(this.#err)) throw new Error(this.#err);
    return {
      execs: this.#out
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Exec),
      stderr: this.#err,
    };
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The pod that a runtime's containers are started in, as the rig tells it. */
const podOf = new Map<Runtime, string>();

/** A new pod for each case; not in the time that is measured. */
function makePod(runtime: Runtime): void {
  if (!pods.includes(runtime)) return;
  const before = podOf.get(runtime);
  if (before !== undefined) {
    const { sandbox } = JSON.parse(before) as { sandbox: string };
    spawnSync(process.execPath, [rigScript, 'unpod', sandbox, '--runtime', runtime], { env: rigEnv, stdio: 'inherit' });
  }
  const made = spawnSync(process.execPath, [rigScript, 'pod', 'soak', '--runtime', runtime, '--label', 'app=soak'], {
    encoding: 'utf8',
    env: rigEnv,
  });
  if (made.status !== 0) throw new Error(made.stderr);
  // Of one that is removed at once containerd's CRI has nothing to say to who was stopped; CRI-O tells it in its events.
  podOf.set(runtime, JSON.stringify({ ...(JSON.parse(made.stdout) as object), labels: { app: 'soak' }, keep: runtime === 'cri' }));
}

function commandOf(runtime: Runtime, name: string): readonly string[] {
  const { cli, image } = rig.runtimes[runtime];
  const pod = podOf.get(runtime);
  if (pod !== undefined) return [process.execPath, rigScript, 'once', pod, name, '/bin/true', name];
  if (bare.includes(runtime)) return [...cli, name, '/bin/true', name];
  if (runtime === 'containerd') return [...cli, 'run', '--rm', image, name, '/bin/true', name];
  return [...cli, 'run', '--rm', '--name', name, '--network', 'none', image, '/bin/true', name];
}

/** Without a socket: the name that a person gave it, docker's and podman's own ids, or nothing but a number. */
function idFits(runtime: Runtime, id: string, name: string): boolean {
  if (runtime === 'docker' || runtime === 'podman' || pods.includes(runtime)) return /^[0-9a-f]{64}$/.test(id);
  return runtime === 'systemd-nspawn' ? /^mntns-\d+$/.test(id) : id === name;
}

/** How long each took from the client's start to its end, in milliseconds, and when it ended. */
interface Start {
  readonly tookMs: number;
  readonly endedAt: number;
}

/** Starts them all, a few at a time. */
async function startAll(runtime: Runtime, names: readonly string[]): Promise<readonly Start[]> {
  const queue = names.values();
  const starts: Start[] = [];
  const worker = async (): Promise<void> => {
    for (const name of queue) {
      const [command = '', ...args] = commandOf(runtime, name);
      const before = performance.now();
      const env = podOf.has(runtime) ? rigEnv : { ...process.env, ...rig.env };
      const child = spawn(command, args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
      const status = await new Promise((resolve) => child.on('exit', resolve));
      if (status !== 0) throw new Error(`${name} was not started: ${command} gave ${String(status)}`);
      const endedAt = performance.now();
      starts.push({ tookMs: endedAt - before, endedAt });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return starts;
}

/** The value that so much of all lies below. */
function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

function socketFlags(present: boolean): readonly string[] {
  const socketOf = (kind: Runtime): string => (present ? (rig.runtimes[kind]?.socket ?? '/nonexistent') : '/nonexistent');
  return (['docker', 'containerd', 'podman'] as const)
    .flatMap((kind) => [`--${kind}-socketpath`, kind === 'containerd' && 'cri' in rig.runtimes ? socketOf('cri') : socketOf(kind)])
    .concat('--crio-socketpath', socketOf('cri-o'));
}

interface Case {
  readonly what: string;
  readonly sockets: boolean;
  readonly half?: boolean;
  readonly stopped?: boolean;
}

const all: readonly Case[] = [
  { what: 'with its socket', sockets: true },
  { what: 'without any socket', sockets: false },
  { what: 'half of them, by name', sockets: true, half: true },
  { what: 'with its socket, rawbpf stopped for 3 s', sockets: true, stopped: true },
  { what: 'without any socket, rawbpf stopped for 3 s', sockets: false, stopped: true },
  { what: 'half of them, by name, rawbpf stopped for 3 s', sockets: true, half: true, stopped: true },
];

const chosen = process.env['RAWBPF_CASES'];
const cases = all.filter((_, i) => chosen === undefined || chosen.split(',').includes(String(i)));

for (const runtime of runtimes) {
  const isBare = bare.includes(runtime);
  for (const { what, sockets, half = false, stopped = false } of cases) {
    // Nobody answers for those without a daemon; their ids are names, if they have any.
    if (isBare && (half ? runtime === 'systemd-nspawn' : sockets)) continue;
    void t.test(`${runtime}: ${count} containers, ${what}`, async (t) => {
      const tag = `${runtime}-${process.pid}-${cases.findIndex((each) => each.what === what)}`;
      const names = Array.from({ length: count }, (_, i) => `${tag}-${i}`);
      const wanted = half ? names.filter((_, i) => i % 2 === 0) : names;
      makePod(runtime);
      const flags = half ? ['-c', wanted.join(',')] : [];
      const traced = await new Traced([...socketFlags(sockets), ...flags]).ready();
      const margins = new Margins(runtime);
      const before = performance.now();
      if (stopped) {
        const third = Math.ceil(names.length / 3);
        await startAll(runtime, names.slice(0, third));
        traced.signal('SIGSTOP');
        let resumedAt = Number.POSITIVE_INFINITY;
        const resume = (): void => {
          resumedAt = performance.now();
          traced.signal('SIGCONT');
        };
        // Those without a daemon start 60 a second on a quiet machine: two thirds of all meet a stopped rawbpf on a busy one, too.
        const waited = pause(3000).then(() => (isBare ? null : resume()));
        const starts = await startAll(runtime, names.slice(third));
        await waited;
        if (isBare) resume();
        const during = starts.filter(({ endedAt }) => endedAt < resumedAt);
        t.comment(`${during.length} came and went while rawbpf was stopped`);
      } else await startAll(runtime, names);
      t.comment(`${(names.length / ((performance.now() - before) / 1000)).toFixed(1)} containers a second`);
      t.comment(`least time between a namespace and its first program: ${margins.close().toFixed(2)} ms`);
      await pause(500);
      const { execs, stderr } = await traced.stop();
      const mine = execs.filter(({ args }) => args.startsWith(`/bin/true ${tag}-`));
      t.same(
        mine.map(({ args }) => args.split(' ')[1] ?? '').toSorted(byText),
        wanted.toSorted(byText),
        "every program once, and nobody else's",
      );
      const wrong = mine.filter(({ args, runtime: { containerName, containerId } }) => {
        const name = args.split(' ')[1];
        return sockets && !isBare ? containerName !== name : !idFits(runtime, containerId, name ?? '');
      });
      t.same(wrong, [], 'each with its own container');
      // Of one without an id its process tells it from others.
      const idOf = ({ runtime: names }: Exec): string =>
        `${names.containerId} ${names.containerId.startsWith('mntns-') ? names.containerPid : ''}`;
      t.equal(new Set(mine.map(idOf)).size, wanted.length, 'as many ids as containers');
      t.ok(
        mine.every((exec) => exec.runtime.runtimeName === (runtime === 'cri' ? 'containerd' : runtime)),
        'all of this runtime',
      );
      if (sockets && podOf.has(runtime)) {
        const podsSeen = new Set(mine.map(({ k8s }) => `${k8s.namespace}/${k8s.podName} ${k8s.podLabels}`));
        t.same([...podsSeen], ['shop/soak app=soak'], 'each with its pod');
      }
      if (half) t.same(execs.length, mine.length, 'no event of anybody else');
      t.match(stderr, /, 0 lost, /);
      t.notMatch(stderr, /had no room|not being read/);
    });
  }
}

for (const runtime of chosen?.includes('delay') === false ? [] : runtimes.filter((each) => ![...bare, ...pods].includes(each))) {
  void t.test(`${runtime}: no start is delayed, neither while rawbpf runs nor while it is stopped`, async (t) => {
    const tag = `${runtime}-${process.pid}-delay`;
    const took = { without: [] as number[], running: [] as number[], stopped: [] as number[] };
    let made = 0;
    const some = async (into: number[]): Promise<void> => {
      const names = Array.from({ length: 8 }, () => `${tag}-${made++}`);
      into.push(...(await startAll(runtime, names)).map(({ tookMs }) => tookMs));
    };
    await some([]);
    // In turns, so that whatever else the machine does meets all three alike.
    for (let round = 0; round < 6; round++) {
      await some(took.without);
      const traced = await new Traced(socketFlags(true)).ready();
      await some(took.running);
      const first = made;
      traced.signal('SIGSTOP');
      await some(took.stopped);
      traced.signal('SIGCONT');
      await pause(300);
      const { execs } = await traced.stop();
      const mine = execs.filter(({ args }) => args.startsWith(`/bin/true ${tag}-`));
      t.equal(mine.length, 16);
      t.ok(
        mine.every(({ args, runtime: { containerName } }) => containerName === args.split(' ')[1]),
        `those of a stopped rawbpf, ${first} and after, too`,
      );
    }
    const rows = Object.entries(took).map(([what, values]) => {
      const [median, slowest] = [quantile(values, 0.5), Math.max(...values)];
      t.comment(`${what}: ${values.length} starts, median ${median.toFixed(0)} ms, slowest ${slowest.toFixed(0)} ms`);
      return { what, median, slowest };
    });
    const base = rows.find(({ what }) => what === 'without');
    for (const { what, median, slowest } of rows) {
      t.ok(median < 1.5 * (base?.median ?? 0), `${what}: the median is x ${(median / (base?.median ?? 1)).toFixed(2)}`);
      t.ok(slowest < 3 * (base?.slowest ?? 0), `${what}: the slowest is x ${(slowest / (base?.slowest ?? 1)).toFixed(2)}`);
    }
  });
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

const parents: Readonly<Record<Runtime, RegExp>> = {
  docker: /^\/docker\/[0-9a-f]{64}$/,
  containerd: /^\/default\/containerd-\d+-/,
  cri: /^\/kubepods\/besteffort\/pod[-0-9a-f]{36}\/[0-9a-f]{64}$/,
  'cri-o': /^\/kubepods\/besteffort\/pod[-0-9a-f]{36}\/crio-[0-9a-f]{64}$/,
  podman: /^\/libpod_parent\/libpod-[0-9a-f]{64}/,
  runc: /^\/runc-\d+-/,
  crun: /^\/crun-\d+-/,
  lxc: /^\/lxc.payload.lxc-\d+-/,
  // Below whoever starts it, and the same for all.
  'systemd-nspawn': /\/payload$/,
};

/** How long mount namespaces were known before a program was started in them. */
class Margins {
  readonly #kernel = new Kernel();
  readonly #from = new Map<bigint, number>();
  readonly #tracker: Tracker;
  #least = Number.POSITIVE_INFINITY;

  /** Others on this machine make namespaces, too: only cgroups of the runtime's count. */
  constructor(runtime: Runtime) {
    this.#tracker = new Tracker(
      this.#kernel,
      ({ kind, unique, time, places }) => {
        if (kind === TASK_EVENT.NEW) this.#from.set(unique, time);
        const from = this.#from.get(unique);
        if (kind !== TASK_EVENT.EXEC || from === undefined || !places.some(({ path }) => parents[runtime].test(path))) return;
        this.#least = Math.min(this.#least, (time - from) / 1e6);
      },
      () => {},
    );
  }

  close(): number {
    this.#tracker.drain();
    this.#tracker.close();
    this.#kernel.close();
    return this.#least;
  }
}
