// CPUs that really go and come: in a virtual machine only, as no other program should lose one.
import t from 'tap';
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { PerfReader } from '../../../src/bpf/events/perf-reader.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachPerfEvent } from '../../../src/bpf/link/perf-event.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { fixture } from '../../fixture.ts';
import { perfProducer } from './producer.ts';

const sys = defaultSys();
const switchFile = '/sys/devices/system/cpu/cpu1/online';
const skip =
  process.env['VM_RUN'] === undefined ? 'takes a CPU away: in a virtual machine only' : existsSync(switchFile) ? false : 'CPU 1 cannot go';

function turn(on: boolean): void {
  const fd = openSync(switchFile, 'w');
  try {
    writeSync(fd, on ? '1' : '0');
  } finally {
    closeSync(fd);
  }
}

async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 4000 && !done(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
}

if (skip === false) t.teardown(() => turn(true));

t.test('a perf reader with a CPU that goes and comes back', { skip }, async (t) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { cpuCheckMs: 20 });
  let count = 0;
  reader.start(() => count++);
  t.same(reader.cpus, [0, 1]);
  for (let round = 0; round < 2; round++) {
    t.equal(producer.run(0, 10, { cpu: 1 }), 10);
    await until(() => count === 10);
    turn(false);
    await until(() => reader.cpus.length === 1);
    t.same(reader.cpus, [0]);
    t.equal(producer.run(0, 10, { cpu: 0 }), 10, 'the other CPU goes on');
    await until(() => count === 20);
    turn(true);
    await until(() => reader.cpus.length === 2);
    t.equal(producer.run(0, 10, { cpu: 1 }), 10, 'it is read again');
    await until(() => count === 30);
    count = 0;
  }
  t.equal(reader.counters.received, 60);
  t.equal(reader.counters.lost, 0);
  reader.close();
  producer.close();
});

t.test('a reader that starts while a CPU is away', { skip }, async (t) => {
  turn(false);
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { cpuCheckMs: 20 });
  let count = 0;
  reader.start(() => count++);
  t.same(reader.cpus, [0]);
  turn(true);
  await until(() => reader.cpus.length === 2);
  t.equal(producer.run(0, 10, { cpu: 1 }), 10);
  await until(() => count === 10);
  t.equal(count, 10);
  reader.close();
  producer.close();
});

t.test('a CPU that is back before anybody looks', { skip }, async (t) => {
  const producer = perfProducer(sys, 60);
  const reader = new PerfReader(sys, producer.mapFd, producer.maxEntries, { cpuCheckMs: 0 });
  let count = 0;
  reader.start(() => count++);
  turn(false);
  turn(true);
  t.equal(producer.run(0, 10, { cpu: 1 }), 0, 'the kernel takes nothing for the buffer that was');
  // The first look sees that time has gone by since it was opened, the second one that none has since the first.
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    reader.refreshCpus();
  }
  t.same(reader.cpus, [0, 1]);
  t.equal(producer.run(0, 10, { cpu: 1 }), 10, 'it is read again');
  t.equal(producer.run(0, 10, { cpu: 0 }), 10);
  await until(() => count === 20);
  reader.close();
  producer.close();

  const kernel = new Kernel();
  const collection = loadCollection(kernel, openObject(fixture('attach/probes.bpf.o'), { name: 'probes' }), {
    programs: ['on_perf_event'],
    variables: { wanted_pid: 0 },
  });
  const link = attachPerfEvent(collection.program('on_perf_event'), 'PERF_COUNT_SW_CPU_CLOCK', { frequency: 99 });
  const before = link.links.map((one) => one.info()?.id);
  turn(false);
  turn(true);
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    link.refresh();
  }
  t.same(link.cpus, [0, 1]);
  if (before[0] !== undefined) {
    const after = link.links.map((one) => one.info()?.id);
    t.equal(after[0], before[0], 'the other CPU keeps its link');
    t.not(after[1], before[1], 'this one has another');
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
  link.refresh();
  t.equal(link.links.length, 2);
  link.close();
  collection.close();
  kernel.close();
});

t.test('a sampled event with a CPU that goes and comes back', { skip }, async (t) => {
  const kernel = new Kernel();
  const collection = loadCollection(kernel, openObject(fixture('attach/probes.bpf.o'), { name: 'probes' }), {
    programs: ['on_perf_event'],
    variables: { wanted_pid: process.pid },
  });
  const link = attachPerfEvent(collection.program('on_perf_event'), 'PERF_COUNT_SW_CPU_CLOCK', { frequency: 99 });
  t.same(link.cpus, [0, 1]);
  turn(false);
  await until(() => link.cpus.length === 1);
  t.same(link.cpus, [0]);
  turn(true);
  await until(() => link.cpus.length === 2);
  t.same(link.cpus, [0, 1]);
  link.close();
  collection.close();
  t.match(readFileSync('/sys/devices/system/cpu/online', 'utf8'), /^0-/);
});
