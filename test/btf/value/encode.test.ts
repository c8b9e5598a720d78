import t from 'tap';
import { buildDecoder, encodeValue, fieldsOf } from '../../../src/btf/index.ts';
import { idOf, valueFixture } from './fixture.ts';

const fixture = valueFixture('values.bpf.o');
const { btf } = fixture;

function bytesOf(name: string): Uint8Array {
  const { view, offset, length } = fixture.variable(name);
  return new Uint8Array(view.buffer, view.byteOffset + offset, length).slice();
}

void t.test('what clang laid out comes back byte for byte', (t) => {
  for (const name of ['everything', 'bits', 'packed_bits']) {
    const bytes = bytesOf(name);
    const typeId = idOf(btf, name);
    const value = buildDecoder(btf, typeId).read(new DataView(bytes.buffer), 0, bytes.length) as Record<string, unknown>;
    if (name === 'everything') value['broken'] = Uint8Array.of(0x6f, 0x6b, 0xff, 0xc3, 0x21, 0, 0x78, 0x79);
    t.strictSame(encodeValue(btf, typeId, value), bytes, name);
  }
  t.end();
});

void t.test('from the initialisers of the C source', (t) => {
  const bits = {
    a: 1,
    b: 5,
    c: -16,
    d: 0x7abcde,
    e: 0x1deadbeefn,
    f: -0x40000000,
    g: true,
    h: 'BLUE',
    i: 0x55,
    plain: 77,
    j: -9000000000000000000n,
  };
  t.strictSame(encodeValue(btf, idOf(btf, 'bits'), bits), bytesOf('bits'));
  t.strictSame(encodeValue(btf, idOf(btf, 'point'), { x: -7, y: 8 }), Uint8Array.of(0xf9, 0xff, 0xff, 0xff, 8, 0, 0, 0));
  t.strictSame(encodeValue(btf, idOf(btf, '__u64'), 2 ** 40), Uint8Array.of(0, 0, 0, 0, 0, 1, 0, 0));
  t.strictSame(encodeValue(btf, idOf(btf, 'wide'), 'WIDE_BIG'), Uint8Array.of(0x90, 0x78, 0x56, 0x34, 0x12, 0, 0, 0));
  t.strictSame(encodeValue(btf, idOf(btf, 'bool'), true), Uint8Array.of(1));
  t.end();
});

void t.test('what is left out is zero, and so is padding', (t) => {
  const into = new Uint8Array(16).fill(0xaa);
  t.equal(encodeValue(btf, idOf(btf, 'point'), { y: 1 }, into), into);
  t.strictSame(into, Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, ...Array.from({ length: 8 }, () => 0xaa)));
  t.strictSame(encodeValue(btf, idOf(btf, 'everything'), {}), new Uint8Array(288));
  t.end();
});

void t.test('values that fit in several ways', (t) => {
  const typeId = idOf(btf, 'everything');
  const fields = new Map(fieldsOf(btf, typeId).map((field) => [field.path, field]));
  const get = (value: object, path: string): unknown => {
    const bytes = encodeValue(btf, typeId, value);
    return fields.get(path)?.reader.read(new DataView(bytes.buffer), 0);
  };
  const rows: [value: object, path: string, wanted: unknown][] = [
    [{ text: 'exactly 16 bytes' }, 'text', 'exactly 16 bytes'],
    [{ text: Uint8Array.of(65, 0, 66) }, 'text', 'A'],
    [{ bytes: [1, 2] }, 'bytes', Uint8Array.of(1, 2, 0, 0, 0, 0)],
    [{ numbers: Uint16Array.of(7, 8, 9) }, 'numbers', [7, 8, 9]],
    [{ longs: BigUint64Array.of(5n) }, 'longs', [5n, 0n]],
    [{ either: { number: 0x01020304 } }, 'either.low', 0x0304],
    [{ either: { low: 1, high: 2 } }, 'either.number', 0x20001],
    [{ either: { number: 0x20001, low: 1 } }, 'either.high', 2],
    [{ inner_c: 5 }, 'inner_b', 5],
    [{ pointer: 4096 }, 'pointer', 4096n],
    [{ yes: 1 }, 'yes', true],
    [{ color: 'GREEN' }, 'color', 5],
    [{ f32: 0.25 }, 'f32', 0.25],
    [{ s128: -(2n ** 127n) }, 's128', -(2n ** 127n)],
    [JSON.parse('{"__proto__": 5}') as object, '__proto__', 5],
  ];
  for (const [value, path, wanted] of rows) t.strictSame(get(value, path), wanted, path);
  t.end();
});

void t.test('values that do not fit say where and why', (t) => {
  const typeId = idOf(btf, 'everything');
  const rows: [value: unknown, code: string, field: string | undefined, why: RegExp][] = [
    [{ u8: 256 }, 'E_VALUE_RANGE', 'u8', /256 does not fit in __u8, which goes from 0 to 255/],
    [{ u8: -1 }, 'E_VALUE_RANGE', 'u8', /from 0 to 255/],
    [{ s8: 128 }, 'E_VALUE_RANGE', 's8', /from -128 to 127/],
    [{ u64: 2 ** 53 }, 'E_VALUE_RANGE', 'u64', /give a bigint/],
    [{ u64: 1n << 64n }, 'E_VALUE_RANGE', 'u64', /does not fit/],
    [{ u32: 1.5 }, 'E_VALUE_RANGE', 'u32', /no integer/],
    [{ u32: 'five' }, 'E_VALUE_TYPE', 'u32', /takes a number or a bigint, not a string/],
    [{ yes: 2 }, 'E_VALUE_RANGE', 'yes', /neither 0 nor 1/],
    [{ color: 'PINK' }, 'E_VALUE_RANGE', 'color', /enum color has no "PINK"; it has RED, GREEN, BLUE/],
    [{ text: 'seventeen bytes..' }, 'E_VALUE_LENGTH', 'text', /17 bytes for 16/],
    [{ text: 'a\0b' }, 'E_VALUE_TEXT', 'text', /NUL/],
    [{ text: 5 }, 'E_VALUE_TYPE', 'text', /char\[16\] takes text, not a number/],
    [{ bytes: 'text' }, 'E_VALUE_TYPE', 'bytes', /is no text/],
    [{ numbers: [1, 2, 3, 4] }, 'E_VALUE_LENGTH', 'numbers', /4 elements for an array of 3/],
    [{ matrix: [[1], [2, 'x']] }, 'E_VALUE_TYPE', 'matrix[1][1]', /not a string/],
    [{ points: [{ x: 1 }, { x: 2 ** 31 }] }, 'E_VALUE_RANGE', 'points[1].x', /does not fit/],
    [{ point: { z: 1 } }, 'E_VALUE_FIELD', 'point', /struct point has no member "z"; it has x, y/],
    [{ point: 5 }, 'E_VALUE_TYPE', 'point', /takes an object, not a number/],
    [{ either: { number: 1, low: 2 } }, 'E_VALUE_UNION', 'either.low', /contradicts/],
    [{ toString: 1 }, 'E_VALUE_FIELD', undefined, /has no member "toString"/],
    [null, 'E_VALUE_TYPE', undefined, /takes an object, not null/],
  ];
  for (const [value, code, field, why] of rows) {
    t.throws(() => encodeValue(btf, typeId, value), { code, why, where: field === undefined ? {} : { field } }, `${code} ${field}`);
  }
  t.throws(() => encodeValue(btf, idOf(btf, 'bits'), { b: 8 }), { code: 'E_VALUE_RANGE', why: /8 does not fit in 3 bits of unsigned int/ });
  t.throws(() => encodeValue(btf, idOf(btf, 'bits'), { f: 2n ** 30n }), { code: 'E_VALUE_RANGE' });
  t.throws(() => encodeValue(btf, idOf(btf, 'point'), {}, new Uint8Array(7)), { code: 'E_VALUE_LENGTH' });
  const into = new Uint8Array(8).fill(9);
  t.throws(() => encodeValue(btf, idOf(btf, 'point'), { x: 1, y: 'no' }, into));
  t.strictSame(into, new Uint8Array(8).fill(9), 'a value that does not fit leaves the bytes as they were');
  t.end();
});
