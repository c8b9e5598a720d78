// Decoding and formatting in a worker thread: how live-child.ts does it in its modes `-woken` (the main thread polls and wakes the
// worker) and `-worker` (the worker sleeps in the kernel itself).
import { Worker, workerData } from 'node:worker_threads';
import type { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../src/sys/default-sys.ts';
import { Epoll } from '../src/sys/epoll.ts';
import { EPOLL } from '../src/sys/constants.ts';

/** What the main thread and the worker share: how often the main thread has been woken, null where it does not poll. */
type Wakes = Int32Array | null;

/** Starts the worker and, where the main thread polls, polling. */
export function startWorker(where: string, argv: readonly string[]): void {
  const wakes: Wakes = where === 'worker' ? null : new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(new URL('live-child.js', import.meta.url), { argv: [...argv], workerData: wakes });
  worker.on('error', (error) => {
    throw error;
  });
  if (wakes === null) return;
  const sys = defaultSys();
  const epoll = new Epoll(sys);
  epoll.add(3, EPOLL.EPOLLIN | EPOLL.EPOLLET);
  sys.watch(epoll.fd, () => {
    epoll.wait(0);
    Atomics.add(wakes, 0, 1);
    Atomics.notify(wakes, 0);
  });
}

/** In the worker: drains for ever, and sleeps where nothing is there. */
export function serveInWorker(reader: RingbufReader, drain: () => void): void {
  const wakes = workerData as Wakes;
  for (;;) {
    const seen = wakes === null ? 0 : Atomics.load(wakes, 0);
    drain();
    if (wakes === null) reader.wait(Number.POSITIVE_INFINITY);
    else Atomics.wait(wakes, 0, seen);
  }
}

/** Keeps this thread busy `share` of the time, 20 ms at once: a program that has more to do than to read events. */
export function keepBusy(share: number): void {
  setInterval(() => {
    for (const end = performance.now() + 20; performance.now() < end;);
  }, 20 / share).unref();
}
