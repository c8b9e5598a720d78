import t from 'tap';
import { RingbufReader } from '../../../src/bpf/events/ringbuf-reader.ts';
import type { RecordCursor } from '../../../src/bpf/events/record-cursor.ts';
import { FakeRing } from './fake-ring.ts';

const size = 65536;

function drained(reader: RingbufReader): number[] {
  const numbers: number[] = [];
  reader.drainUnsafe((view, offset) => numbers.push(view.getUint32(offset, true)));
  return numbers;
}

for (const arch of ['x64', 'arm64'] as const) {
  void t.test(`records in order, discarded ones counted (${arch})`, async (test) => {
    const ring = new FakeRing(size, 0n, arch);
    const reader = new RingbufReader(ring.sys, 5, size);
    for (let i = 0; i < 10; i++) ring.output(i, 8 + i, i % 3 === 2);
    test.same(drained(reader), [0, 1, 3, 4, 6, 7, 9]);
    const bytes = [0, 1, 3, 4, 6, 7, 9].reduce((sum, i) => sum + 8 + i, 0);
    test.same(reader.counters, { received: 7, bytes, discarded: 3, lost: null });
    test.equal(ring.consumerPosition, ring.producerPosition, 'everything is given back');
    test.same(drained(reader), []);
    reader.close();
  });

  void t.test(`a record over the end of the ring, many times round (${arch})`, async (test) => {
    const ring = new FakeRing(size, 0n, arch);
    const reader = new RingbufReader(ring.sys, 5, size);
    let next = 0;
    let expected = 0;
    for (let round = 0; round < 50; round++) {
      while (ring.output(next, 1000 + (next % 7) * 100)) next++;
      reader.drainUnsafe((view, offset, length) => {
        if (view.getUint32(offset, true) !== expected || length !== 1000 + (expected % 7) * 100) test.fail(`record ${expected}`);
        if (view.getUint8(offset + length - 1) !== (expected & 0xff)) test.fail(`the end of record ${expected}`);
        expected++;
      });
    }
    test.ok(next > 2000);
    test.equal(expected, next);
    reader.close();
  });
}

void t.test('the position starts where the page says, and crosses 2^32 whole', async (test) => {
  for (const start of [2n ** 32n - 64n, 2n ** 33n - 4096n, 2n ** 40n + 8n, 2n ** 53n - 64n, 2n ** 31n - 16n, 2n ** 63n - 64n]) {
    const ring = new FakeRing(size, start);
    const reader = new RingbufReader(ring.sys, 5, size);
    for (let i = 0; i < 4000; i++) ring.output(i);
    test.equal(drained(reader).length, 4000, `from ${start}`);
    test.equal(ring.consumerPosition, BigInt.asUintN(64, start + 64000n), 'all 64 bits are published');
    test.equal(reader.pendingBytes, 0);
    reader.close();
  }
});

void t.test('a BUSY record is waited for, with the position at it', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  ring.output(1);
  const busy = ring.reserve(16);
  ring.output(3);
  test.same(drained(reader), [1]);
  test.equal(ring.consumerPosition, busy?.position, 'the kernel wakes for a commit at the published position only');
  test.equal(reader.turn(), 'idle', 'without a callback there is nothing to do');
  test.same(drained(reader), []);
  busy?.write(Uint8Array.of(2, 0, 0, 0));
  busy?.commit();
  test.same(drained(reader), [2, 3]);
  const gone = ring.reserve(16);
  gone?.commit(true);
  test.same(drained(reader), []);
  test.equal(reader.counters.discarded, 1);
  test.equal(ring.consumerPosition, ring.producerPosition);
  reader.close();
});

void t.test('a record that comes while the position is published in mid-turn is not slept through', (test) => {
  const ring = new FakeRing(size);
  // 128 records of 64 bytes are an eighth of the ring: the position is published right at the end of what was there.
  const reader = new RingbufReader(ring.sys, 5, size);
  let seen = 0;
  reader.startUnsafe(() => {
    // Committed while the published position is still behind it, so that the kernel wakes nobody.
    if (++seen === 128) ring.output(128, 56);
  });
  for (let i = 0; i < 128; i++) ring.output(i, 56);
  test.equal(reader.turn(), 'drained');
  test.equal(seen, 129);
  test.equal(reader.pendingBytes, 0, 'drained is said of an empty ring only');
  reader.close();
  test.end();
});

void t.test('records of no bytes and of the greatest length', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  const lengths: number[] = [];
  ring.output(0, 0);
  ring.output(1, size - 64);
  reader.drainUnsafe((_, __, length) => lengths.push(length));
  test.same(lengths, [0, size - 64]);
  reader.close();
});

void t.test('room is given back while a turn goes on, at least every 1/8 of the ring', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  while (ring.output(0, 120));
  const start = ring.consumerPosition;
  let consumed = 0n;
  let worst = 0n;
  reader.drainUnsafe(() => {
    const behind = start + consumed - ring.consumerPosition;
    if (behind > worst) worst = behind;
    consumed += 128n;
  });
  test.ok(consumed > 60000n);
  test.ok(worst <= BigInt(size / 8), `at most ${worst} bytes behind`);
  reader.close();
});

void t.test('a turn is bounded', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size, { turnRecords: 100 });
  let count = 0;
  reader.start(() => count++);
  for (let i = 0; i < 250; i++) ring.output(i);
  test.equal(reader.turn(), 'more');
  test.equal(count, 100);
  test.equal(reader.turn(), 'more');
  test.equal(reader.turn(), 'drained');
  test.equal(count, 250);
  const busy = ring.reserve(8);
  test.equal(reader.turn(), 'stuck');
  busy?.commit();
  test.equal(reader.turn(), 'drained');
  test.equal(count, 251);
  reader.close();
});

void t.test('a turn is bounded in time', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size, { turnMs: 1 });
  for (let i = 0; i < 4000; i++) ring.output(i);
  reader.start(() => {
    const end = performance.now() + 0.02;
    while (performance.now() < end);
  });
  test.equal(reader.turn(), 'more');
  test.ok(reader.counters.received < 1000, String(reader.counters.received));
  reader.close();
});

void t.test('an exception: the record counts as received, the position moves past it', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  for (let i = 0; i < 3; i++) ring.output(i);
  test.throws(
    () =>
      reader.drainUnsafe((view, offset) => {
        if (view.getUint32(offset, true) === 1) throw new Error('mine');
      }),
    { message: 'mine' },
  );
  test.equal(reader.counters.received, 2);
  test.same(drained(reader), [2]);
  reader.close();
});

void t.test('a record that ends after the producer position closes the reader', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  ring.output(1);
  ring.corrupt(0n, 4096);
  test.throws(() => drained(reader), { code: 'E_RINGBUF', where: { position: 0n, length: 4096, available: 16 } });
  test.ok(reader.closed);
});

void t.test('close inside the callback, and twice', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  for (let i = 0; i < 10; i++) ring.output(i);
  let count = 0;
  let lent: RecordCursor | null = null;
  reader.start((record) => {
    lent = record;
    if (++count === 4) reader.close();
  });
  test.equal(reader.turn(), 'drained');
  reader.close();
  test.equal(count, 4);
  test.equal(reader.turn(), 'idle');
  test.equal(
    reader.drainUnsafe(() => test.fail('closed')),
    0,
  );
  test.equal(reader.pendingBytes, 0);
  test.equal(reader.counters.received, 4, 'counters outlive it');
  test.throws(() => lent?.u8(0), { code: 'E_RECORD_RANGE' }, 'a lent record expires');
  test.throws(() => reader.start(() => {}), { code: 'E_CLOSED' });
  test.equal(ring.calls.filter((name) => name === 'close').length, 2, 'the duplicate and the epoll instance');
});

void t.test('pause, resume, stop, start again', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  for (let i = 0; i < 10; i++) ring.output(i);
  const seen: number[] = [];
  const take = (record: RecordCursor): void => {
    seen.push(record.u32(0));
    if (record.u32(0) === 3) reader.pause();
  };
  reader.start(take);
  test.throws(() => reader.start(take), { code: 'E_STARTED' });
  test.equal(reader.turn(), 'drained');
  test.same(seen, [0, 1, 2, 3]);
  test.notOk(reader.active);
  reader.resume();
  test.equal(reader.turn(), 'drained');
  test.same(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  reader.stop();
  ring.output(10);
  test.equal(reader.turn(), 'idle');
  test.equal(seen.length, 10);
  reader.start(take);
  reader.turn();
  test.same(seen.slice(10), [10]);
  reader.close();
});

void t.test('for await gives copies, with back-pressure', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  for (let i = 0; i < 100; i++) ring.output(i);
  const seen: Uint8Array[] = [];
  for await (const record of reader.records({ maxQueued: 10 })) {
    seen.push(record);
    if (seen.length === 5) test.ok(reader.counters.received <= 10, 'the rest waits in the ring');
    if (seen.length === 95) break;
  }
  test.same(
    seen.map((record) => record[0]),
    Array.from({ length: 95 }, (_, i) => i),
  );
  test.notOk(reader.active, 'leaving the loop stops reading');
  setImmediate(() => reader.close());
  for await (const record of reader) seen.push(record);
  test.ok(seen.length >= 95, 'close ends the loop');
});

void t.test('the cursor reads and cannot be made to read elsewhere', async (test) => {
  const ring = new FakeRing(size);
  const reader = new RingbufReader(ring.sys, 5, size);
  const record = ring.reserve(24);
  record?.write(Uint8Array.from({ length: 24 }, (_, i) => 0xf0 + (i % 16)));
  record?.commit();
  ring.output(7);
  let first = true;
  reader.start((cursor) => {
    if (!first) return;
    first = false;
    test.equal(cursor.length, 24);
    test.equal(cursor.u8(1), 0xf1);
    test.equal(cursor.u16(2), 0xf3f2);
    test.equal(cursor.u32(4), 0xf7f6f5f4);
    test.equal(cursor.s32(4), 0xf7f6f5f4 | 0);
    test.equal(cursor.u64(8), 0xfffefdfcfbfaf9f8n);
    test.equal(cursor.s64(8), BigInt.asIntN(64, 0xfffefdfcfbfaf9f8n));
    test.same(cursor.bytesCopy(22), Uint8Array.of(0xf6, 0xf7));
    const target = new Uint8Array(3);
    cursor.copyTo(target, 1);
    test.same(target, Uint8Array.of(0xf1, 0xf2, 0xf3));
    for (const bad of [
      () => cursor.u8(24),
      () => cursor.u32(21),
      () => cursor.u64(-8),
      () => cursor.u8(Number.NaN),
      () => cursor.bytesCopy(0, 25),
      () => cursor.copyTo(new Uint8Array(4), 21),
    ]) {
      test.throws(bad, { code: 'E_RECORD_RANGE' });
    }
  });
  reader.turn();
  reader.close();
});

void t.test('sizes that no ring buffer has', async (test) => {
  const ring = new FakeRing(size);
  for (const bad of [0, 100, 4095, 65536 + 4096, 2 ** 32, Number.NaN, -4096]) {
    test.throws(() => new RingbufReader(ring.sys, 5, bad), { code: 'E_RINGBUF_SIZE' }, String(bad));
  }
  test.same(ring.calls, [], 'nothing was mapped or opened');
});

void t.test('a failed mapping leaves no descriptor', async (test) => {
  const ring = new FakeRing(size);
  const real = ring.backend.syscall.bind(ring.backend);
  let maps = 0;
  const open = new Set<number>();
  ring.backend.syscall = (nr, args) => {
    if (nr === 9 && args[4] !== -1 && ++maps === 2) return -12;
    const result = real(nr, args);
    if (nr === 72) open.add(result);
    if (nr === 3) open.delete(Number(args[0]));
    return result;
  };
  test.throws(() => new RingbufReader(ring.sys, 5, size), { code: 'E_SYSCALL', errnoName: 'ENOMEM' });
  test.equal(open.size, 0);
});
