// In a process of its own: what is measured is what the reader costs, not what earlier tests left to collect.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { BPF_RINGBUF } from '../../../src/bpf/uapi/index.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { kernelVersion, versionCode } from '../../../src/sys/kernel-version.ts';
import { slowness } from '../../support/patience.ts';
import { ringbufProducer } from './producer.ts';

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const sys = defaultSys();

/** Waits for something to become true, for as long as a slow machine may take. */
async function until(done: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; performance.now() < end && !done();) await tick(5);
}

function tick(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Programs of type syscall, the only ones that can be made to sleep at will, came with 5.14.
const noSleep = kernelVersion() < versionCode(5, 14) ? 'no sleepable program to hold a record up before Linux 5.14' : false;
void t.test('a record left BUSY for a second is waited for and costs little', { skip: noSleep }, async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const seen: [number, length: number, at: number][] = [];
  producer.run(1, 1);
  reader.start((record) => seen.push([record.u32(0), record.length, performance.now()]));
  const file = fileURLToPath(new URL('busy-child.js', import.meta.url));
  const run = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'inherit', producer.mapFd] });
  const said = (text: string): Promise<void> =>
    new Promise((resolve) => run.stdout?.on('data', (data: Buffer) => String(data).includes(text) && resolve()));
  const ended = new Promise<void>((resolve) => run.on('exit', () => resolve()));
  const done = Promise.race([said('done'), ended]);
  await Promise.race([said('busy'), ended]);
  await tick(100);
  test.equal(producer.run(2, 10, { flags: BPF_RINGBUF.BPF_RB_FORCE_WAKEUP }), 10, 'others go on behind it');
  const cpu = process.cpuUsage();
  const started = performance.now();
  await done;
  const used = process.cpuUsage(cpu);
  const waited = performance.now() - started;
  test.ok(waited > 500, `${waited.toFixed(0)} ms`);
  const share = (used.user + used.system) / 1000 / waited;
  test.ok(share < Math.min(0.05 * slowness, 0.5), `${(share * 100).toFixed(1)} % of a CPU`);
  await until(() => seen.length === 12);
  test.same(
    seen.map(([number, length]) => [number, length]),
    [[1, 64], [0, 16], ...Array.from({ length: 10 }, (_, i) => [2 + i, 64])],
    'all of them, in the order in which they were reserved',
  );
  reader.close();
  producer.close();
});
