// What `--count-loss` costs a producer: the same program before and after, in turns, in the kernel's own statistics.
//   node build/bench/count-loss.js [--rounds N]
import { readFileSync } from 'node:fs';
import { loadCollection } from '../src/bpf/collection/load.ts';
import { RingbufReader } from '../src/bpf/events/ringbuf-reader.ts';
import { Kernel } from '../src/bpf/kernel/kernel.ts';
import { countLosses, openObject, type ObjectSpec } from '../src/bpf/object/index.ts';
import { enableStats } from '../src/bpf/program/stats.ts';
import { median } from './peer.ts';

const at = process.argv.indexOf('--rounds');
const rounds = Math.max(5, at < 0 ? 15 : Number(process.argv[at + 1]));
const kernel = new Kernel();
const stats = enableStats(kernel);
const file = readFileSync(new URL('../../fixtures/losses.bpf.o', import.meta.url));

/** Times of a program whose events all fit, or none once the buffer is full. */
type Times = (program: 'reserve' | 'output' | 'perf', fits: boolean) => number;

function variant(change: (spec: ObjectSpec) => ObjectSpec): Times {
  const collection = loadCollection(kernel, change(openObject(file, { name: 'losses' })));
  const events = collection.map('events');
  const reader = new RingbufReader(kernel.sys, events.fd, events.maxEntries);
  return (name, fits) => {
    const program = collection.program(name);
    const count = fits ? 50 : 512;
    const context = new Uint8Array(new BigUint64Array([BigInt(count)]).buffer);
    // Full before, so that none fits.
    if (!fits) for (let i = 0; i < 20; i++) program.testRun({ context });
    const before = program.info();
    for (let i = 0; i < 200; i++) {
      program.testRun({ context });
      if (fits) reader.drainUnsafe(() => {});
    }
    const after = program.info();
    reader.drainUnsafe(() => {});
    return Number(after.runTimeNs - before.runTimeNs) / Number(after.runCount - before.runCount) / count;
  };
}

const plain = variant((spec) => spec);
const counted = variant(countLosses);
for (const [what, name, fits] of [
  ['bpf_ringbuf_reserve and submit', 'reserve', true],
  ['bpf_ringbuf_output', 'output', true],
  ['bpf_ringbuf_reserve that finds no room', 'reserve', false],
  ['bpf_ringbuf_output that finds no room', 'output', false],
  ['bpf_perf_event_output that has no buffer', 'perf', false],
] as const) {
  const times: [number[], number[]] = [[], []];
  for (let round = -2; round < rounds; round++) {
    const pair = [plain(name, fits), counted(name, fits)] as const;
    if (round < 0) continue;
    times[0].push(pair[0]);
    times[1].push(pair[1]);
  }
  const [a, b] = [median(times[0]), median(times[1])];
  console.log(`${what.padEnd(42)} ${a.toFixed(1).padStart(7)} ns   counted ${b.toFixed(1).padStart(7)} ns (${(b / a).toFixed(2)} x)`);
}
stats.close();
kernel.close();
