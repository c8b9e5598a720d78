// Our side of live.ts: follows the ring buffer at descriptor 3, with the protocol of peers/libbpf.c.
//   node live-child.js live|latency[-woken|-worker] SIZE [busy]
import { fstatSync, writeSync } from 'node:fs';
import { isMainThread } from 'node:worker_threads';
import { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import type { UnsafeVisitor } from '../src/bpf/events/record-block.ts';
import { EventOutput } from '../src/output/output.ts';
import { defaultSys } from '../src/sys/default-sys.ts';
import { eventSource, stopNumber } from './event.ts';
import { keepBusy, serveInWorker, startWorker } from './live-worker.ts';

const [ways = 'live', size = '0', busy] = process.argv.slice(2);
const [mode, where = 'main'] = ways.split('-');
const sys = defaultSys();
const reader = new RingbufReader(sys, 3, Number(size));
const source = eventSource(sys);
const record = source.makeRecord();
const total = new Float64Array(1);
let records = 0;
let bytes = 0;
let start = process.cpuUsage();
let times: number[] = [];

const target = {
  write(chunk: Uint8Array): boolean {
    for (let at = 0; at < chunk.length;) at += writeSync(4, chunk, at);
    bytes += chunk.length;
    return true;
  },
  once: () => {},
};
if (mode === 'live') fstatSync(4);
const output = new EventOutput({ mode: 'json', sources: [source], target });

function endWindow(): void {
  output.flush();
  const { user, system } = process.cpuUsage(start);
  const line = [records, total[0] ?? 0, (user + system) * 1000, bytes];
  if (mode === 'latency') {
    times.sort((a, b) => a - b);
    line.push(times[times.length >> 1] ?? 0, times[Math.floor(times.length * 0.99)] ?? 0);
  }
  writeSync(1, `${line.join(' ')}\n`);
  records = bytes = total[0] = 0;
  times = [];
  start = process.cpuUsage();
}

const visit: UnsafeVisitor = (view, offset, length) => {
  const number = view.getUint32(offset, true);
  if (number === stopNumber) {
    endWindow();
    return;
  }
  records++;
  total[0] = (total[0] as number) + number;
  if (mode === 'live') output.event(source, record.point(view, offset, length));
  else times.push(Number(process.hrtime.bigint()) - (view.getUint32(offset + 12, true) * 2 ** 32 + view.getUint32(offset + 8, true)));
};
if (isMainThread) writeSync(1, 'ready\n');
if (isMainThread && busy !== undefined) keepBusy(0.5);
if (where === 'main') reader.startUnsafe(visit);
else if (isMainThread) startWorker(where, [ways, size]);
else
  serveInWorker(reader, () => {
    reader.drainUnsafe(visit);
    output.flush();
  });
