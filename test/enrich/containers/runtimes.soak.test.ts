// Real runtimes: containers that only run /bin/true, started as fast as it goes, with and without the runtimes' sockets, and
// with rawbpf stopped in the middle. RAWBPF_CONTAINERS says how many of each (200), RAWBPF_RUNTIMES which.
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
const runtimes = (process.env['RAWBPF_RUNTIMES'] ?? 'docker,containerd,podman').split(',') as Runtime[];
const atOnce = 4;

type Runtime = 'docker' | 'containerd' | 'podman';

interface Rig {
  readonly runtimes: Readonly<Record<Runtime, { readonly socket: string; readonly cli: readonly string[]; readonly image: string }>>;
  readonly env: Readonly<Record<string, string>>;
}

interface Exec {
  readonly args: string;
  readonly runtime: { readonly containerId: string; readonly containerName: string; readonly runtimeName: string };
}

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-rig-'));
const rigEnv = { ...process.env, RAWBPF_RIG_DIR: folder };
const started = spawnSync(process.execPath, [rigScript, 'start', ...runtimes], { encoding: 'utf8', env: rigEnv, maxBuffer: 1 << 24 });
if (started.status !== 0) throw new Error(`the rig did not start: ${started.stderr}`);
const rig = JSON.parse(started.stdout) as Rig;
t.teardown(() => {
  spawnSync(process.execPath, [rigScript, 'stop'], { env: rigEnv });
  rmSync(folder, { recursive: true, force: true });
});

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

function commandOf(runtime: Runtime, name: string): readonly string[] {
  const { cli, image } = rig.runtimes[runtime];
  if (runtime === 'containerd') return [...cli, 'run', '--rm', image, name, '/bin/true', name];
  return [...cli, 'run', '--rm', '--name', name, '--network', 'none', image, '/bin/true', name];
}

/** Starts them all, a few at a time; returns how many milliseconds the slowest took. */
async function startAll(runtime: Runtime, names: readonly string[]): Promise<number> {
  const queue = names.values();
  let slowest = 0;
  const worker = async (): Promise<void> => {
    for (const name of queue) {
      const [command = '', ...args] = commandOf(runtime, name);
      const before = performance.now();
      const child = spawn(command, args, { env: { ...process.env, ...rig.env }, stdio: ['ignore', 'ignore', 'inherit'] });
      await new Promise((resolve) => child.on('exit', resolve));
      slowest = Math.max(slowest, performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return slowest;
}

function socketFlags(present: boolean): readonly string[] {
  return (['docker', 'containerd', 'podman'] as const)
    .flatMap((kind) => [`--${kind}-socketpath`, present ? (rig.runtimes[kind]?.socket ?? '/nonexistent') : '/nonexistent'])
    .concat('--crio-socketpath', '/nonexistent');
}

interface Case {
  readonly what: string;
  readonly sockets: boolean;
  readonly half?: boolean;
  readonly stopped?: boolean;
}

const cases: readonly Case[] = [
  { what: 'with its socket', sockets: true },
  { what: 'without any socket', sockets: false },
  { what: 'half of them, by name', sockets: true, half: true },
  { what: 'rawbpf stopped for 3 s', sockets: true, stopped: true },
];

for (const runtime of runtimes) {
  for (const { what, sockets, half = false, stopped = false } of cases) {
    void t.test(`${runtime}: ${count} containers, ${what}`, async (t) => {
      const tag = `${runtime}-${process.pid}-${cases.findIndex((each) => each.what === what)}`;
      const names = Array.from({ length: count }, (_, i) => `${tag}-${i}`);
      const wanted = half ? names.filter((_, i) => i % 2 === 0) : names;
      const flags = half ? ['-c', wanted.join(',')] : [];
      const traced = await new Traced([...socketFlags(sockets), ...flags]).ready();
      const margins = new Margins();
      let slowestStopped = 0;
      if (stopped) {
        const third = Math.ceil(names.length / 3);
        await startAll(runtime, names.slice(0, third));
        traced.signal('SIGSTOP');
        const resumed = pause(3000).then(() => traced.signal('SIGCONT'));
        slowestStopped = await startAll(runtime, names.slice(third));
        await resumed;
      } else await startAll(runtime, names);
      t.comment(`least time between a namespace and its first program: ${margins.close().toFixed(2)} ms`);
      if (stopped) t.comment(`slowest start of a container while rawbpf was stopped: ${slowestStopped.toFixed(0)} ms`);
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
        if (sockets) return containerName !== name;
        return runtime === 'containerd' ? containerId !== name : !/^[0-9a-f]{64}$/.test(containerId);
      });
      t.same(wrong, [], 'each with its own container');
      t.equal(new Set(mine.map((exec) => exec.runtime.containerId)).size, wanted.length, 'as many ids as containers');
      t.ok(
        mine.every((exec) => exec.runtime.runtimeName === runtime),
        'all of this runtime',
      );
      if (half) t.same(execs.length, mine.length, 'no event of anybody else');
      t.match(stderr, /, 0 lost, /);
    });
  }
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** How long mount namespaces were known before a program was started in them. */
class Margins {
  readonly #kernel = new Kernel();
  readonly #from = new Map<bigint, number>();
  readonly #tracker: Tracker;
  #least = Number.POSITIVE_INFINITY;

  constructor() {
    this.#tracker = new Tracker(
      this.#kernel,
      ({ kind, unique, time, pidnsLevel }) => {
        if (kind === TASK_EVENT.NEW) this.#from.set(unique, time);
        const from = this.#from.get(unique);
        if (kind === TASK_EVENT.EXEC && from !== undefined && pidnsLevel > 0) this.#least = Math.min(this.#least, (time - from) / 1e6);
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
