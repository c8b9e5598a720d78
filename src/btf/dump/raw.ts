import { printable } from '../../bytes/printable.ts';
import type { Btf } from '../btf.ts';
import { describeType, shownKind, shownName, type DescribedRow, type DescribedType } from './describe.ts';
import { TypeTable } from './table.ts';

/** What {@link dumpRaw} and {@link dumpJson} show. */
export interface DumpTypesOptions {
  /** Only these types; all of this BTF's own (not its base's) unless given. */
  readonly types?: readonly number[];
}

/** Text is handed on in pieces of about this many characters. */
export const chunkLength: number = 1 << 16;

/**
 * Lists types one a line, members and values below them, as `bpftool btf dump ... format raw` does; in pieces of text.
 * Control characters in names are escaped.
 *
 * @example
 * import { dumpRaw, type Btf } from 'rawbpf/btf';
 * export const linesOf = (btf: Btf): string[] => [...dumpRaw(btf)].join('').split('\n');
 */
export function* dumpRaw(btf: Btf, options: DumpTypesOptions = {}): Generator<string, void, undefined> {
  const table = new TypeTable(btf);
  let text = '';
  for (const id of idsToDump(btf, options)) {
    text += rawLines(table, describeType(table, id));
    if (text.length < chunkLength) continue;
    yield text;
    text = '';
  }
  yield text;
}

/** The ids a dump goes through. */
export function* idsToDump(btf: Btf, options: DumpTypesOptions): Generator<number, void, undefined> {
  if (options.types !== undefined) yield* options.types;
  else for (let id = btf.firstId; id < btf.typeCount; id++) yield id;
}

function rawLines(table: TypeTable, { id, kind, name, attributes, list }: DescribedType): string {
  let text = `[${id}] ${kind} '${printable(name)}'`;
  // bpftool has a comma here and nowhere else.
  const separator = kind === 'VAR' ? ', ' : ' ';
  attributes.forEach(([attribute, value], i) => {
    text += `${i === 0 ? ' ' : separator}${attribute}=${printable(String(value))}`;
  });
  const suffix = kind !== 'ENUM64' ? '' : attributes[0]?.[1] === 'SIGNED' ? 'LL' : 'ULL';
  for (const row of list?.rows ?? []) {
    text += `\n\t${rawRow(row, suffix)}`;
    if (kind === 'DATASEC') text += variableOf(table, row);
  }
  return `${text}\n`;
}

/** One row; `suffix` follows the value of an enumerator, as in C. */
function rawRow(row: DescribedRow, suffix: string): string {
  let text = '';
  for (const [attribute, value] of row) {
    const shown = attribute === 'name' ? `'${printable(String(value))}'` : `${attribute}=${value}${attribute === 'val' ? suffix : ''}`;
    text += text === '' ? shown : ` ${shown}`;
  }
  return text;
}

function variableOf(table: TypeTable, row: DescribedRow): string {
  const id = Number(row[0]?.[1] ?? 0);
  return id < table.count ? ` (${shownKind(table.kind(id))} '${printable(shownName(table, id))}')` : '';
}
