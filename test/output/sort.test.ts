import t from 'tap';
import type { Field } from '../../src/gadget/field.ts';
import { RecordList } from '../../src/gadget/record-list.ts';
import { arrange, compileSorting } from '../../src/output/sort.ts';
import { sourceFixture } from '../gadget/fixture.ts';

type Row = Readonly<Record<string, bigint | number | string>>;

/** Records of the fixture's struct with these values, `number` in the order given. */
function recordsOf(rows: readonly Row[]): { list: RecordList; source: ReturnType<typeof sourceFixture>['source'] } {
  const { source, bytes } = sourceFixture('shapes');
  const all = new Uint8Array(bytes.length * rows.length);
  const view = new DataView(all.buffer);
  for (const [i, row] of rows.entries()) {
    const start = i * bytes.length;
    all.set(bytes, start);
    for (const [name, value] of Object.entries(row)) {
      const field = source.field(name);
      const at = start + field.offset;
      if (typeof value === 'bigint') {
        view.setBigUint64(at, BigInt.asUintN(64, value), true);
        if (field.kind.endsWith('128')) view.setBigUint64(at + 8, BigInt.asUintN(64, value >> 64n), true);
      } else if (typeof value === 'string') all.set(Buffer.from(`${value}\0`), at);
      else if (field.kind === 'float64') view.setFloat64(at, value, true);
      else if (field.kind === 'float32') view.setFloat32(at, value, true);
      else if (field.size === 1) view.setInt8(at, value);
      else view.setInt32(at, value, true);
    }
  }
  return { list: new RecordList(all, bytes.length, source.makeRecord()), source };
}

/** The places of the rows in the order that is asked for. */
function ordered(rows: readonly Row[], order: string, most?: number): number[] {
  const { list, source } = recordsOf(rows);
  const stride = list.stride;
  const sorted = arrange(list, compileSorting(source, order), most);
  return Array.from({ length: sorted.length }, (_, i) => sorted.at(i).offset / stride);
}

/** The same by comparing decoded values, two at a time. */
function compared(rows: readonly Row[], order: string): number[] {
  const { list, source } = recordsOf(rows);
  const keys = order.split(',').map((entry) => ({ down: entry.startsWith('-'), field: source.field(entry.replace('-', '')) }));
  const keyed = rows.map((_, i) => ({ i, key: keys.map(({ field }) => valueOf(field, list.at(i))) }));
  keyed.sort((a, b) => {
    for (const [k, { down }] of keys.entries()) {
      const [x, y] = [a.key[k] ?? 0, b.key[k] ?? 0];
      if (x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
      const less = Number.isNaN(x) ? false : Number.isNaN(y) ? true : x < y;
      return less === down ? 1 : -1;
    }
    return 0;
  });
  return keyed.map(({ i }) => i);
}

function valueOf(field: Field, record: Parameters<Field['value']>[0]): bigint | number | string | boolean {
  const value = field.value(record);
  if (typeof value === 'object') throw new Error(`${field.name} is no key`);
  return value;
}

void t.test('by one key and by several', (t) => {
  const rows: Row[] = [
    { u64: 2n ** 63n + 1n, s32: 1, text: 'b' },
    { u64: 2n ** 63n, s32: 1, text: 'a' },
    { u64: 5n, s32: -1, text: 'b' },
    { u64: 2n ** 63n, s32: 0, text: 'c' },
  ];
  t.same(ordered(rows, 'u64'), [2, 1, 3, 0], 'by 64 bits');
  t.same(ordered(rows, '-u64,s32'), [0, 3, 1, 2]);
  t.same(ordered(rows, 'text,-s32'), [1, 0, 2, 3]);
  t.same(ordered(rows, '+s32'), [2, 3, 0, 1], 'equal ones keep their order');
  t.same(ordered(rows, '-s32'), [0, 1, 3, 2], 'downwards too');
  t.same(ordered(rows, '-u64,s32', 2), [0, 3], 'the first of them');
  t.same(ordered([], 'u64'), []);
  t.same(ordered(rows.slice(0, 1), 'u64'), [0]);
  const { source } = recordsOf([]);
  t.throws(() => compileSorting(source, 'nope'), { code: 'E_FIELD' });
  t.throws(() => compileSorting(source, 'where'), { code: 'E_SORT' });
  t.throws(() => compileSorting(source, ''), { code: 'E_SORT' });
  t.end();
});

void t.test('as comparing decoded values would, whatever the values', (t) => {
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  const wide = [0n, 1n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 53n + 2n, 2n ** 63n, 2n ** 63n + 1n, 2n ** 64n - 1n];
  const small = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31), 7];
  const floats = [0, -0, 1.5, -1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e300, 5e-324];
  const texts = ['', 'a', 'ab', 'b', 'é', '\u{1f600}', '\uffee', 'zz'];
  const any = <T>(values: readonly T[]): T => values[random(values.length)] as T;
  const makeRow = (): Row => ({
    u64: random(2) === 0 ? any(wide) : BigInt(random(2 ** 32)) * BigInt(random(2 ** 32)),
    s64: any(wide),
    s32: random(2) === 0 ? any(small) : random(2 ** 31),
    s8: random(256) - 128,
    u128: any(wide) << BigInt(random(65)),
    s128: any(wide) << BigInt(random(65)),
    f64: random(2) === 0 ? any(floats) : random(1000) / 7,
    text: any(texts),
  });
  const orders = [
    'u64',
    '-u64',
    's64',
    '-s64,s32',
    's32,-text',
    '-text,f64',
    'f64',
    '-f64',
    'u128',
    '-s128',
    's8',
    'u64,s64,-s32,text',
    'text,-s8,u64,-f64',
  ];
  for (const count of [2, 3, 17, 64, 500]) {
    const rows = Array.from({ length: count }, makeRow);
    for (const order of orders) t.same(ordered(rows, order), compared(rows, order), `${count} by ${order}`);
  }
  t.end();
});
