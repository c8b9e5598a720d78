import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { PerfReader } from '../../../src/bpf/events/perf-reader.ts';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { countLosses, LOST_EVENTS_MAP, openObject } from '../../../src/bpf/object/index.ts';

t.setTimeout(110_000);

const file = readFileSync(new URL('../../../../fixtures/losses.bpf.o', import.meta.url));

function lost(collection: Collection): number {
  const value = collection.map(LOST_EVENTS_MAP).lookup(new Uint8Array(4)) ?? new Uint8Array(8);
  return Number(new DataView(value.buffer, value.byteOffset).getBigUint64(0, true));
}

function send(collection: Collection, program: string, count: number): number {
  const context = new Uint8Array(new BigUint64Array([BigInt(count)]).buffer);
  return collection.program(program).testRun({ context }).returnValue;
}

void t.test('an object made to count: attempts = received + lost', (test) => {
  const kernel = new Kernel();
  const spec = countLosses(openObject(file, { name: 'losses' }));
  let collection: Collection;
  try {
    collection = loadCollection(kernel, spec);
  } catch (error) {
    // That a record which a subprogram found to be there is there was forgotten at its end: the gadget then runs without counting.
    const [major = 0, minor = 0] = release().split('.').map(Number);
    if (major * 100 + minor >= 612) throw error;
    test.match(error, { code: 'E_VERIFIER', message: /Unreleased reference/ }, 'only old verifiers refuse it, and for this reason');
    test.end();
    return;
  }
  const events = collection.map('events');
  const ring = new RingbufReader(kernel.sys, events.fd, events.maxEntries);
  let before = 0;
  for (const program of ['reserve', 'output']) {
    let attempts = 0;
    let received = 0;
    for (const count of [10, 500, 3, 512]) {
      const taken = send(collection, program, count);
      attempts += count;
      const got = ring.drainUnsafe(() => {});
      test.equal(got, taken);
      received += got;
      test.equal(attempts, received + lost(collection) - before, `${program}: after ${count} more`);
    }
    test.ok(received < attempts, 'some were lost');
    before = lost(collection);
  }
  ring.close();
  const samples = collection.map('samples');
  // Nobody has opened a buffer: each of them is lost, which the kernel itself tells nobody.
  test.equal(send(collection, 'perf', 7), 0);
  test.equal(lost(collection) - before, 7);
  before = lost(collection);
  const perf = new PerfReader(kernel.sys, samples.fd, samples.maxEntries, { bytesPerCpu: kernel.pageSize, cpuCheckMs: 0 });
  let attempts = 0;
  for (const count of [5, 512, 400]) {
    send(collection, 'perf', count);
    attempts += count;
  }
  const received = perf.drainUnsafe(() => {});
  test.ok(received < attempts, 'some were lost');
  test.equal(attempts, received + lost(collection) - before);
  test.equal(perf.counters.lost, lost(collection) - before, 'the kernel counts the same');
  perf.close();
  collection.close();
  kernel.close();
  test.end();
});

void t.test('what has no such calls stays as it is, and the original is not changed', (test) => {
  const spec = openObject(file, { name: 'losses' });
  const insns = spec.programs.map((program) => program.insns.slice());
  countLosses(spec);
  test.same(
    spec.programs.map((program) => program.insns),
    insns,
  );
  test.notOk(spec.maps.some((map) => map.name === LOST_EVENTS_MAP));
  const plain = openObject(readFileSync(new URL('../../../../fixtures/btf/values.bpf.o', import.meta.url)));
  test.equal(countLosses(plain), plain);
  test.end();
});
