import type { DataSource } from '../gadget/data-source.ts';
import type { Field, FieldKind } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';
import { cut, displayWidth, safeText, type Ellipsis } from './terminal.ts';

const defaultWidth = 16;
/** No terminal is wider; rows are padded to what a gadget.yaml says. */
const maxWidth = 4096;

/** Columns that the longest value of a kind takes. */
const widestValues: ReadonlyMap<FieldKind, number> = new Map<FieldKind, number>([
  ['bool', 5],
  ['int8', 4],
  ['uint8', 3],
  ['int16', 6],
  ['uint16', 5],
  ['int32', 11],
  ['uint32', 10],
  ['int64', 20],
  ['uint64', 20],
]);

interface Column {
  readonly title: string;
  readonly alignRight: boolean;
  readonly ellipsis: Ellipsis;
  readonly least: number;
  readonly most: number;
  readonly fixed: boolean;
  readonly text: (record: EventRecord) => string;
  /** What it would like to have. */
  readonly wanted: number;
  width: number;
}

/** What {@link ColumnsWriter} shows. */
export interface ColumnsOptions {
  /** The fields, in order; those not hidden unless given. */
  readonly fields?: readonly Field[];
  /** Columns of the terminal; null where the output is none, and then nothing is cut. */
  readonly width?: number | null;
}

/**
 * Shows events of one data source as rows under titles. On a terminal columns share its width and longer values are cut;
 * elsewhere values are whole. Control characters never get through.
 */
export class ColumnsWriter {
  readonly #columns: readonly Column[];
  #cuts: boolean;

  constructor(source: DataSource, options: ColumnsOptions = {}) {
    const fields = options.fields ?? visibleFields(source);
    this.#columns = fields.map((field) => makeColumn(source, field));
    this.#cuts = false;
    this.resize(options.width ?? null);
  }

  /** Shares another width among the columns. */
  resize(width: number | null): void {
    this.#cuts = width !== null;
    shareWidth(this.#columns, width);
  }

  /** The line of titles. */
  header(): string {
    return this.#line((column) => column.title);
  }

  /** One event, without a line feed. */
  row(record: EventRecord): string {
    return this.#line((column) => safeText(column.text(record)));
  }

  #line(textOf: (column: Column) => string): string {
    const cells = this.#columns.map((column) => {
      const whole = textOf(column);
      const text = this.#cuts ? cut(whole, column.width, column.ellipsis) : whole;
      const padding = ' '.repeat(Math.max(0, column.width - displayWidth(text)));
      return column.alignRight ? padding + text : text + padding;
    });
    return cells.join(' ').trimEnd();
  }
}

/** The fields that columns show unless told otherwise. */
export function visibleFields(source: DataSource): readonly Field[] {
  return source.fields.filter((field) => field.slot !== null && !field.hidden);
}

function makeColumn(source: DataSource, field: Field): Column {
  const shown = replacement(source, field);
  const title = safeText((field.annotation('columns.alias') ?? field.name).toUpperCase());
  const widest = widestValues.get(shown.kind) ?? null;
  const most = numberIn(field, 'columns.maxwidth', widest) ?? widest ?? Number.POSITIVE_INFINITY;
  const wanted = Math.min(numberIn(field, 'columns.width', widest) ?? Math.min(defaultWidth, widest ?? defaultWidth), most);
  const least = numberIn(field, 'columns.minwidth', widest) ?? Math.min(wanted, Math.max(4, title.length));
  const ellipsis = field.annotation('columns.ellipsis');
  return {
    title,
    alignRight: field.annotation('columns.alignment') === 'right',
    ellipsis: ellipsis === 'start' || ellipsis === 'middle' || ellipsis === 'none' ? ellipsis : 'end',
    least,
    most: Math.max(most, least),
    fixed: field.annotation('columns.fixed') === 'true',
    wanted: Math.max(wanted, least),
    width: 0,
    text: cellText(shown),
  };
}

/** `columns.replace` shows another field's value. */
function replacement(source: DataSource, field: Field): Field {
  const name = field.annotation('columns.replace');
  return name === null ? field : (source.find(name) ?? field);
}

function cellText(field: Field): (record: EventRecord) => string {
  if (field.kind === 'bytes') return (record) => `<${(field.value(record) as Uint8Array).length} bytes>`;
  if (field.isFloat) {
    const digits = numberIn(field, 'columns.precision', null) ?? 2;
    return (record) => field.number(record).toFixed(Math.min(100, digits));
  }
  if (field.isInteger && field.annotation('columns.hex') === 'true') return (record) => `0x${field.wide(record).toString(16)}`;
  return (record) => field.text(record);
}

function numberIn(field: Field, annotation: string, widest: number | null): number | null {
  const text = field.annotation(annotation);
  if (text === null) return null;
  if (text === 'type') return widest;
  const value = Number(text);
  return Number.isInteger(value) && value > 0 ? Math.min(value, maxWidth) : null;
}

/** Gives each column what it wants; then what is left over, or missing, is shared in proportion within the limits. */
function shareWidth(columns: readonly Column[], width: number | null): void {
  for (const column of columns) column.width = column.wanted;
  if (width === null || columns.length === 0) return;
  const room = width - (columns.length - 1);
  for (let round = 0; round < columns.length + 1; round++) {
    const used = columns.reduce((sum, column) => sum + column.width, 0);
    const extra = room - used;
    if (extra === 0) return;
    const free = columns.filter((column) => !column.fixed && (extra > 0 ? column.width < column.most : column.width > column.least));
    if (free.length === 0) break;
    const weight = free.reduce((sum, column) => sum + column.width, 0);
    let rest = extra;
    for (const column of free) {
      const share = Math.trunc((extra * column.width) / weight) || Math.sign(extra);
      const limited = Math.abs(share) > Math.abs(rest) ? rest : share;
      const next = Math.min(column.most, Math.max(column.least, column.width + limited));
      rest -= next - column.width;
      column.width = next;
    }
  }
  // Narrower than all least widths together: every column gives, down to one character.
  let missing = columns.reduce((sum, column) => sum + column.width, 0) - room;
  while (missing > 0) {
    const widest = columns.reduce((a, b) => (b.width > a.width ? b : a));
    if (widest.width <= 1) return;
    widest.width--;
    missing--;
  }
}
