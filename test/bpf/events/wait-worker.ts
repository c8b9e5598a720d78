// Run as a worker thread by ringbuf-wait.kernel.test.ts: reads the ring buffer of its data until it is told to stop, asleep in
// the kernel where nothing is there; says what it got.
import { parentPort, workerData } from 'node:worker_threads';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';

/** What the worker is started with; `control` is [stop, records received]. */
export interface WaitOrder {
  readonly mapFd: number;
  readonly maxEntries: number;
  readonly control: Int32Array;
  readonly blocks: boolean;
}

/** What it says at the end. */
export interface WaitReport {
  readonly received: number;
  /** Of those, records whose number was not above all before. */
  readonly disordered: number;
  readonly sum: number;
  /** Bytes left in the buffer. */
  readonly pending: number;
}

const { mapFd, maxEntries, control, blocks } = workerData as WaitOrder;
const reader = new RingbufReader(defaultSys(), mapFd, maxEntries);
let disordered = 0;
let sum = 0;
let last = -1;
const take = (view: DataView, offset: number): void => {
  const number = view.getUint32(offset, true);
  if (number <= last) disordered++;
  last = number;
  sum += number;
};
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
parentPort?.postMessage('ready');
while (Atomics.load(control, 0) === 0) {
  if (!reader.wait(100)) continue;
  if (blocks) {
    reader.drainBlocksUnsafe((view, offsets, _lengths, count) => {
      for (let i = 0; i < count; i++) take(view, offsets[i] ?? 0);
    });
  } else reader.drainUnsafe(take);
  Atomics.store(control, 1, reader.counters.received);
}
const report: WaitReport = {
  received: reader.counters.received,
  disordered,
  sum,
  pending: reader.pendingBytes,
};
reader.close();
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
parentPort?.postMessage(report);
