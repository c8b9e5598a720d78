// What readers of one process owe each other and the rest of it, and what user code may do with what it is lent; in a process of its own,
// for a write to the kernel's memory would end it.
import { readFile } from 'node:fs/promises';
import t from 'tap';
import type { RecordCursor } from '../../../src/bpf/events/record-cursor.ts';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { ringbufProducer } from './producer.ts';

t.setTimeout(110_000);
const sys = defaultSys();

function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end;);
}

void t.test('a slow consumer holds up neither other readers nor timers nor I/O', async (test) => {
  const slow = ringbufProducer(sys, 1024 * 1024);
  const quick = ringbufProducer(sys, 65536);
  const slowReader = new RingbufReader(sys, slow.mapFd, slow.maxEntries);
  const quickReader = new RingbufReader(sys, quick.mapFd, quick.maxEntries);
  let slowSeen = 0;
  let sent = 0;
  let quickSeen = 0;
  let ticks = 0;
  // Records of the slow one between two ticks of a timer. A turn ends after 8 ms, looked at after 1, 2, 4, 8 and 16 records: on a
  // machine of its own after 8 records of 2 ms; never are they 32.
  let most = 0;
  let before = 0;
  slowReader.start(() => {
    slowSeen++;
    spin(2);
  });
  quickReader.start(() => quickSeen++);
  test.equal(slow.run(0, 1000), 1000);
  const timer = setInterval(() => {
    ticks++;
    most = Math.max(most, slowSeen - before);
    before = slowSeen;
    sent += quick.run(sent, 5);
  }, 1);
  let reads = 0;
  while (slowSeen < 200) {
    await readFile('/proc/self/comm');
    reads++;
  }
  clearInterval(timer);
  test.ok(slowSeen < 1000, 'the slow one is not through yet');
  test.ok(most < 64, `at most ${most} records of the slow one between two of ${ticks} ticks of a timer`);
  test.ok(ticks >= 4 && reads >= 1, `${ticks} ticks, and ${reads} reads of a file`);
  test.ok(quickSeen > 0 && sent - quickSeen <= 25, `the other reader has had ${quickSeen} of ${sent}`);
  slowReader.close();
  quickReader.close();
  slow.close();
  quick.close();
});

void t.test('what is lent can be written to without harm, before and after its turn', async (test) => {
  const producer = ringbufProducer(sys, 65536);
  const reader = new RingbufReader(sys, producer.mapFd, producer.maxEntries);
  const kept: RecordCursor[] = [];
  const copies: Uint8Array[] = [];
  const deface = (record: RecordCursor): void => {
    for (const name of ['length', 'u32', 'bytesCopy', 'anything', '0']) {
      try {
        Object.defineProperty(record, name, { value: 77, writable: true, configurable: true });
        Reflect.set(record, name, 78);
        Reflect.deleteProperty(record, name);
      } catch {
        // Refused.
      }
    }
  };
  const numbers: number[] = [];
  reader.start((record) => {
    numbers.push(record.u32(0));
    const copy = record.bytesCopy();
    copy.fill(0xff);
    new Uint8Array(copy.buffer).fill(0xee);
    copies.push(copy);
    deface(record);
    test.equal(record.u32(0), numbers.at(-1), 'the kernel’s bytes are as they were');
    kept.push(record);
  });
  producer.run(0, 5);
  while (numbers.length < 5) await new Promise((resolve) => setTimeout(resolve, 2));
  test.same(numbers, [0, 1, 2, 3, 4]);
  for (const record of kept) {
    deface(record);
    test.throws(() => record.u32(0), { code: 'E_RECORD_RANGE' });
  }
  reader.close();
  for (const record of kept) deface(record);
  for (const copy of copies) copy.fill(1);
  producer.close();
});
