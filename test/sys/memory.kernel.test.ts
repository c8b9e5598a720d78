import t from 'tap';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { Mapping } from '../../src/sys/memory.ts';
import { pageSize } from '../../src/sys/page-size.ts';

const sys = defaultSys();
const page = pageSize();
// Far from where the kernel puts things by itself, as the addresses of arenas are.
const base = 1n << 44n;

function at(pages: number, count: number): Mapping {
  return Mapping.map(sys, { address: base + BigInt(pages * page), length: count * page, writable: true, what: 'a range' });
}

t.test('ranges at given addresses, one after the other, overlapping those that were closed in every way', async (t) => {
  const rows: readonly (readonly [first: number, count: number])[] = [
    [10, 4],
    [10, 4],
    [8, 4],
    [12, 8],
    [0, 40],
    [11, 1],
    [30, 20],
    [0, 60],
  ];
  for (const [first, count] of rows) {
    const mapping = at(first, count);
    t.equal(mapping.address, base + BigInt(first * page));
    const bytes = new Uint8Array(mapping.buffer);
    t.same([bytes[0], bytes.at(-1)], [0, 0], `pages ${first} to ${first + count}: nothing of an earlier one`);
    bytes.fill(7);
    mapping.close();
    t.same([bytes[0], bytes.at(-1)], [0, 0], 'a view that is left reads zeroes');
    bytes.fill(1);
  }
});

t.test('a range that is in use is refused, and nothing of the attempt stays', async (t) => {
  const used = at(100, 4);
  t.throws(() => at(98, 4), /EEXIST/);
  t.throws(() => at(103, 4), /EEXIST/);
  t.throws(() => at(90, 40), /EEXIST/);
  const before = at(98, 2);
  const after = at(104, 2);
  t.throws(() => at(98, 8), /EEXIST/);
  before.close();
  t.throws(() => at(98, 8), /EEXIST/, 'half of it is free');
  used.close();
  after.close();
  at(98, 8).close();
});

t.test('a file that cannot be mapped leaves no reserved range', async (t) => {
  const options = { address: base + BigInt(200 * page), length: page, writable: true, what: 'nothing' };
  t.throws(() => Mapping.map(sys, { ...options, fd: -5 }), /EBADF/);
  Mapping.map(sys, options).close();
});
