import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { BPF_RINGBUF } from '../../../src/bpf/uapi/index.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { slowness, withoutFlagWarning } from '../../support/patience.ts';
import { maxPerRun, ringbufProducer } from './producer.ts';

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const sys = defaultSys();
/** node:ffi has no watch: there the reader looks by timer, up to 32 ms apart. */
const watched = sys.backend.watch !== undefined;

/** Waits for something to become true, for as long as a slow machine may take. */
async function until(done: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end && !done();) await tick(5);
}

function tick(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
  readonly ms: number;
}

function child(way: string, onOutput?: (pid: number) => void): Promise<Ended> {
  return new Promise((resolve) => {
    const started = performance.now();
    const file = fileURLToPath(new URL('exit-child.js', import.meta.url));
    const run = spawn(process.execPath, ['--expose-gc', '--disable-warning=ExperimentalWarning', file, way], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    run.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
      if (run.pid !== undefined) onOutput?.(run.pid);
    });
    run.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    run.on('close', (code, signal) =>
      resolve({ code, signal, out: out.trim(), err: withoutFlagWarning(err), ms: performance.now() - started }),
    );
  });
}

const ends: readonly [way: string, code: number, out: string][] = [
  ['close', 0, 'count 100 mappings 0'],
  ['exit', 7, 'exiting'],
  ['exitInCallback', 7, ''],
  ['throwAndGoOn', 0, 'caught 4 records 20 ordered true'],
  ['gc', 0, 'before 2 gone true'],
  ['closeInCallback', 0, 'count 7 received 7'],
  ['useAfterClose', 0, 'sum 0 written 1 expired true'],
  ['fdFirst', 0, 'count 10'],
  ['unref', 0, 'ending'],
  ['workerTerminate', 0, 'read true terminated'],
  ['workerExit', 0, 'read true\nexit 3'],
];
for (const [way, code, out] of ends) {
  void t.test(`a process ends well: ${way}`, async (test) => {
    const ended = await child(way);
    test.same({ code: ended.code, signal: ended.signal, out: ended.out, err: ended.err }, { code, signal: null, out, err: '' });
  });
}

void t.test('a process ends well: an exception nobody catches', async (test) => {
  const ended = await child('throwInCallback');
  test.equal(ended.code, 1);
  test.match(ended.err, /thrown on purpose/);
  test.equal(ended.out, '');
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
  void t.test(`a process ends well: ${signal}`, async (test) => {
    const ended = await child('signal', (pid) => process.kill(pid, signal));
    test.same([ended.code, ended.signal, ended.err], [null, signal, '']);
  });
}

void t.test('every record once, in order, through a small ring', async (test) => {
  const producer = ringbufProducer(sys, 16384);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let next = 0;
  let wrong = 0;
  let batches = 0;
  reader.start(
    (record) => {
      if (record.u32(0) !== next++ || record.length !== 64) wrong++;
    },
    () => batches++,
  );
  let sent = 0;
  let discarded = 0;
  while (sent < 20_000) {
    const count = Math.min(150, maxPerRun);
    const taken = producer.run(sent, count);
    test.equal(taken, count, 'there is room for all');
    sent += count;
    await new Promise((resolve) => setImmediate(resolve));
    while (reader.pendingBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const before = reader.counters.received;
  const taken = producer.run(1, 99, { discardEvery: 3 });
  next = 1;
  discarded += 33;
  reader.stop();
  reader.drainUnsafe(() => {});
  test.equal(taken, 99);
  test.equal(wrong, 0);
  test.same(reader.counters, { received: before + 66, bytes: (before + 66) * 64, discarded, lost: null });
  test.ok(batches > 10);
  reader.close();
  producer.close();
});

void t.test('an overfull ring: what the kernel took is what was received', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let received = 0;
  reader.start(() => received++);
  let attempts = 0;
  let taken = 0;
  for (let i = 0; i < 60; i++) {
    attempts += 1000;
    taken += producer.run(attempts, 1000);
    if (i % 3 === 0) await tick(2);
  }
  while (reader.pendingBytes > 0) await tick(2);
  test.ok(taken < attempts, `${attempts - taken} of ${attempts} did not fit`);
  test.equal(received, taken);
  test.equal(reader.counters.received, taken);
  reader.close();
  producer.close();
});

void t.test('an idle reader is woken at once and costs nothing', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const woken: number[] = [];
  reader.start(() => woken.push(performance.now()));
  await tick(50);
  const cpu = process.cpuUsage();
  await tick(300);
  const used = process.cpuUsage(cpu);
  test.ok(used.user + used.system < 60_000, `${used.user + used.system} us in 300 ms`);
  const waits: number[] = [];
  for (let i = 0; i < 50; i++) {
    const before = performance.now();
    producer.run(i, 1);
    while (woken.length <= i) await tick(1);
    waits.push((woken[i] ?? 0) - before);
  }
  waits.sort((a, b) => a - b);
  // Far above what it takes, far below any timer of ours: on a loaded machine the scheduler adds its own.
  test.ok((waits[25] ?? 99) < (watched ? 8 : 60), `median ${waits[25]?.toFixed(3)} ms`);
  reader.close();
  producer.close();
});

void t.test('a paused reader costs nothing, whatever is forced on it', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let count = 0;
  reader.start(() => {
    if (++count === 10) reader.pause();
  });
  producer.run(0, 500, { flags: BPF_RINGBUF.BPF_RB_FORCE_WAKEUP });
  await until(() => count >= 10);
  await tick(30);
  test.equal(count, 10);
  const cpu = process.cpuUsage();
  await tick(300);
  const used = process.cpuUsage(cpu);
  test.ok(used.user + used.system < 60_000, `${used.user + used.system} us in 300 ms`);
  reader.resume();
  await until(() => count >= 500);
  test.equal(count, 500);
  reader.close();
  producer.close();
});

void t.test('programs that never wake: pollIntervalMs', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const flags = BPF_RINGBUF.BPF_RB_NO_WAKEUP;
  const deaf = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let count = 0;
  deaf.start(() => count++);
  await tick(30);
  producer.run(0, 10, { flags });
  await tick(60);
  test.equal(count, watched ? 0 : 10, 'where the kernel wakes readers nobody looks unasked');
  count = 0;
  deaf.close();
  if (!watched) producer.run(0, 10, { flags });
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries, { pollIntervalMs: 5 });
  reader.start(() => count++);
  await until(() => count >= 10);
  producer.run(0, 10, { flags });
  await until(() => count >= 20);
  test.equal(count, 20);
  reader.close();
  producer.close();
});

void t.test('producers on every CPU at once: no wake-up is missed, nothing comes twice', async (test) => {
  const producer = ringbufProducer(sys, 4 << 20);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const children = 3;
  const next = Array.from({ length: children }, () => 0);
  let wrong = 0;
  reader.startUnsafe((view, offset) => {
    const number = view.getUint32(offset, true);
    const child = number >>> 28;
    if ((number & 0xfffffff) !== next[child]) wrong++;
    next[child] = (number & 0xfffffff) + 1;
  });
  const file = fileURLToPath(new URL('burst-child.js', import.meta.url));
  const taken = await Promise.all(
    Array.from({ length: children }, async (_, i) => {
      const run = spawn(process.execPath, [file, String(i * 2 ** 28), '1500'], { stdio: ['ignore', 'pipe', 'inherit', producer.mapFd] });
      let out = '';
      run.stdout?.on('data', (data: Buffer) => (out += String(data)));
      await new Promise((resolve) => run.on('close', resolve));
      return Number(out);
    }),
  );
  const all = taken.reduce((sum, count) => sum + count, 0);
  // Only the kernel wakes the reader: one wake-up too few and the rest never comes.
  await until(() => reader.counters.received === all);
  test.equal(reader.counters.received, all);
  test.same(next, taken, 'each producer’s records in its order');
  test.equal(wrong, 0);
  test.ok(all > 1000, `${all} records`);
  reader.close();
  producer.close();
});

// A counter of 32 bits would be round twice; an emulated machine gets to the first time only.
const turns = slowness > 1 ? 32 : 33;
void t.test(`2^${turns} bytes through a ring of 256 KiB: nothing lost, nothing twice`, async (test) => {
  test.setTimeout(120_000 * slowness);
  const ringSize = 256 * 1024;
  const recordSize = 4088;
  const producer = ringbufProducer(sys, ringSize, recordSize);
  const reader = new RingbufReader(sys, producer.mapFd, ringSize);
  let expected = 0;
  let wrong = 0;
  reader.startUnsafe((view, offset, length) => {
    if (view.getUint32(offset, true) !== expected++ || length !== recordSize) wrong++;
  });
  const records = 2 ** turns / (recordSize + 8) + 1000;
  let sent = 0;
  while (sent < records) {
    sent += producer.run(sent, 60);
    await new Promise((resolve) => setImmediate(resolve));
  }
  while (reader.pendingBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  test.equal(wrong, 0);
  test.equal(expected, sent);
  test.same(reader.counters, { received: sent, bytes: sent * recordSize, discarded: 0, lost: null });
  reader.close();
  producer.close();
});

void t.test('a reader takes over where another stopped', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const first = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  producer.run(0, 100);
  test.equal(
    first.drainUnsafe(() => {}, 40),
    40,
  );
  first.close();
  const second = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const seen: number[] = [];
  second.drainUnsafe((view, offset) => seen.push(view.getUint32(offset, true)));
  test.same(
    seen,
    Array.from({ length: 60 }, (_, i) => 40 + i),
  );
  second.close();
  producer.close();
});

void t.test('many readers share one loop; none starves', async (test) => {
  const pairs = Array.from({ length: 8 }, () => {
    const producer = ringbufProducer(sys, 65536);
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries, { turnRecords: 64 });
    return { producer, reader };
  });
  const counts = pairs.map(() => 0);
  for (const [i, { reader }] of pairs.entries()) reader.start(() => (counts[i] = (counts[i] ?? 0) + 1));
  for (const { producer } of pairs) producer.run(0, 800);
  let timers = 0;
  const timer = setInterval(() => timers++, 1);
  while (counts.some((count) => count < 800)) await tick(5);
  clearInterval(timer);
  test.same(
    counts,
    counts.map(() => 800),
  );
  test.ok(timers > 0);
  for (const { producer, reader } of pairs) {
    reader.close();
    producer.close();
  }
});

void t.test('for await over a real ring', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  setTimeout(() => producer.run(0, 300), 10);
  const seen: number[] = [];
  for await (const record of reader) {
    seen.push(new DataView(record.buffer).getUint32(0, true));
    if (seen.length === 300) break;
  }
  test.same(
    seen,
    Array.from({ length: 300 }, (_, i) => i),
  );
  reader.close();
  producer.close();
});
