import t from 'tap';
import { struct } from '../../src/bytes/struct.ts';
import { cString, fromHex, toCString, toHex, toUtf8 } from '../../src/bytes/text.ts';

const layout = struct('sample', [
  ['kind', 'u8'],
  ['port', 'u16'],
  ['count', 'u32'],
  ['delta', 's32'],
  ['total', 'u64'],
  ['offset', 's64'],
  ['name', 'char[5]'],
  ['words', 'u32[2]'],
  ['raw', 'u8[3]'],
  ['where', 'ptr'],
]);

t.test('fields are placed as C places them', (t) => {
  t.same(
    layout.fields.map((field) => field.offset),
    [0, 2, 4, 8, 16, 24, 32, 40, 48, 56],
  );
  t.equal(layout.size, 64);
  t.same(layout.field('words'), { name: 'words', type: 'u32[2]', offset: 40, size: 8 });
  const union = struct('union', [
    ['a', 'u64', 0],
    ['b', 'u32', 0],
    ['c', 'u32', 4],
  ]);
  t.equal(union.size, 8);
  t.throws(() => layout.field('toString'), { code: 'E_STRUCT_FIELD' });
  t.end();
});

t.test('values are encoded and decoded', (t) => {
  const values = {
    kind: 255,
    port: 0x1234,
    count: 0xdeadbeef,
    delta: -2,
    total: (1n << 64n) - 1n,
    offset: -1n,
    name: 'abc',
    words: [1, 2],
    raw: Uint8Array.of(7),
  };
  const bytes = layout.encode(values);
  t.equal(toHex(bytes.subarray(0, 16)), 'ff003412efbeaddefeffffff00000000');
  const decoded = layout.decode(bytes);
  t.same({ ...decoded }, { ...values, name: toUtf8('abc\0\0'), raw: Uint8Array.of(7, 0, 0), where: 0n });
  t.equal(Object.getPrototypeOf(decoded), null);
  t.same(Object.keys(layout.decode(bytes.subarray(0, 9))), ['kind', 'port', 'count'], 'what is not there is not given');
  t.end();
});

t.test('decoded bytes are a copy, of a Buffer too', (t) => {
  const buffer = Buffer.alloc(64);
  const { raw } = layout.decode(buffer);
  buffer.fill(9);
  t.same(raw, Uint8Array.of(0, 0, 0));
  t.end();
});

t.test('pointers hold the address of what they are given', (t) => {
  const target = Uint8Array.of(1);
  t.equal(layout.decode(layout.encode({ where: target }, () => 0x7fff_1234_5678n))['where'], 0x7fff_1234_5678n);
  t.equal(layout.decode(layout.encode({ where: 16n }))['where'], 16n);
  t.equal(layout.decode(layout.encode({ where: null }))['where'], 0n);
  t.throws(() => layout.encode({ where: target }), { code: 'E_STRUCT_VALUE' });
  t.end();
});

t.test('what does not fit is refused, with the field', (t) => {
  const bad = [
    { kind: 256 },
    { port: -32769 },
    { count: 2 ** 32 },
    { total: 1n << 64n },
    { offset: -(1n << 63n) - 1n },
    { name: 'abcdef' },
    { words: [1, 2, 3] },
    { raw: new Uint8Array(4) },
    { raw: 1 },
    { where: 'text' },
    { kind: 'text' },
    { kind: null },
    { count: 0.5 },
    { total: Number.NaN },
    { total: 2 ** 60 },
  ];
  for (const values of bad) t.throws(() => layout.encode(values), { code: 'E_STRUCT_VALUE', where: { field: Object.keys(values)[0] } });
  t.throws(() => layout.encode({ nothing: 1 }), { code: 'E_STRUCT_FIELD' });
  t.end();
});

t.test('text and hex', (t) => {
  t.equal(cString(toUtf8('abc\0def')), 'abc');
  t.equal(cString(toUtf8('abc\0def'), 4), 'def');
  t.equal(cString(toUtf8('grün ✓')), 'grün ✓');
  t.equal(cString(Uint8Array.of(0x61, 0xff)), 'a\ufffd');
  const long = 'x'.repeat(100);
  t.equal(cString(toCString(long)), long);
  t.equal(toHex(toCString('A')), '4100');
  t.same(fromHex('00 ff\nA0'), Uint8Array.of(0, 255, 160));
  for (const text of ['0', 'xx', '0x00']) t.throws(() => fromHex(text), { code: 'E_HEX' });
  t.end();
});
