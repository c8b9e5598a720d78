import type { Field } from '../gadget/field.ts';
import type { RecordList } from '../gadget/record-list.ts';

/** A key of all records as whole numbers in the order of the key: `values[i]` is that of record `i`. */
export interface SortColumn {
  readonly values: Float64Array;
  readonly min: number;
  readonly max: number;
}

/** One of a field's values: all of a field are of one of these types. */
type Key = string | number | bigint;

/** What a field is sorted by: the columns that stand for it, the most significant first. */
export function sortColumns(field: Field, records: RecordList): readonly SortColumn[] {
  if (!field.isInteger && !field.isFloat && field.kind !== 'bool') return [rankColumn(records.length, (i) => field.text(records.at(i)))];
  const column = numberColumn(field, records);
  if (column !== null) return [column];
  // Adding 0 makes one of the two zeroes.
  if (!field.isWide) return [rankColumn(records.length, (i) => field.number(records.at(i)) + 0)];
  return field.kind.endsWith('128') ? [rankColumn(records.length, (i) => field.wide(records.at(i)))] : wordColumns(field, records);
}

/** The same order by places among the different values: needs no more range than there are records. */
export function denser(column: SortColumn): SortColumn {
  return rankColumn(column.values.length, (i) => column.values[i] as number);
}

/** Null where a value is none that a double holds exactly. */
function numberColumn(field: Field, records: RecordList): SortColumn | null {
  const values = new Float64Array(records.length);
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = field.number(records.at(i));
    if (!Number.isSafeInteger(value)) return null;
    values[i] = value;
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { values, min, max };
}

/** 64 bits as two columns of 32. */
function wordColumns(field: Field, records: RecordList): readonly SortColumn[] {
  const wide = new BigUint64Array(1);
  const [low, high] = [new Uint32Array(wide.buffer, 0, 1), new Uint32Array(wide.buffer, 4, 1)];
  const signed = field.kind === 'int64';
  const lows = new Float64Array(records.length);
  const highs = new Float64Array(records.length);
  for (let i = 0; i < lows.length; i++) {
    wide[0] = BigInt.asUintN(64, field.wide(records.at(i)));
    const word = high[0] as number;
    lows[i] = low[0] as number;
    highs[i] = signed ? word | 0 : word;
  }
  return [ranged(highs), ranged(lows)];
}

function ranged(values: Float64Array): SortColumn {
  let min = Number.POSITIVE_INFINITY;
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  return { values, min, max };
}

/** Of each value its place among the different ones: many events share a text, and only the different ones are compared. */
function rankColumn(count: number, keyOf: (index: number) => Key): SortColumn {
  const places = new Map<Key, number>();
  const values = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const key = keyOf(i);
    let place = places.get(key);
    if (place === undefined) {
      place = places.size;
      places.set(key, place);
    }
    values[i] = place;
  }
  const different = [...places.keys()].toSorted(compareKeys);
  const ranks = new Float64Array(different.length);
  for (let rank = 0; rank < different.length; rank++) ranks[places.get(different[rank] as Key) as number] = rank;
  for (let i = 0; i < values.length; i++) values[i] = ranks[values[i] as number] as number;
  return { values, min: 0, max: different.length - 1 };
}

function compareKeys(a: Key, b: Key): number {
  // NaN, of which a Map has one, goes behind all numbers.
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : 1;
}
