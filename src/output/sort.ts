import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import type { RecordList } from '../gadget/record-list.ts';
import { UsageError } from '../error.ts';
import { denser, sortColumns, type SortColumn } from './sort-column.ts';

/** An order of events: by the first key, among equal ones by the next. */
export interface Sorting {
  readonly keys: readonly { readonly down: boolean; readonly field: Field }[];
}

/**
 * The order that `--sort` asks for: `a,-b` is by `a` upwards, then by `b` downwards.
 *
 * Throws UsageError `E_FIELD` for an unknown field, `E_SORT` for one that is a struct.
 */
export function compileSorting(source: DataSource, text: string): Sorting {
  const keys = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '')
    .map((entry) => {
      const field = source.field(entry.replace(/^[+-]/, ''));
      if (field.slot === null) throw new UsageError({ code: 'E_SORT', what: `${field.name} is a struct`, next: 'sort by a field in it' });
      return { down: entry.startsWith('-'), field };
    });
  if (keys.length === 0) throw new UsageError({ code: 'E_SORT', what: '--sort names no field' });
  return { keys };
}

/** Puts records in order, equal ones as they were, and keeps the first `most`. */
export function arrange(records: RecordList, sorting: Sorting | null, most: number = Number.POSITIVE_INFINITY): RecordList {
  if (sorting === null && records.length <= most) return records;
  const indexes = sorting === null ? inOrder(records.length) : sortedIndexes(records, sorting);
  return records.pick(indexes.subarray(0, Math.min(most, indexes.length)));
}

function inOrder(count: number): Uint32Array {
  const indexes = new Uint32Array(count);
  for (let i = 0; i < count; i++) indexes[i] = i;
  return indexes;
}

/** Whole numbers up to here are exact in a double. */
const exact = 2 ** 53;

/**
 * The places of the records in order. All keys of a record, and behind them the record's place, become one number: an
 * array of such numbers is sorted without calling back, and equal records stay as they were. Where they are more than
 * one number holds, the last keys are sorted by first.
 */
function sortedIndexes(records: RecordList, { keys }: Sorting): Uint32Array {
  let order = inOrder(records.length);
  if (records.length < 2) return order;
  // A power of two: taking the place off again is exact.
  const places = 2 ** Math.ceil(Math.log2(records.length));
  const columns = keys.flatMap(({ field, down }) => sortColumns(field, records).map((column) => ({ column, down })));
  let packed = new Float64Array(records.length);
  let range = 1;
  for (let i = columns.length - 1; i >= 0; i--) {
    const { down, column: given } = columns[i] as (typeof columns)[number];
    const column = widthOf(given) * places > exact ? denser(given) : given;
    if (range * widthOf(column) * places > exact) {
      order = pass(packed, range, order, places);
      packed = new Float64Array(records.length);
      range = 1;
    }
    add(packed, column, down, range);
    range *= widthOf(column);
  }
  return pass(packed, range, order, places);
}

function widthOf({ min, max }: SortColumn): number {
  return max - min + 1;
}

function add(packed: Float64Array, { values, min, max }: SortColumn, down: boolean, scale: number): void {
  const [sign, from] = down ? [-1, max] : [1, -min];
  for (let i = 0; i < packed.length; i++) packed[i] = (packed[i] as number) + (from + sign * (values[i] as number)) * scale;
}

/** Sorts by what is packed for each record, those that are equal as they stand in `order`; `range` is above all that is packed. */
function pass(packed: Float64Array, range: number, order: Uint32Array, places: number): Uint32Array {
  // Half the time where they fit.
  const numbers = range * places <= 2 ** 32 ? new Uint32Array(order.length) : new Float64Array(order.length);
  let sorted = true;
  let before = -1;
  for (let i = 0; i < order.length; i++) {
    const number = (packed[order[i] as number] as number) * places + i;
    numbers[i] = number;
    sorted &&= number > before;
    before = number;
  }
  if (sorted) return order;
  numbers.sort();
  const next = new Uint32Array(order.length);
  for (let i = 0; i < next.length; i++) {
    const number = numbers[i] as number;
    next[i] = order[number - Math.floor(number / places) * places] as number;
  }
  return next;
}
