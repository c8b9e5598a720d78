import t from 'tap';
import { PerfReader, type PerfReaderOptions } from '../../../src/bpf/events/perf-reader.ts';
import { FakePerf } from './fake-perf.ts';

const size = 4096;

function open(perf: FakePerf, options: PerfReaderOptions = {}): PerfReader {
  return new PerfReader(perf.sys, 5, 64, { bytesPerCpu: size, cpus: [0, 1, 2], cpuCheckMs: 0, ...options });
}

function numbers(reader: PerfReader): number[] {
  const seen: number[] = [];
  reader.drainUnsafe((view, offset) => seen.push(view.getUint32(offset, true)));
  return seen;
}

for (const arch of ['x64', 'arm64'] as const) {
  for (const start of [0n, 2n ** 32n - 64n, 2n ** 40n - 8n, 2n ** 63n - 2048n]) {
    void t.test(`records of three CPUs, over the end and past ${start} (${arch})`, async (test) => {
      const perf = new FakePerf(size, arch, start);
      const reader = open(perf, { recordSize: 49 });
      let next = 0;
      let expected = [0, 0, 0];
      let wrong = 0;
      for (let round = 0; round < 40; round++) {
        const cpu = round % 3;
        while (perf.sample(cpu, next * 3 + cpu, 49)) next++;
        reader.drainUnsafe((view, offset, length) => {
          const number = view.getUint32(offset, true);
          if (length !== 49 || view.getUint8(offset + 48) !== (number & 0xff) || number < (expected[number % 3] ?? 0)) wrong++;
          expected = expected.with(number % 3, number + 1);
        });
        if (perf.tail(cpu) < start) wrong++;
      }
      test.equal(wrong, 0);
      test.equal(reader.counters.received, next);
      test.equal(reader.counters.bytes, next * 49);
      test.equal(reader.counters.lost, 40, 'the record that did not fit in each round');
      test.equal(reader.pendingBytes, 0);
      reader.close();
      test.equal(perf.open.size, 0);
      test.equal(perf.slots.size, 0);
      test.equal(reader.counters.lost, 40, 'counts outlive it');
    });
  }
}

void t.test('lost records told in the buffer are counted once', async (test) => {
  const perf = new FakePerf(size);
  const reader = open(perf);
  perf.sample(0, 1);
  perf.lost(0, 7);
  perf.sample(0, 2);
  test.same(numbers(reader), [1, 2]);
  test.equal(reader.counters.lost, 0, 'PERF_FORMAT_LOST is what counts where there is one');
  reader.close();
});

void t.test('unknown records are passed over', async (test) => {
  const perf = new FakePerf(size);
  const reader = open(perf);
  perf.record(1, 77, new Uint8Array(24));
  perf.sample(1, 5);
  test.same(numbers(reader), [5]);
  reader.close();
});

void t.test('malformed records close the reader', async (test) => {
  for (const [what, write] of [
    ['no size', (perf: FakePerf) => perf.record(0, 9, new Uint8Array(16), 0)],
    ['past the head', (perf: FakePerf) => perf.record(0, 9, new Uint8Array(16), 4000)],
    ['raw data past the record', (perf: FakePerf) => perf.record(0, 9, Uint8Array.of(200, 0, 0, 0, 1, 2, 3, 4))],
  ] as const) {
    for (const ordered of [false, true]) {
      const perf = new FakePerf(size);
      const reader = open(perf, { ordered });
      write(perf);
      if (ordered && what === 'raw data past the record') perf.record(0, 9, new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, 200, 0, 0, 0]));
      let code: unknown = null;
      try {
        numbers(reader);
      } catch (error) {
        code = error instanceof Error && 'code' in error ? error.code : error;
      }
      test.equal(code, 'E_PERF_RING', what);
      test.ok(reader.closed);
      test.equal(perf.open.size, 0);
    }
  }
});

void t.test('the order of time across CPUs', async (test) => {
  const perf = new FakePerf(size);
  const reader = open(perf, { ordered: true });
  perf.sample(0, 1, 12, 100n);
  perf.sample(0, 4, 12, 400n);
  perf.sample(1, 2, 12, 200n);
  perf.sample(2, 3, 12, 300n);
  perf.lost(1, 2);
  perf.sample(1, 5, 12, 2n ** 54n + 4n);
  test.same(numbers(reader), [1, 2, 3, 4, 5]);
  reader.close();
});

void t.test('records younger than the window are held back', async (test) => {
  const perf = new FakePerf(size);
  const reader = open(perf, { ordered: true, orderWindowMs: 60_000 });
  const seen: number[] = [];
  reader.start((record) => seen.push(record.u32(0)));
  perf.sample(0, 1, 12, process.hrtime.bigint() - 120_000_000_000n);
  perf.sample(1, 2, 12, process.hrtime.bigint());
  test.equal(reader.turn(), 'stuck');
  test.same(seen, [1]);
  reader.stop();
  test.same(numbers(reader), [2]);
  reader.close();
});

void t.test('a turn takes from every CPU, and no more than it may', async (test) => {
  const perf = new FakePerf(65536);
  const reader = open(perf, { bytesPerCpu: 65536, turnRecords: 400 });
  const counts = [0, 0, 0];
  for (const cpu of [0, 1, 2]) for (let i = 0; i < 1000; i++) perf.sample(cpu, cpu);
  reader.start((record) => (counts[record.u32(0)] = (counts[record.u32(0)] ?? 0) + 1));
  test.equal(reader.turn(), 'more');
  test.equal(reader.counters.received, 400);
  test.ok(
    counts.every((count) => count >= 100),
    counts.join(' '),
  );
  while (reader.turn() === 'more');
  test.same(counts, [1000, 1000, 1000]);
  reader.close();
});

void t.test('a CPU that goes and comes back', async (test) => {
  const perf = new FakePerf(size);
  const online = [0, 1];
  const reader = new PerfReader(perf.sys, 5, 64, { bytesPerCpu: size, cpuCheckMs: 0, onlineCpus: () => online });
  const seen: number[] = [];
  reader.start((record) => seen.push(record.u32(0)));
  perf.sample(1, 1);
  perf.lost(1, 1);
  online.pop();
  reader.refreshCpus();
  test.same(reader.cpus, [0, 1], 'what it wrote is read first');
  reader.turn();
  reader.refreshCpus();
  test.same(reader.cpus, [0]);
  test.same([...perf.slots.keys()], [0]);
  online.push(1);
  perf.offline.add(1);
  reader.refreshCpus();
  test.same(reader.cpus, [0], 'gone again in between');
  perf.offline.delete(1);
  reader.refreshCpus();
  test.same(reader.cpus, [0, 1]);
  perf.sample(1, 2);
  reader.turn();
  test.same(seen, [1, 2]);
  reader.close();
  test.equal(perf.open.size, 0);
});

void t.test('a CPU that went and came back between two looks', async (test) => {
  const perf = new FakePerf(size);
  const online = [0, 1];
  const reader = new PerfReader(perf.sys, 5, 64, { bytesPerCpu: size, cpuCheckMs: 0, onlineCpus: () => online });
  const before = perf.slots.get(1);
  // The buffer takes no more, but is there: what it holds is read first.
  perf.sample(1, 1);
  perf.dead.add(before ?? 0);
  await later();
  reader.refreshCpus();
  test.equal(perf.slots.get(1), before);
  test.same(numbers(reader), [1]);
  await later();
  reader.refreshCpus();
  test.not(perf.slots.get(1), before, 'another buffer in its place');
  test.same(reader.cpus, [0, 1]);
  perf.sample(1, 2);
  test.same(numbers(reader), [2]);
  const after = [...perf.slots.values()];
  await later();
  reader.refreshCpus();
  test.same([...perf.slots.values()], after, 'those that live are left alone');
  reader.close();
  test.equal(perf.open.size, 0);
});

/** Longer than a look has to be away from the one before. */
function later(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 30));
}

void t.test('a callback that throws', async (test) => {
  const perf = new FakePerf(size);
  const reader = open(perf);
  for (let i = 0; i < 3; i++) perf.sample(0, i);
  test.throws(
    () =>
      reader.drainUnsafe((view, offset) => {
        if (view.getUint32(offset, true) === 1) throw new Error('mine');
      }),
    { message: 'mine' },
  );
  test.notOk(reader.closed);
  test.same(numbers(reader), [2]);
  reader.close();
});
