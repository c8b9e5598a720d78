// A ring buffer read by a worker thread that sleeps in the kernel (RingbufReader.wait), in a process of its own: its threads' CPU time is measured.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { slowness } from '../../support/patience.ts';
import { ringbufProducer, type Producer } from './producer.ts';
import type { WaitOrder, WaitReport } from './wait-worker.ts';

t.setTimeout(110_000);
const sys = defaultSys();
const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Sleeps, and this thread's event loop with it. */
function sleep(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms);
}

async function serve(producer: Producer, blocks: boolean): Promise<{ control: Int32Array; end: () => Promise<WaitReport> }> {
  const control = new Int32Array(new SharedArrayBuffer(8));
  const order: WaitOrder = { mapFd: producer.mapFd, maxEntries: producer.maxEntries, control, blocks };
  const worker = new Worker(new URL('wait-worker.js', import.meta.url), { workerData: order });
  await once(worker, 'message');
  return {
    control,
    end: async () => {
      const [said, exit] = [once(worker, 'message'), once(worker, 'exit')];
      Atomics.store(control, 0, 1);
      const [report] = (await said) as [WaitReport];
      await exit;
      return report;
    },
  };
}

for (const blocks of [false, true]) {
  const way = blocks ? 'blocks' : 'one by one';
  void t.test(`a worker has every record once and in order while the main thread does other things: ${way}`, async (test) => {
    const producer = ringbufProducer(sys, 65536);
    const { control, end } = await serve(producer, blocks);
    // From here to the end the event loop of this thread does not run.
    const wanted = 50_000;
    let sent = 0;
    const limit = performance.now() + 60_000;
    while (sent < wanted && performance.now() < limit) {
      // One by one: of several that find room only in part it is not known which those were.
      if (producer.run(sent, 1) === 1) sent++;
      else sleep(0.1);
    }
    while (Atomics.load(control, 1) < sent && performance.now() < limit) sleep(1);
    const report = await end();
    test.equal(sent, wanted);
    test.equal(report.received, wanted);
    test.equal(report.disordered, 0);
    test.equal(report.sum, (wanted * (wanted - 1)) / 2);
    test.equal(report.pending, 0);
    producer.close();
  });
}

void t.test('overload, and an end in the middle: attempts = received + lost + pending', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const { end } = await serve(producer, true);
  let attempts = 0;
  let taken = 0;
  for (let i = 0; i < 400; i++) {
    taken += producer.run(attempts, 1000);
    attempts += 1000;
  }
  const ending = end();
  for (let i = 0; i < 20; i++) {
    taken += producer.run(attempts, 1000);
    attempts += 1000;
  }
  const report = await ending;
  const rest = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const left = rest.drainUnsafe(() => {});
  rest.close();
  test.ok(taken < attempts, `${attempts - taken} of ${attempts} found no room`);
  test.equal(report.received + left, taken, `${report.received} received, ${left} left in the buffer`);
  producer.close();
});

void t.test('a worker that is terminated while it sleeps takes nobody along', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const order: WaitOrder = {
    mapFd: producer.mapFd,
    maxEntries: producer.maxEntries,
    control: new Int32Array(new SharedArrayBuffer(8)),
    blocks: false,
  };
  const worker = new Worker(new URL('wait-worker.js', import.meta.url), { workerData: order });
  await once(worker, 'message');
  producer.run(0, 10);
  await worker.terminate();
  producer.run(10, 10);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const numbers: number[] = [];
  reader.drainUnsafe((view, offset) => numbers.push(view.getUint32(offset, true)));
  test.equal(numbers.at(-1), 19, 'who comes next goes on where it stopped');
  reader.close();
  producer.close();
});

void t.test('nothing there: it sleeps, and is woken at once', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const cpu = process.cpuUsage();
  const start = performance.now();
  test.equal(reader.wait(300), false);
  const waited = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  test.ok(waited >= 290, `${waited.toFixed(0)} ms`);
  test.ok((user + system) / 1000 < 60 * slowness, `${((user + system) / 1000).toFixed(0)} ms of CPU`);
  producer.run(0, 3);
  test.equal(reader.wait(10_000), true);
  test.equal(reader.wait(10_000), true, 'what was not read is still there');
  test.equal(
    reader.drainUnsafe(() => {}, 2),
    2,
  );
  test.equal(reader.wait(10_000), true, 'one is left');
  test.equal(
    reader.drainUnsafe(() => {}),
    1,
  );
  test.equal(reader.wait(0), false);
  reader.close();
  test.throws(() => reader.wait(0), { code: 'E_CLOSED' });
  producer.close();
});
