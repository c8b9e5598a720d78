import { readdirSync } from 'node:fs';
import t from 'tap';
import { PerfReader } from '../../../src/bpf/events/perf-reader.ts';
import { onlineCpus } from '../../../src/sys/cpus.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { FaultInjector, failNamed } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { perfProducer, type Producer } from './producer.ts';

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const sys = defaultSys();
const cpus = onlineCpus();
const tick = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits for something to become true, for as long as a slow machine may take. */
async function until(done: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end && !done();) await tick(5);
}

function openCount(): number {
  return readdirSync('/proc/self/fd').length;
}

/** The numbers of all records that are there. */
function numbers(reader: PerfReader): number[] {
  const seen: number[] = [];
  reader.drainUnsafe((view, offset) => seen.push(view.getUint32(offset, true)));
  return seen;
}

function range(from: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => from + i);
}

void t.test('records of every CPU, each once and whole', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { recordSize: 60 });
  test.same(reader.cpus, cpus);
  const seen: number[] = [];
  let wrong = 0;
  let batches = 0;
  reader.start(
    (record) => {
      seen.push(record.u32(0));
      if (record.length !== 60) wrong++;
      for (let i = 1; i < 7; i++) if (record.u64(i * 8) !== BigInt(i)) wrong++;
    },
    () => batches++,
  );
  for (const cpu of cpus) {
    const before = seen.length;
    test.equal(producer.run(cpu * 1000, 500, { cpu }), 500);
    await until(() => seen.length === before + 500);
  }
  test.same(
    seen.toSorted((a, b) => a - b),
    cpus.flatMap((cpu) => range(cpu * 1000, 500)),
  );
  test.equal(wrong, 0);
  test.ok(batches > 0);
  test.same(reader.counters, { received: seen.length, bytes: seen.length * 60, discarded: 0, lost: 0 });
  test.equal(reader.pendingBytes, 0);
  reader.close();
  reader.close();
  producer.close();
});

void t.test('without a size records keep the kernel’s padding', async (test) => {
  for (const [size, padded] of [
    [60, 60],
    [56, 60],
    [64, 68],
    [61, 68],
  ] as const) {
    const producer = perfProducer(sys, size);
    const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries);
    const trimmed = new PerfReader(sys, producer.mapFd, producer.maxEntries, { recordSize: size });
    producer.run(1, 3);
    const lengths: number[] = [];
    trimmed.drainUnsafe((_, __, length) => lengths.push(length));
    test.same(lengths, [size, size, size], 'the later reader has the map’s slots');
    trimmed.close();
    reader.close();
    const again = new PerfReader(sys, producer.mapFd, producer.maxEntries);
    producer.run(1, 1);
    again.drainUnsafe((_, __, length) => test.equal(length, padded));
    again.close();
    producer.close();
  }
});

void t.test('records over the end of the buffer, many times round', async (test) => {
  for (const ordered of [false, true]) {
    const producer = perfProducer(sys, 100);
    const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { bytesPerCpu: 4096, ordered, cpus: [0], recordSize: 100 });
    let next = 0;
    let wrong = 0;
    for (let round = 0; round < 200; round++) {
      test.equal(producer.run(next, 30, { cpu: 0 }), 30);
      reader.drainUnsafe((view, offset, length) => {
        if (view.getUint32(offset, true) !== next++ || length !== 100 || view.getUint8(offset + 80) !== 10) wrong++;
      });
    }
    test.equal(next, 6000);
    test.equal(wrong, 0);
    reader.close();
    producer.close();
  }
});

void t.test('lost records are counted, also when no record follows', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { bytesPerCpu: 4096 });
  let taken = 0;
  for (const cpu of cpus) taken += producer.run(0, 1000, { cpu });
  const attempts = 1000 * cpus.length;
  test.ok(taken < attempts);
  test.equal(reader.counters.lost, attempts - taken, 'before anything is read');
  test.equal(numbers(reader).length, taken);
  test.same(reader.counters, { received: taken, bytes: taken * 60, discarded: 0, lost: attempts - taken });
  for (const cpu of cpus) taken += producer.run(0, 1, { cpu });
  numbers(reader);
  reader.close();
  test.same(
    [reader.counters.received, reader.counters.lost],
    [taken, attempts + cpus.length - taken],
    'PERF_RECORD_LOST counts nothing twice, and close() keeps the counts',
  );
  producer.close();
});

void t.test('lost records of a kernel without PERF_FORMAT_LOST', async (test) => {
  const old = new Sys(
    new FaultInjector(sys.backend, sys.arch, [
      {
        errno: 'EINVAL',
        when: (call) =>
          call.name === 'perf_event_open' && (new DataView((call.args[0] as Uint8Array).buffer).getUint32(32, true) & 16) !== 0,
      },
    ]),
    sys.arch,
  );
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(old, producer.mapFd, producer.maxEntries, { bytesPerCpu: 4096, cpus: [0] });
  const taken = producer.run(0, 1000, { cpu: 0 });
  test.equal(reader.counters.lost, 0, 'nobody has said so yet');
  numbers(reader);
  producer.run(0, 1, { cpu: 0 });
  numbers(reader);
  test.equal(reader.counters.lost, 1000 - taken);
  reader.close();
  producer.close();
});

void t.test('in the order of time', async (test) => {
  if (cpus.length < 2) test.comment('one CPU: nothing can be out of order');
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { ordered: true });
  const seen: number[] = [];
  reader.start((record) => seen.push(record.u32(0)));
  for (let i = 0; i < 40; i++) producer.run(i * 10, 10, { cpu: cpus[(i * 7) % cpus.length] ?? 0 });
  await until(() => seen.length >= 400);
  test.same(seen, range(0, 400));
  for (let i = 40; i < 50; i++) producer.run(i * 10, 10, { cpu: cpus[i % cpus.length] ?? 0 });
  reader.stop();
  reader.drainUnsafe((view, offset) => seen.push(view.getUint32(offset, true)));
  test.same(seen, range(0, 500), 'a last look holds nothing back');
  reader.close();
  producer.close();
});

void t.test('a watermark: fewer wake-ups, and the rest by timer', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { watermark: 32 * 1024, pollIntervalMs: 30 });
  let count = 0;
  let batches = 0;
  reader.start(
    () => count++,
    () => batches++,
  );
  await tick(5);
  for (let i = 0; i < 10; i++) {
    producer.run(i, 1);
    await tick(1);
  }
  await until(() => count >= 10);
  test.equal(count, 10);
  test.ok(batches <= 5, `${batches} batches`);
  reader.close();
  producer.close();
});

void t.test('CPUs without a buffer, and CPUs that come later', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { cpus: [0] });
  if (cpus.length > 1) test.equal(producer.run(0, 10, { cpu: cpus[1] ?? 0 }), 0, 'the helper itself says no: the program counts that');
  test.equal(producer.run(0, 10, { cpu: 0 }), 10);
  reader.close();
  const small = new PerfReader(sys, producer.mapFd, 1);
  test.same(small.cpus, [0], 'no more than the map has slots');
  small.close();
  // The last CPU is offline at first.
  const last = cpus.at(-1) ?? 0;
  const offline = { now: true };
  const late = new Sys(
    new FaultInjector(sys.backend, sys.arch, [
      { errno: 'ENODEV', when: (call) => offline.now && call.name === 'perf_event_open' && call.args[2] === last },
    ]),
    sys.arch,
  );
  const growing = new PerfReader(late, producer.mapFd, producer.maxEntries, { cpuCheckMs: 10 });
  let count = 0;
  growing.start(() => count++);
  test.same(growing.cpus, cpus.slice(0, -1));
  offline.now = false;
  await until(() => growing.cpus.length === cpus.length);
  test.same(growing.cpus, cpus);
  test.equal(producer.run(0, 10, { cpu: last }), 10);
  await until(() => count >= 10);
  test.equal(count, 10);
  growing.close();
  producer.close();
});

void t.test('a CPU that cannot have a buffer when it comes ends nothing, and is tried again', async (test) => {
  const producer = perfProducer(sys, 60);
  const last = cpus.at(-1) ?? 0;
  const state: { errno: 'ENODEV' | 'EMFILE' | null } = { errno: 'ENODEV' };
  const fails = (errno: 'ENODEV' | 'EMFILE'): ConstructorParameters<typeof FaultInjector>[2][number] => ({
    errno,
    when: (call) => state.errno === errno && call.name === 'perf_event_open' && call.args[2] === last,
  });
  const limited = new Sys(new FaultInjector(sys.backend, sys.arch, [fails('ENODEV'), fails('EMFILE')]), sys.arch);
  const told: unknown[] = [];
  const reader = new PerfReader(limited, producer.mapFd, producer.maxEntries, { cpuCheckMs: 5, onCpuError: (error) => told.push(error) });
  reader.start(() => {});
  state.errno = 'EMFILE';
  await until(() => told.length > 0);
  await tick(30);
  test.match(told, [{ errnoName: 'EMFILE', where: { cpu: last } }]);
  test.equal(told.length, 1, 'once, not at every look');
  state.errno = null;
  await until(() => reader.cpus.length === cpus.length);
  test.same(reader.cpus, cpus);
  reader.close();
  producer.close();
});

void t.test('pause, resume, close inside the callback', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries);
  let count = 0;
  reader.start(() => {
    count++;
    if (count === 10) reader.pause();
    if (count === 50) reader.close();
  });
  producer.run(0, 200, { cpu: 0 });
  await until(() => count >= 10);
  await tick(50);
  test.equal(count, 10);
  reader.resume();
  await until(() => count >= 50);
  await tick(50);
  test.equal(count, 50);
  test.ok(reader.closed);
  test.same(reader.counters.received, 50);
  test.equal(producer.run(0, 5), 0, 'the slots are empty');
  producer.close();
});

void t.test('for await', async (test) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { recordSize: 60, cpus: [0] });
  setTimeout(() => producer.run(0, 100, { cpu: 0 }), 10);
  const seen: number[] = [];
  for await (const record of reader) {
    test.equal(record.length, 60);
    seen.push(record[0] ?? -1);
    if (seen.length === 100) break;
  }
  test.same(seen, range(0, 100));
  reader.close();
  producer.close();
});

void t.test('what fails leaves nothing open', async (test) => {
  const producer: Producer = perfProducer(sys, 60);
  for (const [name, errno, skip] of [
    ['perf_event_open', 'EMFILE', 1],
    ['mmap', 'ENOMEM', 1],
    ['ioctl', 'EIO', 0],
    ['BPF_MAP_UPDATE_ELEM', 'EPERM', 1],
  ] as const) {
    const before = openCount();
    const failing = new Sys(
      new FaultInjector(sys.backend, sys.arch, [failNamed(name, errno, { skip: cpus.length > 1 ? skip : 0 })]),
      sys.arch,
    );
    // By name: another test may take CPUs away while this one runs.
    const reading = (): PerfReader => new PerfReader(failing, producer.mapFd, producer.maxEntries, { cpus });
    test.throws(reading, { code: 'E_SYSCALL', errnoName: errno }, name);
    test.equal(openCount(), before, name);
  }
  test.throws(() => new PerfReader(sys, producer.mapFd, 64, { bytesPerCpu: 5000 }), { code: 'E_PERF_SIZE' });
  producer.close();
});
