import t from 'tap';
import { Cursor } from '../../src/bytes/cursor.ts';
import { fromHex } from '../../src/bytes/text.ts';

const bytes = fromHex('01 0203 04050607 08090a0b0c0d0e0f ff');

t.test('reads in both byte orders', (t) => {
  const little = new Cursor(bytes, { structure: 'test' });
  t.same([little.u8(), little.u16(), little.u32(), little.u64(), little.u8()], [1, 0x0302, 0x07060504, 0x0f0e0d0c0b0a0908n, 0xff]);
  t.equal(little.remaining, 0);
  const big = new Cursor(bytes, { structure: 'test', littleEndian: false });
  t.same([big.u8(), big.u16(), big.u32(), big.u64()], [1, 0x0203, 0x04050607, 0x08090a0b0c0d0e0fn]);
  t.equal(big.offset, 15);
  t.end();
});

t.test('signed numbers and sizes', (t) => {
  const cursor = new Cursor(fromHex('ffffffff feffffffffffffff 0000000000000000 ffffffffffff1f00 0000000000002000'), { structure: 'test' });
  t.equal(cursor.s32(), -1);
  t.equal(cursor.s64(), -2n);
  t.equal(cursor.size64(), 0);
  t.equal(cursor.size64(), Number.MAX_SAFE_INTEGER);
  t.throws(() => cursor.size64(), { code: 'E_TRUNCATED', where: { offset: 28 } });
  t.equal(cursor.offset, 28, 'a refused read moves nothing');
  t.end();
});

t.test('views of a part of a buffer keep to their part', (t) => {
  const part = new Cursor(bytes.subarray(1, 3), { structure: 'part' });
  t.equal(part.u16(), 0x0302);
  t.throws(() => part.u8(), { code: 'E_TRUNCATED' });
  const taken = new Cursor(bytes, { structure: 'test' }).skip(3).take(4);
  t.equal(taken.buffer, bytes.buffer);
  t.same([...taken], [4, 5, 6, 7]);
  t.end();
});

t.test('whatever passes the end is refused, with structure and offset', (t) => {
  const options = { structure: 'thing', code: 'E_THING', base: 100 };
  const at = (offset: number): Cursor => new Cursor(bytes, options).seek(offset);
  const reads: ((cursor: Cursor) => unknown)[] = [
    (c) => c.u16(),
    (c) => c.u32(),
    (c) => c.s32(),
    (c) => c.u64(),
    (c) => c.s64(),
    (c) => c.take(2),
    (c) => c.skip(2),
    (c) => c.skip(-1),
    (c) => c.skip(0.5),
    (c) => c.take(Number.NaN),
    (c) => c.ensure(1, 2, 'count'),
    (c) => c.ensure(0xffffffff, 0xffffffff, 'count'),
    (c) => c.ensure(-1, 1, 'count'),
  ];
  for (const read of reads) {
    t.throws(() => read(at(15)), { code: 'E_THING', where: { offset: 115 }, message: /malformed thing/ }, String(read));
  }
  for (const offset of [-1, 17, 0.5, Number.NaN, Infinity]) t.throws(() => at(offset), { code: 'E_THING' }, `seek ${offset}`);
  t.equal(at(16).remaining, 0);
  at(15).ensure(1, 1, 'count');
  t.end();
});
