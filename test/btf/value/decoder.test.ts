import t from 'tap';
import { buildDecoder, enumNames, fieldReader, fieldsOf } from '../../../src/btf/index.ts';
import { idOf, valueFixture } from './fixture.ts';

// What values.bpf.c initialises its variables with; clang laid out the bytes.
const fixture = valueFixture('values.bpf.o');
const { btf } = fixture;

function decode(name: string, typeName: string = name): Record<string, unknown> {
  const { view, offset, length } = fixture.variable(name);
  return buildDecoder(btf, idOf(btf, typeName)).read(view, offset, length) as Record<string, unknown>;
}

const everything: Record<string, unknown> = {
  u8: 250,
  s8: -100,
  u16: 65000,
  s16: -30000,
  u32: 4000000000,
  s32: -2000000000,
  u64: 18446744073709551615n,
  s64: -9223372036854775808n,
  u128: 0xfedcba98765432100123456789abcdefn,
  s128: -5n,
  yes: true,
  no: false,
  letter: 90,
  f32: 1.5,
  f64: -0.1,
  color: -3,
  tiny: 200,
  wide: 0x1234567890n,
  anon: 7,
  pointer: 0xffff888012345678n,
  opaque: 0n,
  function: 0n,
  text: 'hello',
  full: 'abcd',
  broken: 'ok\ufffd\ufffd!',
  words: ['one', 'two'],
  bytes: Uint8Array.of(1, 2, 0, 4, 255, 6),
  signed_bytes: [-1, 2, -3],
  flags: [true, false, true],
  numbers: [1, 1000, 65535],
  longs: [1n, 0x8000000000000000n],
  matrix: [
    [1, 2, 3],
    [-4, -5, -6],
  ],
  point: { x: -7, y: 8 },
  points: [
    { x: 1, y: 2 },
    { x: 3, y: 4 },
  ],
  either: { number: 0x04030201, parts: Uint8Array.of(1, 2, 3, 4), low: 0x0201, high: 0x0403 },
  inner_a: 11,
  inner_b: -1,
  inner_c: 4294967295,
  qualified: 4321,
  none: [],
  empty: {},
  ['__proto__']: 99,
  constructor: 98,
};

void t.test('a struct with every shape', (t) => {
  const value = decode('everything');
  t.same(Object.keys(value), Object.keys(everything), 'members in order, anonymous ones inlined');
  for (const [name, wanted] of Object.entries(everything)) {
    t.strictSame(value[name], wanted, name);
  }
  t.end();
});

void t.test('member names never reach a prototype', (t) => {
  const value = decode('everything');
  t.equal(Object.getOwnPropertyDescriptor(value, '__proto__')?.value, 99);
  t.equal(({} as Record<string, unknown>)['constructor'], Object, 'Object.prototype is as it was');
  t.equal(Object.getPrototypeOf(value), Object.prototype, 'a plain object');
  t.end();
});

void t.test('bitfields', (t) => {
  t.strictSame(decode('bits'), {
    a: 1,
    b: 5,
    c: -16,
    d: 0x7abcde,
    e: 0x1deadbeefn,
    f: -0x40000000n,
    g: true,
    h: -3,
    i: 0x55,
    plain: 77,
    j: -9000000000000000000n,
  });
  t.strictSame(decode('packed_bits'), {
    first: 0xaa,
    b7: 0x5b,
    b30: 0x2bcdef01,
    b63: 0x7123456789abcdefn,
    s31: -0x3abcdef1,
    b2: 2n,
    after: 0xbeef,
  });
  t.end();
});

void t.test('a record shorter than its type reads as zero past its end', (t) => {
  const { view, offset } = fixture.variable('bits');
  const decoder = buildDecoder(btf, idOf(btf, 'bits'));
  const short = decoder.read(view, offset, 10) as Record<string, unknown>;
  t.equal(short['d'], 0x7abcde);
  t.equal(short['e'], 0xbeefn, 'two of its five bytes are there');
  t.equal(short['plain'], 0);
  t.strictSame(decoder.read(view, offset, 0), decoder.read(new DataView(new ArrayBuffer(32)), 0, 32));
  t.strictSame(decoder.read(view, view.byteLength - 4, 32), decoder.read(view, view.byteLength - 4, 4), 'the view ends first');
  t.end();
});

void t.test('a flexible array takes what the record has past the struct', (t) => {
  const { view, offset, length } = fixture.variable('flexible');
  const decoder = buildDecoder(btf, idOf(btf, 'flexible'));
  t.equal(decoder.size, 8);
  t.strictSame(decoder.read(view, offset, length), { count: 3, kind: 9, rest: '' }, 'clang leaves two zero bytes before the text');
  t.strictSame(decoder.read(view, offset + 2, 16), { count: 9 << 16, kind: 0, rest: 'tail text' });
  t.strictSame(decoder.read(view, offset + 2, 11), { count: 9 << 16, kind: 0, rest: 'tail ' });
  t.strictSame(decoder.read(view, offset, 5), { count: 3, kind: 9, rest: '' });
  t.end();
});

void t.test('scalars, arrays and void at the top', (t) => {
  const view = new DataView(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0).buffer);
  const read = (name: string): unknown => buildDecoder(btf, idOf(btf, name)).read(view, 0, 8);
  t.equal(read('int'), -1);
  t.equal(read('__u32'), 4294967295);
  t.equal(read('__u64'), 0x1ffffffffn);
  t.equal(read('opaque'), null);
  t.equal(buildDecoder(btf, 0).read(view, 0, 8), null);
  t.end();
});

void t.test('text as bytes on demand', (t) => {
  const { view, offset } = fixture.variable('everything');
  const reader = fieldReader(btf, idOf(btf, 'everything'), 'broken', { text: 'bytes' });
  t.equal(reader.kind, 'bytes');
  t.strictSame(reader.read(view, offset), Uint8Array.of(111, 107, 0xff, 0xc3, 33, 0, 120, 121));
  t.end();
});

void t.test('text: a byte order mark stays, collisions of the cache do not matter', (t) => {
  const reader = fieldReader(btf, idOf(btf, 'everything'), 'text');
  const at = fieldsOf(btf, idOf(btf, 'everything')).find((field) => field.path === 'text')?.offset ?? -1;
  const bytes = new Uint8Array(288);
  const view = new DataView(bytes.buffer);
  const encoder = new TextEncoder();
  const read = (text: string): unknown => {
    bytes.fill(0, at, at + 16);
    encoder.encodeInto(text, bytes.subarray(at, at + 16));
    return reader.read(view, 0);
  };
  t.equal(read('\ufeffx'), '\ufeffx');
  t.equal(read(''), '');
  for (let round = 0; round < 2; round++) {
    let wrong = 0;
    for (let i = 0; i < 5000; i++) if (read(`task/${i}:${i * 7}`) !== `task/${i}:${i * 7}`) wrong++;
    t.equal(wrong, 0);
  }
  t.end();
});

void t.test('flattened fields', (t) => {
  const typeId = idOf(btf, 'everything');
  const { view, offset } = fixture.variable('everything');
  const fields = fieldsOf(btf, typeId);
  const byPath = new Map(fields.map((field) => [field.path, field]));
  t.equal(byPath.size, fields.length);
  const rows = ['point', 'point.x', 'point.y', 'either.low', 'either.high', 'inner_c', 'qualified', '__proto__'].map((path) => {
    const field = byPath.get(path);
    return [path, field?.offset, field?.size, field?.reader.kind, field?.typeNames];
  });
  // Offsets as `bpftool btf dump file fixtures/btf/values.bpf.o` gives them, in bits there.
  t.same(rows, [
    ['point', 1856 / 8, 8, 'object', ['point']],
    ['point.x', 1856 / 8, 4, 'number', ['__s32', 'int']],
    ['point.y', 1856 / 8 + 4, 2, 'number', ['__s16', 'short']],
    ['either.low', 2048 / 8, 2, 'number', ['__u16', 'unsigned short']],
    ['either.high', 2048 / 8 + 2, 2, 'number', ['__u16', 'unsigned short']],
    ['inner_c', (2080 + 32) / 8, 4, 'number', ['unsigned int']],
    ['qualified', 2144 / 8, 4, 'number', ['pid_like', '__u32', 'unsigned int']],
    ['__proto__', 2176 / 8, 4, 'number', ['int']],
  ]);
  t.equal(fields[byPath.get('point.y')?.parent ?? -1]?.path, 'point');
  for (const field of fields) {
    const [outer = '', inner] = field.path.split('.');
    const whole = everything[outer];
    const wanted = inner === undefined ? whole : (whole as Record<string, unknown>)[inner];
    t.strictSame(field.reader.read(view, offset), wanted, field.path);
    t.strictSame(fieldReader(btf, typeId, field.path).read(view, offset), wanted);
  }
  t.throws(() => fieldReader(btf, typeId, 'point.z'), { code: 'E_VALUE_FIELD' });
  t.throws(() => fieldReader(btf, typeId, 'u8.x'), { code: 'E_VALUE_FIELD' });
  t.end();
});

void t.test('bitfields flattened', (t) => {
  const field = fieldsOf(btf, idOf(btf, 'packed_bits')).find(({ path }) => path === 'b63');
  // bits_offset=45 bitfield_size=63 in bpftool's dump.
  t.match(field, { offset: 5, bitOffset: 5, bitSize: 63, size: 9 });
  t.end();
});

void t.test('names of enum values', (t) => {
  const color = enumNames(btf, idOf(btf, 'color'));
  t.same(
    [color?.name, color?.nameOf(-3), color?.nameOf(5), color?.nameOf(6), color?.nameOfBig(-3n)],
    ['color', 'BLUE', 'GREEN', null, 'BLUE'],
  );
  t.equal(enumNames(btf, idOf(btf, 'wide'))?.nameOfBig(0x1234567890n), 'WIDE_BIG');
  t.equal(enumNames(btf, idOf(btf, 'anon_enum'))?.nameOf(7), 'ANON_A');
  t.equal(enumNames(btf, idOf(btf, 'int')), null);
  t.end();
});
