import { readFileSync } from 'node:fs';
import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { countLosses, openObject, silenceWakeups, type ObjectSpec } from '../../../src/bpf/object/index.ts';
import { EPOLL } from '../../../src/sys/constants.ts';
import { Epoll } from '../../../src/sys/epoll.ts';

t.setTimeout(110_000);

const file = readFileSync(new URL('../../../../fixtures/losses.bpf.o', import.meta.url));

/** Sends some events into an empty ring buffer that somebody waits for; returns whether he was woken, and how many came. */
function sent(spec: ObjectSpec, program: string): { woken: boolean; received: number } {
  const kernel = new Kernel();
  const collection = loadCollection(kernel, spec);
  const events = collection.map('events');
  const ring = new RingbufReader(kernel.sys, events.fd, events.maxEntries);
  const epoll = new Epoll(kernel.sys);
  // Edge-triggered: only a wake-up makes it ready, not what lies there.
  epoll.add(events.fd, EPOLL.EPOLLIN | EPOLL.EPOLLET);
  const context = new Uint8Array(new BigUint64Array([3n]).buffer);
  collection.program(program).testRun({ context });
  const woken = epoll.wait(300) > 0;
  const received = ring.drainUnsafe(() => {});
  epoll.close();
  ring.close();
  collection.close();
  kernel.close();
  return { woken, received };
}

for (const program of ['reserve', 'output'] as const) {
  void t.test(`${program}: nobody is woken by an object made silent, and all events are there`, (test) => {
    const spec = openObject(file, { name: 'losses' });
    test.same(sent(spec, program), { woken: true, received: 3 }, 'as it is');
    test.same(sent(silenceWakeups(spec), program), { woken: false, received: 3 }, 'silent');
    test.same(sent(silenceWakeups(countLosses(spec)), program), { woken: false, received: 3 }, 'counting and silent');
    test.same(sent(countLosses(silenceWakeups(spec)), program), { woken: false, received: 3 }, 'silent and counting');
    test.end();
  });
}

void t.test('what has no such calls stays as it is', (test) => {
  const plain = openObject(readFileSync(new URL('../../../../fixtures/btf/values.bpf.o', import.meta.url)));
  test.equal(silenceWakeups(plain), plain);
  test.end();
});
