import t from 'tap';
import { Collection, createMap, Kernel, loadCollection, UserRingbuf, type BpfMap } from '../../../src/index.ts';
import { openKinds } from '../kinds.ts';

const kernel = new Kernel();
const { spec, lacking } = openKinds(kernel);
const { btf } = spec;
const skip = lacking.get('commands') ?? false;
const BPF_RB_NO_WAKEUP = 1;

function load(entries = 4096): Collection {
  return loadCollection(kernel, openKinds(kernel).spec, { mapSizes: { commands: entries } });
}

/** Runs the program that drains the ring; returns the numbers it took, in order. */
function drain(collection: Collection, flags = 0): number[] {
  collection.variable('drain_flags').set(BigInt(flags));
  collection.program('drain').testRun();
  const count = Number(collection.variable('drained').get());
  const taken: number[] = [];
  for (let value = collection.map('taken').typed.pop(); value !== undefined; value = collection.map('taken').typed.pop())
    taken.push(Number(value));
  t.equal(taken.length, count, 'bpf_user_ringbuf_drain() counts what the callback got');
  return taken;
}

function number(value: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(value)).buffer);
}

function using(use: (collection: Collection, ring: UserRingbuf) => void): void {
  const collection = load();
  const ring = new UserRingbuf(collection.map('commands'));
  try {
    use(collection, ring);
  } finally {
    ring.close();
    collection.close();
  }
}

t.test('samples arrive in the order of their reservation; discarded ones do not', { skip }, async (t) => {
  using((collection, ring) => {
    t.equal(ring.size, 4096);
    const first = ring.reserve(8);
    const second = ring.reserve(8);
    const third = ring.reserve(8);
    for (const [i, sample] of [first, second, third].entries()) sample?.view.setBigUint64(0, BigInt(i + 1), true);
    third?.submit();
    second?.discard();
    t.same(drain(collection), [], 'none is taken past one that is still being written');
    t.equal(ring.pendingBytes, 3 * 16);
    first?.submit();
    t.same(drain(collection), [1, 3]);
    t.equal(ring.pendingBytes, 0);
    t.throws(() => first?.submit(), { code: 'E_RINGBUF_SAMPLE' });
  });
});

t.test('a value of a BTF type', { skip }, async (t) => {
  using((collection, ring) => {
    const typeId = btf?.findByName('command', 'STRUCT') ?? 0;
    if (btf === null) throw new Error('the fixture has BTF');
    t.ok(ring.sendValue(btf, typeId, { number: 2n ** 53n + 1n, length: 5, text: 'hello' }));
    drain(collection);
    t.same(collection.variable('last').get(), { number: 2n ** 53n + 1n, length: 5, text: 'hello' });
  });
});

t.test('a full ring, and many times around it', { skip }, async (t) => {
  using((collection, ring) => {
    let sent = 0;
    while (ring.send(number(sent))) sent++;
    t.equal(sent, 4096 / 16);
    t.equal(ring.reserve(0), null);
    t.same(
      drain(collection),
      Array.from({ length: 256 }, (_, i) => i),
    );
    const expected: number[] = [];
    const got: number[] = [];
    // Lengths that put every boundary of the ring somewhere into a sample.
    for (let i = 0; i < 2000; i++) {
      const sample = ring.reserve(8 + ((i * 13) % 700));
      if (sample === null) throw new Error('drained each time it could be full');
      sample.bytes.fill(0);
      sample.view.setBigUint64(0, BigInt(i), true);
      sample.submit();
      expected.push(i);
      if (i % 5 === 4) got.push(...drain(collection));
    }
    t.same(got, expected);
    const whole = ring.reserve(4096 - 8);
    t.ok(whole !== null, 'a sample as large as the ring');
    whole?.discard();
    drain(collection);
    t.throws(() => ring.reserve(4096 - 7), { code: 'E_RINGBUF_SAMPLE', where: { max_entries: 4096 } });
    t.throws(() => ring.reserve(-1), { code: 'E_RINGBUF_SAMPLE' });
    t.throws(() => ring.reserve(1.5), { code: 'E_RINGBUF_SAMPLE' });
  });
});

t.test('waiting for room: woken by the kernel, or without its word, in time', { skip }, async (t) => {
  const collection = load();
  const ring = new UserRingbuf(collection.map('commands'));
  try {
    for (const flags of [0, BPF_RB_NO_WAKEUP]) {
      while (ring.send(number(1)));
      const waited = ring.reserveWhenFree(8);
      setImmediate(() => drain(collection, flags));
      const sample = await waited;
      t.ok(sample !== null, `flags ${flags}`);
      sample?.discard();
    }
    while (ring.send(number(1)));
    t.equal(await ring.reserveWhenFree(8, { timeoutMs: 5 }), null, 'nobody drains');
    const abort = new AbortController();
    const aborted = ring.reserveWhenFree(8, { signal: abort.signal });
    abort.abort();
    await t.rejects(aborted, { name: 'AbortError' });
    const waiting = ring.reserveWhenFree(8);
    ring.close();
    t.equal(await waiting, null, 'closed meanwhile');
  } finally {
    ring.close();
    collection.close();
  }
});

t.test('after close; another producer goes on where the first ended; other maps', { skip }, async (t) => {
  const collection = load();
  const ring = new UserRingbuf(collection.map('commands'));
  t.ok(ring.send(number(1)));
  const late = ring.reserve(8);
  ring.close();
  ring.close();
  late?.bytes.fill(1);
  t.throws(() => ring.reserve(8), { code: 'E_CLOSED' });
  t.equal(ring.pendingBytes, 0);
  t.same(drain(collection), [1]);
  collection.close();

  const again = load();
  const one = new UserRingbuf(again.map('commands'));
  one.send(number(7));
  one.close();
  const two = new UserRingbuf(again.map('commands'));
  two.send(number(8));
  t.same(drain(again), [7, 8]);
  two.close();
  again.close();

  const ringbuf: BpfMap = createMap(kernel, { type: 'BPF_MAP_TYPE_RINGBUF', keySize: 0, valueSize: 0, maxEntries: 4096 });
  t.throws(() => new UserRingbuf(ringbuf), { code: 'E_MAP_TYPE' });
  ringbuf.close();
});
