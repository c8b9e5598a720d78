import t from 'tap';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { listUsdtProbes } from '../../../src/bpf/link/usdt/probes.ts';
import { attachUsdt } from '../../../src/bpf/link/usdt/usdt.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector, failNamed } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
const folder = fileURLToPath(new URL('../../../../fixtures/usdt/', import.meta.url));
const target = `${folder}target.${process.arch}`;
const usdt = openObject(fixture('usdt/usdt.bpf.o'), { name: 'usdt' });
const indexed = openObject(fixture('usdt/usdt_index.bpf.o'), { name: 'usdt_index' });
const missing = -0x7777;

interface Kind {
  readonly name: string;
  readonly kernel: Kernel;
}

/** This kernel as it is, and as an older one: a uprobe for each place, and no attach cookies. */
const kinds: readonly Kind[] = [
  { name: 'as it is', kernel },
  { name: 'without uprobe_multi', kernel: new Kernel({ features: { uprobe_multi: false } }) },
  { name: 'without cookies', kernel: new Kernel({ features: { uprobe_multi: false, bpf_cookie: false, perf_link: false } }) },
];

/** A program that waits before it fires its probes, and tells their values. */
class Target {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly #lines: Interface;
  readonly #read: AsyncIterator<string>;

  constructor(command = target, args: readonly string[] = ['wait'], env: Record<string, string> = {}) {
    this.child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, ...env } });
    this.pid = this.child.pid as number;
    this.#lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream });
    this.#read = this.#lines[Symbol.asyncIterator]();
  }

  /** Fires each probe once; what it printed, by the names of the probes. */
  async round(): Promise<Map<string, number[]>> {
    this.child.stdin?.write('x');
    const told = new Map<string, number[]>();
    for (;;) {
      const { value, done } = await this.#read.next();
      if (done === true) throw new Error('the program ended');
      const [name, number] = value.split(' ') as [string, string];
      told.set(name, [...(told.get(name) ?? []), Number(number)]);
      // The last line of a round.
      if (name === 'listeners') return told;
    }
  }

  async end(): Promise<void> {
    this.child.stdin?.end();
    if (this.child.exitCode === null) await once(this.child, 'close');
    this.#lines.close();
  }
}

interface Written {
  readonly args: readonly number[];
  readonly count: number;
  readonly cookie: bigint;
  readonly program: number;
}

/** What the programs have written down so far. */
function records(collection: Collection): Written[] {
  const fired = Number(collection.variable('fired').get());
  return Array.from({ length: fired }, (_, index) => {
    const bytes = collection.map('records').lookup(new Uint8Array(new Uint32Array([index]).buffer)) as Uint8Array;
    const values = new BigInt64Array(bytes.slice().buffer);
    const [count = 0n, cookie = 0n, program = 0n] = values.subarray(12);
    return { args: Array.from(values.subarray(0, 12), Number), count: Number(count), cookie, program: Number(program) };
  });
}

const load = (on: Kernel, ...programs: string[]): Collection => loadCollection(on, usdt, { programs });

for (const { name, kernel: on } of kinds) {
  t.test(`arguments, cookies and all places of a probe: ${name}`, async (t) => {
    const running = new Target();
    const collection = load(on, 'on_any', 'on_other');
    const { pid } = running;
    const link = attachUsdt(collection.program('on_any'), `${target}:rawbpf:kinds`, { pid, cookie: 0x1122334455667788n });
    t.equal(link.kind, 'usdt');
    t.equal(link.target, `${target}:rawbpf:kinds`);
    const told = await running.round();
    t.match(told.get('listeners'), [0], 'nobody listens to the other probe');
    const [first] = records(collection);
    t.same(first?.args.slice(0, 7), told.get('kinds'), 'as the program says');
    t.same(first?.args.slice(7), Array(5).fill(missing));
    t.match(first, { count: 7, cookie: 0x1122334455667788n, program: 1 });

    // Two places, another program, and the counter of listeners.
    const other = attachUsdt(collection.program('on_other'), { path: target, provider: 'rawbpf', name: 'twice' }, { pid });
    const again = await running.round();
    // Linux 6.18 counts twice in a process that was running already, whoever attaches.
    t.ok(Number(again.get('listeners')?.[0]) >= 2, 'one listener for each place');
    const seen = records(collection);
    t.equal(seen.length, 4);
    t.same(
      seen.filter(({ program }) => program === 2).map(({ args }) => args[0]),
      again.get('twice'),
    );
    other.close();
    t.same((await running.round()).get('listeners'), [0]);
    t.equal(records(collection).length, 5);
    link.close();
    link.close();
    await running.round();
    t.equal(records(collection).length, 5, 'closed: nothing more');
    await running.end();
    collection.close();
  });
}

t.test('one process or all', async (t) => {
  const [mine, other] = [new Target(), new Target()];
  const collection = load(kernel, 'on_any');
  const link = attachUsdt(collection.program('on_any'), `${target}:rawbpf:kinds`, { pid: mine.pid });
  await other.round();
  t.equal(records(collection).length, 0);
  await mine.round();
  t.equal(records(collection).length, 1);
  link.close();
  const all = attachUsdt(collection.program('on_any'), `${target}:rawbpf:kinds`);
  await Promise.all([mine.round(), other.round()]);
  const late = spawnSync(target, { encoding: 'utf8' });
  t.equal(late.status, 0);
  t.equal(records(collection).length, 4, 'with one that came later');
  all.close();
  await Promise.all([mine.end(), other.end()]);
  collection.close();
});

t.test('a program that reads no arguments, and one by its section', async (t) => {
  const collection = load(kernel, 'on_bare', 'on_named');
  const bare = attachUsdt(collection.program('on_bare'), `${target}:rawbpf:bare`);
  spawnSync(target);
  t.equal(collection.variable('fired').get(), 1);
  bare.close();
  t.throws(() => attachProgram(collection.program('on_named')), { code: 'E_BINARY' }, 'its section names a file that is not there');
  const named = attachProgram(collection.program('on_named'), { target: `${target}:rawbpf:kinds` });
  spawnSync(target);
  t.equal(records(collection)[1]?.program, -3 * 1000 + 65535, 'BPF_USDT() names arguments');
  named?.close();
  collection.close();
});

t.test('memory at two registers, and a variable', async (t) => {
  const on = kernel.has('bpf_cookie');
  const told = new Map(
    spawnSync(target, { encoding: 'utf8' })
      .stdout.split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );
  if (on) {
    const collection = loadCollection(kernel, indexed);
    const link = attachUsdt(collection.program('on_indexed'), `${target}:rawbpf:indexed`);
    spawnSync(target);
    t.equal(collection.variable('value').get(), BigInt(told.get('indexed') as string));
    link.close();
    collection.close();
  }
  const older = load(kernel, 'on_any');
  t.throws(() => attachUsdt(older.program('on_any'), `${target}:rawbpf:indexed`), { code: 'E_USDT_ARG', next: /libbpf 1.7/ });
  if (process.arch === 'x64') {
    const link = attachUsdt(older.program('on_any'), `${target}:rawbpf:variable`);
    spawnSync(target);
    t.equal(records(older)[0]?.args[0], Number(told.get('variable')));
    link.close();
  }
  older.close();
});

t.test('descriptions are given back, and run out with an error', { skip: !kernel.has('bpf_cookie') && 'needs cookies' }, async (t) => {
  // The map of this object has room for two.
  const collection = loadCollection(kernel, indexed);
  const program = collection.program('on_indexed');
  const attach = () => attachUsdt(program, `${target}:rawbpf:twice`);
  for (let i = 0; i < 5; i++) attach().close();
  const links = [attach(), attach()];
  t.throws(attach, { code: 'E_USDT_FULL', where: { entries: 2 } });
  links.shift()?.close();
  attach().close();
  for (const link of links) link.close();
  collection.close();
});

t.test('a place that cannot be probed undoes the others', async (t) => {
  // The second uprobe, or the one link for both places, fails.
  for (const [features, fault] of [
    [{ uprobe_multi: false }, failNamed('perf_event_open', 'EBUSY', { skip: 1 })],
    [{ uprobe_multi: true }, failNamed('BPF_LINK_CREATE', 'EBUSY')],
  ] as const) {
    const faults = new FaultInjector(createBackend(), hostArch(), [fault]);
    const failing = new Kernel({ sys: new Sys(faults, hostArch()), features: { ...features, perf_link: false, uprobe_syscall: false } });
    const collection = load(failing, 'on_any');
    throwsErrno(t, () => attachUsdt(collection.program('on_any'), `${target}:rawbpf:twice`), 'EBUSY');
    spawnSync(target);
    t.equal(records(collection).length, 0);
    collection.close();
  }
});

t.test('libraries and position-independent programs', { skip: !existsSync('/usr/bin/gcc') && 'needs gcc' }, async (t) => {
  const made = mkdtempSync(path.join(tmpdir(), 'rawbpf-usdt-'));
  const gcc = (...args: string[]) => t.equal(spawnSync('gcc', ['-O2', '-w', '-I', folder, ...args], { stdio: 'inherit' }).status, 0);
  writeFileSync(`${made}/main.c`, 'void run(int); int main(int argc) { run(argc); }');
  gcc('-fPIC', '-shared', '-DLIBRARY', '-o', `${made}/libtarget.so`, `${folder}target.c`);
  gcc('-fPIE', '-pie', '-DLIBRARY', '-o', `${made}/pie`, `${folder}target.c`, `${made}/main.c`);
  gcc('-o', `${made}/main`, `${made}/main.c`, `${made}/libtarget.so`);
  const env = { LD_LIBRARY_PATH: made };
  for (const { name, kernel: on } of kinds) {
    for (const [file, program] of [
      ['pie', 'pie'],
      ['libtarget.so', 'main'],
    ] as const) {
      const running = new Target(`${made}/${program}`, ['wait'], env);
      // Loaded by now: it has answered.
      await running.round();
      const collection = load(on, 'on_any');
      const attach = (pid?: number) =>
        attachUsdt(collection.program('on_any'), `${made}/${file}:rawbpf:kinds`, pid === undefined ? {} : { pid });
      const link = attach(running.pid);
      const told = await running.round();
      t.same(records(collection)[0]?.args.slice(0, 7), told.get('kinds'), `${name}: ${file}`);
      link.close();
      if (!on.has('bpf_cookie')) {
        t.throws(() => attach(), { code: 'E_USDT_PID', next: 'give a pid' });
        t.throws(() => attach(process.pid), { code: 'E_USDT_PID', what: 'the process has not loaded the file' });
        t.throws(() => attach(0x3fffffff), { code: 'E_USDT_PID' });
      } else {
        const all = attach();
        await running.round();
        t.equal(records(collection).length, 2);
        all.close();
      }
      await running.end();
      collection.close();
    }
  }
  rmSync(made, { recursive: true });
});

const python3 = '/usr/bin/python3';
const hasProbe = existsSync(python3) && listUsdtProbes(python3).some(({ name }) => name === 'import__find__load__start');

t.test("a program of Debian's", { skip: !hasProbe && 'needs a python3 with probes' }, async (t) => {
  const collection = load(kernel, 'on_any');
  const python = spawn(python3, ['-c', 'input(); import colorsys'], { stdio: ['pipe', 'inherit', 'inherit'] });
  const link = attachUsdt(collection.program('on_any'), `${python3}:python:import__find__load__start`, { pid: python.pid as number });
  python.stdin.write('\n');
  await once(python, 'close');
  t.ok(records(collection).length >= 1);
  t.ok(records(collection).every(({ count, args }) => count === 1 && args[0] !== 0));
  link.close();
  collection.close();
});
