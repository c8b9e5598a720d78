import type { Field } from '../gadget/field.ts';
import type { RecordList } from '../gadget/record-list.ts';

/** A key of all records as whole numbers in the order of the key: `values[i]` is that of record `i`. */
export interface SortColumn {
  readonly values: Float64Array;
  readonly min: number;
  readonly max: number;
}

/** What a field is sorted by: the columns that stand for it, the most significant first. */
export function sortColumns(field: Field, records: RecordList): readonly SortColumn[] {
  if (!field.isInteger && !field.isFloat && field.kind !== 'bool') return [rankColumn(textsOf(field, records))];
  const column = numberColumn(field, records);
  if (column !== null) return [column];
  if (!field.isWide) return [rankColumn(numbersOf(field, records))];
  return field.kind.endsWith('128') ? [rankColumn(widesOf(field, records))] : wordColumns(field, records);
}

/** The same order by places among the different values: needs no more range than there are records. */
export function denser(column: SortColumn): SortColumn {
  return rankColumn(Array.from(column.values));
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

function textsOf(field: Field, records: RecordList): string[] {
  const texts: string[] = [];
  for (let i = 0; i < records.length; i++) texts.push(field.text(records.at(i)));
  return texts;
}

function numbersOf(field: Field, records: RecordList): number[] {
  const numbers: number[] = [];
  // Adding 0 makes one of the two zeroes.
  for (let i = 0; i < records.length; i++) numbers.push(field.number(records.at(i)) + 0);
  return numbers;
}

function widesOf(field: Field, records: RecordList): bigint[] {
  const wides: bigint[] = [];
  for (let i = 0; i < records.length; i++) wides.push(field.wide(records.at(i)));
  return wides;
}

/** Of each value its place among the different ones: many events share a text, and only the different ones are compared. */
function rankColumn<T extends string | number | bigint>(keys: readonly T[]): SortColumn {
  const places = new Map<T, number>();
  const values = new Float64Array(keys.length);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as T;
    let place = places.get(key);
    if (place === undefined) {
      place = places.size;
      places.set(key, place);
    }
    values[i] = place;
  }
  const different = [...places.keys()].toSorted(compareKeys);
  const ranks = new Float64Array(different.length);
  for (let rank = 0; rank < different.length; rank++) ranks[places.get(different[rank] as T) as number] = rank;
  for (let i = 0; i < values.length; i++) values[i] = ranks[values[i] as number] as number;
  return { values, min: 0, max: different.length - 1 };
}

function compareKeys<T extends string | number | bigint>(a: T, b: T): number {
  // NaN, of which a Map has one, goes behind all numbers.
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : 1;
}
