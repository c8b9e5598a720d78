// 2^33 bytes of small records through one ring of 256 KiB while producers overrun it: every record that the kernel took
// comes once and in order. `npm run test:soak`; minutes. (ringbuf-reader.kernel.test.ts does the same with large records.)
import t from 'tap';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import { defaultSys } from '../../../src/sys/default-sys.ts';
import { maxPerRun, ringbufProducer } from './producer.ts';

t.setTimeout(3_600_000);

const sys = defaultSys();
const ringSize = 256 * 1024;
const recordSize = 56;

void t.test('2^33 bytes through a ring of 256 KiB', { timeout: 3_600_000 }, async (test) => {
  const producer = ringbufProducer(sys, ringSize, recordSize);
  const reader = new RingbufReader(sys, producer.mapFd, ringSize);
  let expected = 0;
  let wrong = 0;
  reader.startUnsafe((view, offset, length) => {
    if (view.getUint32(offset, true) !== expected++ || length !== recordSize) wrong++;
  });
  const records = 2 ** 33 / (recordSize + 8) + 1000;
  let sent = 0;
  while (sent < records) {
    // More than fits: what is not taken is sent again under the same number.
    for (let i = 0; i < 5; i++) sent += producer.run(sent, maxPerRun);
    await new Promise((resolve) => setImmediate(resolve));
  }
  while (reader.pendingBytes > 0) await new Promise((resolve) => setImmediate(resolve));
  test.equal(wrong, 0);
  test.equal(expected, sent);
  test.same(reader.counters, { received: sent, bytes: sent * recordSize, discarded: 0, lost: null });
  reader.close();
  producer.close();
});
