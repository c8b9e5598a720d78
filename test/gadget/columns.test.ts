import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { ColumnBatch, type Column } from '../../src/gadget/columns.ts';
import type { EventValue } from '../../src/gadget/read.ts';
import { sourceFixture } from './fixture.ts';

/** What a column holds of event `i`, in the form that decoding gives it. */
function valueAt(column: Column, i: number): EventValue {
  const { field, values, width } = column;
  if (field.kind === 'string') return column.text(i);
  if (Array.isArray(values)) return values[i] as EventValue;
  const part = Array.from<number | bigint>(values.slice(i * width, (i + 1) * width));
  if (field.kind === 'bytes') return Uint8Array.from(part as number[]);
  if (field.kind === 'array') return part;
  const value = part[0] as number | bigint;
  return field.kind === 'bool' ? value !== 0 : value;
}

for (const struct of ['event', 'shapes'] as const) {
  void t.test(`columns hold what events hold: ${struct}`, (test) => {
    const { source, bytes } = sourceFixture(struct);
    const record = source.makeRecord();
    const all = source.fields.filter((field) => field.slot !== null).map((field) => field.name);
    const count = 300;
    // Records at any place, changed at random, some of them shorter than their struct.
    for (const [short, fields] of [
      [false, undefined],
      [false, all],
      [true, all],
    ] as const) {
      const batch = new ColumnBatch(source, fields === undefined ? {} : { fields });
      const memory = new Uint8Array(count * (source.size + 5));
      const view = new DataView(memory.buffer);
      const offsets = new Uint32Array(1024);
      const lengths = new Int32Array(1024);
      let state = 1;
      const random = (below: number): number => {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        return (state >>> 8) % below;
      };
      for (let i = 0; i < count; i++) {
        offsets[i] = i * (source.size + 5);
        lengths[i] = short && i % 7 === 3 ? random(source.size) : source.size;
        memory.set(bytes.subarray(0, source.size), offsets[i]);
        for (let n = 0; n < 8; n++) memory[(offsets[i] as number) + random(source.size)] = random(128);
      }
      batch.read(view, offsets, lengths, count);
      test.equal(batch.length, count);
      const wrong = new Set<string>();
      for (let i = 0; i < count; i++) {
        record.point(view, offsets[i] as number, lengths[i] as number);
        for (const column of batch.columns) {
          const [got, expected] = [valueAt(column, i), column.field.value(record)];
          if (!isDeepStrictEqual(got, expected)) wrong.add(column.field.name);
        }
        if (wrong.size > 0) break;
      }
      test.same([...wrong], []);
    }
    test.end();
  });
}

void t.test('events added one by one', (test) => {
  const { source, record } = sourceFixture('event');
  const batch = new ColumnBatch(source, { fields: ['pid'] });
  for (let i = 1; i < 1024; i++) if (!batch.add(record)) test.fail(`full after ${i}`);
  test.notOk(batch.add(record), 'the last one');
  test.throws(() => batch.add(record), { code: 'E_BATCH_FULL' });
  batch.clear();
  test.equal(batch.length, 0);
  test.throws(() => batch.column('comm'), { code: 'E_FIELD' });
  test.throws(() => new ColumnBatch(source, { fields: ['nope'] }), { code: 'E_FIELD' });
  test.end();
});

void t.test('a capacity that is no number of events is refused before anything is allocated', (test) => {
  const { source } = sourceFixture('event');
  for (const capacity of [Number.NaN, Infinity, -1, 0, 1023, 1024.5, 2 ** 24 + 1]) {
    test.throws(() => new ColumnBatch(source, { fields: ['pid'], capacity }), { code: 'E_CAPACITY' }, String(capacity));
  }
  test.equal(new ColumnBatch(source, { fields: ['pid'], capacity: 1025 }).capacity, 1025);
  test.end();
});
