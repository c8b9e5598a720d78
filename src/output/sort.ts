import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';
import type { RecordList } from '../gadget/record-list.ts';
import { UsageError } from '../error.ts';

/** What an event is sorted by. */
export type SortKey = readonly (number | bigint | string)[];

/** An order of events. */
export interface Sorting {
  keyOf(record: EventRecord): SortKey;
  compare(a: SortKey, b: SortKey): number;
  /** What the order is by. */
  readonly keys: readonly { readonly down: boolean; read(record: EventRecord): number | bigint | string }[];
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
      return { down: entry.startsWith('-'), read: keyReader(field) };
    });
  if (keys.length === 0) throw new UsageError({ code: 'E_SORT', what: '--sort names no field' });
  return {
    keys,
    keyOf: (record) => keys.map((key) => key.read(record)),
    compare(a, b) {
      // Called n log n times: no iterator.
      for (let i = 0; i < keys.length; i++) {
        const order = compareKeys(a[i] as number | bigint | string, b[i] as number | bigint | string);
        if (order !== 0) return keys[i]?.down === true ? -order : order;
      }
      return 0;
    },
  };
}

/** Puts records in order, equal ones as they were, and keeps the first `most`. */
export function arrange(records: RecordList, sorting: Sorting | null, most: number = Number.POSITIVE_INFINITY): RecordList {
  if (sorting === null && records.length <= most) return records;
  const indexes: number[] = [];
  for (let i = 0; i < records.length; i++) indexes.push(i);
  if (sorting !== null) sortIndexes(indexes, records, sorting);
  return records.pick(indexes.slice(0, most));
}

/** Each key of all records is read once, into a list of its own; the comparison allocates nothing. */
function sortIndexes(indexes: number[], records: RecordList, { keys }: Sorting): void {
  const columns = keys.map((key) => {
    const values: (number | bigint | string)[] = [];
    for (let i = 0; i < indexes.length; i++) values.push(key.read(records.at(i)));
    return { sign: key.down ? -1 : 1, values };
  });
  indexes.sort((a, b) => {
    for (let i = 0; i < columns.length; i++) {
      const { sign, values } = columns[i] as (typeof columns)[number];
      const order = compareKeys(values[a] as number | bigint | string, values[b] as number | bigint | string);
      if (order !== 0) return sign * order;
    }
    return 0;
  });
}

function keyReader(field: Field): (record: EventRecord) => number | bigint | string {
  if (field.isWide) return (record) => field.wide(record);
  if (field.isInteger || field.isFloat || field.kind === 'bool') return (record) => field.number(record);
  return (record) => field.text(record);
}

function compareKeys(a: number | bigint | string, b: number | bigint | string): number {
  if (a === b) return 0;
  if (typeof a === 'string' || typeof b === 'string') return a < b ? -1 : 1;
  // NaN goes last.
  if (Number.isNaN(a)) return 1;
  if (Number.isNaN(b)) return -1;
  return a < b ? -1 : 1;
}
