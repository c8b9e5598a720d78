// Run by ringbuf-reader.kernel.test.ts in a process of its own: reads a real ring buffer and ends in the way it is told.
import { readFileSync } from 'node:fs';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import type { RecordCursor } from '../../../src/bpf/events/record-cursor.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { ringbufProducer } from './producer.ts';

const sys = defaultSys();
const producer = ringbufProducer(sys, 65536);
const say = (text: string): void => void process.stdout.write(`${text}\n`);
const ringMappings = (): number =>
  readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => line.includes('bpf-map')).length;
/** Does something once it is time for it, for as long as a slow machine may take. */
const when = (ready: () => boolean, work: () => void): void => {
  const timer = setInterval(() => {
    if (!ready() && performance.now() < 60_000) return;
    clearInterval(timer);
    work();
  }, 5);
};
const collect = async (until: () => boolean): Promise<boolean> => {
  for (let i = 0; i < 200 && !until(); i++) {
    (globalThis as { gc?: () => void }).gc?.();
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return until();
};

const ways: Record<string, () => void | Promise<void>> = {
  /** Nothing keeps the process alive after close(). */
  close() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    producer.run(0, 100);
    let count = 0;
    reader.start(() => {
      if (++count < 100) return;
      reader.close();
      producer.close();
      say(`count ${count} mappings ${ringMappings()}`);
    });
  },
  /** process.exit while the ring is ready. */
  exit() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    reader.start(() => {});
    producer.run(0, 10);
    setTimeout(() => {
      producer.run(10, 10);
      say('exiting');
      process.exit(7);
    }, 20);
  },
  exitInCallback() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    reader.start(() => process.exit(7));
    producer.run(0, 10);
  },
  /** Killed by the parent while records keep coming. */
  signal() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    let next = 0;
    reader.start(() => {});
    setInterval(() => (next += producer.run(next, 500)), 1);
    setTimeout(() => say('ready'), 50);
  },
  /** An uncaught exception ends the process as it does anywhere, and at once. */
  throwInCallback() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    reader.start(() => {
      throw new Error('thrown on purpose');
    });
    setTimeout(() => producer.run(0, 1), 20);
    setTimeout(() => say('too late'), 5000).unref();
  },
  /** With a handler reading goes on, and every record is had once. */
  throwAndGoOn() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    const seen: number[] = [];
    let caught = 0;
    process.on('uncaughtException', () => caught++);
    reader.start((record) => {
      seen.push(record.u32(0));
      if (record.u32(0) % 5 === 0) throw new Error('thrown on purpose');
    });
    when(
      () => seen.length >= 20 && caught >= 4,
      () => {
        say(`caught ${caught} records ${seen.length} ordered ${seen.every((n, i) => n === i)}`);
        reader.close();
        producer.close();
      },
    );
    setTimeout(() => producer.run(0, 20), 20);
  },
  /** A reader nobody closed gives its memory back when collected. */
  async gc() {
    (() => {
      const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
      producer.run(0, 10);
      reader.drainUnsafe(() => {});
    })();
    const before = ringMappings();
    say(`before ${before} gone ${await collect(() => ringMappings() === 0)}`);
    producer.close();
  },
  closeInCallback() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    producer.run(0, 50);
    let count = 0;
    reader.start(() => {
      if (++count === 7) reader.close();
    });
    when(
      () => count >= 7,
      () => {
        say(`count ${count} received ${reader.counters.received}`);
        producer.close();
      },
    );
  },
  /** Views, cursors and readers kept after close() hurt nobody, even when written to. */
  async useAfterClose() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    const views: DataView[] = [];
    const lent: RecordCursor[] = [];
    producer.run(5, 1);
    reader.drainUnsafe((view) => views.push(view));
    producer.run(6, 1);
    reader.start((record) => lent.push(record));
    reader.turn();
    reader.close();
    reader.close();
    const [view] = views;
    const [record] = lent;
    if (view === undefined || record === undefined) throw new Error('no record');
    let sum = 0;
    for (let at = 0; at < view.byteLength; at += 4096) sum += view.getUint32(at, true);
    view.setUint32(4096, 1, true);
    let expired = false;
    try {
      record.u8(0);
    } catch {
      expired = true;
    }
    reader.turn();
    reader.pause();
    reader.resume();
    reader.stop();
    let rounds = 0;
    await collect(() => ++rounds > 10);
    // The last view has been used for the last time above this line only because it is still used here.
    say(`sum ${sum} written ${view.getUint32(4096, true)} expired ${expired}`);
    views.length = 0;
    lent.length = 0;
    producer.close();
  },
  /** The map's descriptor closed first: the reader has its own. */
  fdFirst() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    sys.call('close', producer.mapFd);
    let count = 0;
    reader.start(() => count++);
    setTimeout(() => producer.run(0, 10), 20);
    when(
      () => count >= 10,
      () => {
        say(`count ${count}`);
        reader.close();
      },
    );
  },
  /** A worker that is terminated while it reads. */
  workerTerminate() {
    const worker = new Worker(new URL(import.meta.url), { workerData: 'terminate' });
    worker.on('message', (read: boolean) => void worker.terminate().then(() => say(`read ${read} terminated`)));
    worker.on('exit', () => producer.close());
  },
  /** A worker that calls process.exit while it reads: it ends alone. */
  workerExit() {
    const worker = new Worker(new URL(import.meta.url), { workerData: 'exit' });
    worker.on('message', (read: boolean) => say(`read ${read}`));
    worker.on('exit', (code) => {
      say(`exit ${code}`);
      producer.close();
    });
  },
  /** unref(): an otherwise idle process ends, reader or not. */
  unref() {
    const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
    reader.start(() => {});
    reader.unref();
    setTimeout(() => say('ending'), 50);
  },
};

/** The thread a worker way runs in: it reads by timer, since a worker must not be watched. */
function inWorker(): void {
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  let count = 0;
  reader.start(() => count++);
  let next = 0;
  const feed = setInterval(() => (next += producer.run(next, 100)), 1);
  const done = (): void => {
    clearInterval(feed);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker's port, not a window
    parentPort?.postMessage(count > 100);
    if (workerData === 'exit') process.exit(3);
    setInterval(() => producer.run(0, 100), 1);
  };
  when(() => count > 100, done);
}

const way = isMainThread ? ways[process.argv[2] ?? ''] : inWorker;
if (way === undefined) throw new Error(`no way ${process.argv[2]}`);
void way();
