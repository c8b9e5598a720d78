import { spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import t from 'tap';
import { Kernel, type BufferChoice } from '../../src/bpf/kernel/kernel.ts';
import { hostContext } from '../../src/enrich/context.ts';
import { runGadget } from '../../src/enrich/run-gadget.ts';
import { openGadget, type Gadget } from '../../src/gadget/gadget.ts';
import { noMetadata, parseMetadata } from '../../src/gadget/metadata.ts';
import { GadgetRun } from '../../src/gadget/run.ts';
import { eventStream } from '../../src/gadget/stream.ts';
import type { RunOptions, RunResult } from '../../src/gadget/run-options.ts';
import type { EventObject } from '../../src/gadget/tree.ts';
import { compileFilter } from '../../src/output/filter.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';

const sys = defaultSys();
const objectOf = (name: string): Uint8Array => readFileSync(new URL(`../../../fixtures/gadget/${name}.bpf.o`, import.meta.url));
// asm/unistd_64.h, asm-generic/unistd.h
const umask = sys.arch === 'x64' ? 95 : 166;
const params = new Map<string, number>([
  ['pid', process.pid],
  ['syscall_nr', umask],
]);

function openCalls(yaml = ''): Gadget {
  return openGadget({
    object: objectOf('calls'),
    context: hostContext(sys),
    metadata: yaml === '' ? noMetadata : parseMetadata(yaml, 'gadget.yaml'),
  });
}

/** Makes system calls that the gadget sees, at once: nothing is read meanwhile. */
function call(times: number): void {
  for (let i = 0; i < times; i++) sys.call('umask', 0o22);
}

/** What of this process is in the kernel. */
function leftBehind(): readonly string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return '';
      }
    })
    .filter((target) => /bpf|perf_event/.test(target));
}

function isVisible(pid: string): boolean {
  try {
    readlinkSync(`/proc/${pid}/ns/pid`);
    return true;
  } catch {
    return false;
  }
}

const tick = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !done(); i++) await tick(5);
}

interface Started {
  readonly run: GadgetRun;
  /** Decoded events of the data source `calls`, and how many the other had. */
  readonly calls: EventObject[];
  echoes: number;
}

function start(options: Omit<RunOptions, 'kernel'> & { readonly buffer?: BufferChoice } = {}, gadget: Gadget = openCalls()): Started {
  const run = new GadgetRun(gadget, {
    ...options,
    params: new Map([...params, ...(options.params ?? [])]),
    kernel: new Kernel({ buffer: options.buffer ?? 'auto' }),
  });
  const started: Started = { run, calls: [], echoes: 0 };
  run.start({
    event(source, record) {
      if (source.name === 'calls') started.calls.push(source.decode(record));
      else started.echoes++;
    },
  });
  return started;
}

for (const buffer of ['ringbuf', 'perf'] as const) {
  void t.test(`every call is one event, by ${buffer}`, async (t) => {
    const started = start({ buffer });
    t.same(started.run.attached.length, 2);
    const before = Date.now();
    for (let i = 0; i < 10; i++) {
      call(10);
      await tick(2);
    }
    await until(() => started.calls.length >= 100 && started.echoes >= 100);
    const after = Date.now();
    started.run.stop();
    const result = await started.run.done;
    t.same(
      started.calls.map((event) => Number(event['number'])).toSorted((a, b) => a - b),
      Array.from({ length: 100 }, (_, i) => i),
    );
    t.equal(started.echoes, 100);
    const sent = buffer === 'ringbuf' ? { size: 16, missing: 'pid' } : { size: 20, missing: 'error_raw' };
    const short = { source: 'echo', struct: 'call', kind: 'short', expected: 24, events: 100, ...sent };
    t.same(result, { reason: 'stopped', counters: { received: 200, delivered: 200, lost: 0, discarded: 0 }, missed: [], misfits: [short] });
    for (const event of started.calls) {
      t.equal(event['pid'], process.pid);
      const ms = Number((event['timestamp_raw'] as bigint) / 1_000_000n);
      if (ms < before - 1 || ms > after + 1) t.fail(`the time ${ms} is not between ${before} and ${after}`);
    }
    t.same(leftBehind(), []);
  });

  void t.test(`attempts are received plus lost, by ${buffer}`, async (t) => {
    const started = start({ buffer });
    // Far more than the buffers hold, while nothing is read.
    call(20_000);
    t.ok((started.run.counters.lost ?? 0) > 0, 'losses are seen before the next event is read');
    await until(() => started.run.counters.received > 0);
    call(10);
    started.run.stop();
    const { counters } = await started.run.done;
    t.equal(counters.received + (counters.lost ?? 0), 2 * 20_010);
    t.equal(started.calls.length + started.echoes, counters.received);
    t.same(started.run.counters, counters, 'they stay readable');
  });
}

void t.test('events that the gadget takes back are counted', async (t) => {
  const started = start({ params: new Map([['discard_every', 2]]) });
  call(20);
  await until(() => started.calls.length >= 10);
  started.run.stop();
  const { counters } = await started.run.done;
  t.same(
    started.calls.map((event) => event['number']),
    [1n, 3n, 5n, 7n, 9n, 11n, 13n, 15n, 17n, 19n],
  );
  t.equal(counters.discarded, 10);
});

void t.test('no more events than asked for', async (t) => {
  for (const most of [1, 7, 50]) {
    const started = start({ maxEvents: most });
    call(60);
    const result = await started.run.done;
    t.equal(result.reason, 'max-events');
    t.equal(started.calls.length + started.echoes, most);
    t.equal(result.counters.delivered, most);
    t.same(leftBehind(), []);
  }
});

void t.test('a filter counts what it lets through', async (t) => {
  const started = start({
    maxEvents: 3,
    filter: (source) => (source.name === 'calls' ? compileFilter(source, 'number>=5,number!=6') : (): boolean => false),
  });
  call(20);
  await started.run.done;
  t.same(
    started.calls.map((event) => event['number']),
    [5n, 7n, 8n],
  );
});

void t.test('time limits', async (t) => {
  const before = performance.now();
  const started = start({ timeoutMs: 150 });
  call(5);
  const result = await started.run.done;
  t.ok(performance.now() - before >= 149);
  t.equal(result.reason, 'timeout');
  t.equal(started.calls.length, 5);
  t.same(leftBehind(), []);
});

void t.test('what is in the buffers at the end is delivered; stop can be repeated', async (t) => {
  const started = start();
  call(30);
  started.run.stop();
  started.run.stop();
  t.equal(started.calls.length, 30);
  t.equal(started.run.running, false);
  t.same(started.run.attached, []);
  t.same((await started.run.done).counters, { received: 60, delivered: 60, lost: 0, discarded: 0 });
  call(5);
  await tick(20);
  t.equal(started.calls.length, 30, 'nothing comes any more');
  t.throws(() => started.run.start({ event() {} }), { code: 'E_STARTED' });
  const never = new GadgetRun(openCalls());
  never.stop();
  t.equal((await never.done).reason, 'stopped');
});

void t.test('a sink that throws ends the run, and nothing stays', async (t) => {
  const run = new GadgetRun(openCalls(), { params });
  run.start({
    event() {
      throw new Error('the sink is full');
    },
  });
  call(3);
  await t.rejects(run.done, { message: 'the sink is full' });
  t.same(leftBehind(), []);
});

void t.test('a pause leaves events in the buffer', async (t) => {
  const started = start();
  started.run.pause();
  call(10);
  await tick(30);
  t.equal(started.calls.length, 0);
  started.run.resume();
  await until(() => started.calls.length === 10);
  t.equal(started.calls.length, 10);
  started.run.stop();
  await started.run.done;
});

void t.test('a run that cannot start says why and leaves nothing', async (t) => {
  const cases: readonly (readonly [options: RunOptions, yaml: string, code: string, message: RegExp])[] = [
    [{ params: new Map([['pid', 'x']]) }, '', 'E_PARAM', /--pid/],
    [{ params: new Map([['nope', '1']]) }, '', 'E_PARAM', /no parameter --nope/],
    [{ params }, 'programs: {on_call_too: {attach_to: no_such_tracepoint}}', 'E_GADGET_ATTACH', /on_call_too.*no_such_tracepoint/s],
    [
      { params },
      'programs: {on_call: {attach_to: gadget_program_disabled}, on_call_too: {attach_to: gadget_program_disabled}}',
      'E_GADGET_NOTHING',
      /no program/,
    ],
  ];
  for (const [options, yaml, code, message] of cases) {
    const run = new GadgetRun(openCalls(yaml), options);
    t.throws(() => run.start({ event() {} }), { code, message });
    await t.rejects(run.done, { code });
    t.same(leftBehind(), []);
  }
});

void t.test('programs that cannot be attached are left out where the user says so', async (t) => {
  const notices: string[] = [];
  const started = start(
    { skipUnsupported: true, notice: (message) => notices.push(message) },
    openCalls('programs: {on_call_too: {attach_to: no_such_tracepoint}}'),
  );
  call(4);
  await until(() => started.calls.length === 4);
  started.run.stop();
  await started.run.done;
  t.equal(started.calls.length, 4);
  t.equal(started.echoes, 0);
  t.match(notices, [/on_call_too was not attached.*no_such_tracepoint/s]);
});

void t.test('events for await', async (t) => {
  const events = runGadget({ object: objectOf('calls'), params: Object.fromEntries(params), maxEvents: 40, maxQueued: 8 });
  call(50);
  let count = 0;
  for await (const event of events) {
    t.equal(event['error'], '');
    count++;
    if (count % 10 === 0) await tick(1);
  }
  t.equal(count, 40);
  t.equal((await events.run.done).reason, 'max-events');

  const left = runGadget({ object: objectOf('calls'), params: Object.fromEntries(params) });
  call(5);
  for await (const event of left) {
    t.ok(event);
    break;
  }
  t.equal((await left.run.done).reason, 'stopped', 'leaving the loop stops the run');
  t.same(leftBehind(), []);
});

void t.test('an iterator lists every process that /proc has', async (t) => {
  const child = spawn('sleep', ['60']);
  t.teardown(() => child.kill());
  await until(() => readFileSync(`/proc/${child.pid}/comm`, 'utf8') === 'sleep\n');
  const gadget = openGadget({ object: objectOf('tasks'), context: hostContext(sys) });
  const rows: EventObject[] = [];
  const run = new GadgetRun(gadget);
  // Others may start while it runs.
  const before = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  run.start({
    event() {},
    batch(source, records) {
      for (const record of records) rows.push(source.decode(record));
    },
  });
  const result: RunResult = await run.done;
  t.equal(result.reason, 'finished');
  t.equal(result.counters.received, rows.length);
  const listed = new Set(rows.map((row) => row['pid']));
  for (const name of before) {
    // One that has ended meanwhile, or that is hidden from root, as some sandboxes hide their first process.
    if (!listed.has(Number(name)) && isVisible(name)) t.fail(`process ${name} is missing`);
  }
  const own = rows.find((row) => row['tid'] === child.pid);
  t.match(own, { comm: 'sleep', pid: child.pid, uid: process.getuid?.() });
  t.equal(rows.filter((row) => row['pid'] === process.pid).length, readdirSync('/proc/self/task').length);
  t.same(leftBehind(), []);
});

void t.test('an iterator again and again', async (t) => {
  const gadget = openGadget({ object: objectOf('tasks'), context: hostContext(sys) });
  let batches = 0;
  const run = new GadgetRun(gadget, { intervalMs: 20, params: new Map([['pid', process.pid]]) });
  run.start({
    event() {},
    batch(_, records) {
      t.ok(records.length > 0);
      batches++;
    },
  });
  await until(() => batches >= 3);
  run.stop();
  await run.done;
  const seen = batches;
  await tick(50);
  t.equal(batches, seen);
  const limited = new GadgetRun(gadget, { intervalMs: 5, maxEvents: 3, filter: (source) => compileFilter(source, 'pid>1') });
  let rows = 0;
  limited.start({ event() {}, batch: (_, records) => void (rows += records.length) });
  t.equal((await limited.done).reason, 'max-events');
  t.equal(rows, 3);
});

void t.test('leaving a stream before its first event ends the run', async (t) => {
  const gadget = openGadget({ object: objectOf('tasks'), context: hostContext(sys) });
  const run = new GadgetRun(gadget, { intervalMs: 60_000, params: new Map([['pid', process.pid]]) });
  const stream = eventStream(run);
  t.ok(run.running);
  await stream.return();
  t.notOk(run.running);
  t.equal((await run.done).reason, 'stopped');
});

void t.test('an interval of zero lets the event loop turn, and a time limit past that of timers does not end at once', async (t) => {
  const gadget = openGadget({ object: objectOf('tasks'), context: hostContext(sys) });
  for (const [timeoutMs, reason] of [
    [300, 'timeout'],
    [2 ** 40, 'stopped'],
    [Number.POSITIVE_INFINITY, 'stopped'],
  ] as const) {
    const run = new GadgetRun(gadget, { intervalMs: 0, timeoutMs, params: new Map([['pid', process.pid]]) });
    let batches = 0;
    run.start({ event() {}, batch: () => void batches++ });
    if (reason === 'stopped') {
      await until(() => batches >= 3);
      await tick(20);
      t.ok(run.running);
      run.stop();
    }
    t.equal((await run.done).reason, reason);
  }
});

void t.test('a map is emptied again and again, and nothing is counted twice or never', async (t) => {
  // asm/unistd_64.h, asm-generic/unistd.h
  const getppid = sys.arch === 'x64' ? 110 : 173;
  const gadget = openGadget({
    object: objectOf('counts'),
    context: hostContext(sys),
    metadata: parseMetadata('datasources: {callers: {annotations: {fetch-interval: 20ms, ebpf.map.flush-on-stop: "true"}}}', 'gadget.yaml'),
  });
  const source = gadget.sources[0];
  t.same(
    source?.fields.map(({ name, tags }) => [name, tags.has('role:key')]),
    [
      ['syscall_raw', true],
      ['syscall', false],
      ['pid', true],
      ['calls', false],
      ['arguments_raw', false],
      ['arguments', false],
    ],
  );
  const totals = new Map<string, bigint>();
  let batches = 0;
  const run = new GadgetRun(gadget, {
    params: new Map([
      ['pid', process.pid],
      ['first_nr', umask],
      ['second_nr', getppid],
    ]),
  });
  run.start({
    event() {},
    batch(from, records) {
      batches++;
      for (const record of records) {
        const row = from.decode(record);
        t.equal(row['pid'], process.pid);
        t.equal(row['arguments_raw'], (row['calls'] as bigint) * 48n);
        const name = row['syscall'] as string;
        totals.set(name, (totals.get(name) ?? 0n) + (row['calls'] as bigint));
      }
    },
  });
  for (let i = 0; i < 10; i++) {
    call(100);
    for (let k = 0; k < 10; k++) sys.call('getppid');
    await tick(10);
  }
  call(7);
  run.stop();
  await run.done;
  t.ok(batches > 2);
  t.same(Object.fromEntries(totals), { SYS_UMASK: 1007n, SYS_GETPPID: 100n });
  const limited = new GadgetRun(gadget, { fetchCount: 2, intervalMs: 5, params: new Map([['pid', process.pid]]) });
  batches = 0;
  limited.start({ event() {}, batch: () => void batches++ });
  t.equal((await limited.done).reason, 'finished');
  t.equal(batches, 2);
});

void t.test('kernel stacks lead from the entry of system calls to the program', async (t) => {
  const events = runGadget({ object: objectOf('stacks'), params: Object.fromEntries(params), maxEvents: 2 });
  call(2);
  const known = new Set(
    readFileSync('/proc/kallsyms', 'latin1')
      .split('\n')
      .map((line) => line.split(/[ \t]/)[2]),
  );
  const stacks: string[] = [];
  for await (const event of events) stacks.push(event['kstack'] as string);
  t.equal(stacks.length, 2);
  t.equal(stacks[0], stacks[1], 'the same way both times');
  const names = (stacks[0] ?? '').split('; ');
  t.ok(names.length >= 2, String(stacks[0]));
  t.ok(
    names.some((name) => /syscall|el0_svc/.test(name)),
    String(stacks[0]),
  );
  // Of functions without a symbol (BPF programs, trampolines) the nearest before them is named, or none.
  t.ok(names.filter((name) => known.has(name)).length >= 2, String(stacks[0]));
});

void t.test('nothing of all this is in the kernel any more', async (t) => {
  await tick(100);
  t.same(leftBehind(), []);
  t.end();
});
