import { safeJson } from '../../bytes/printable.ts';
import type { Btf } from '../btf.ts';
import { describeType, type DescribedRow, type DescribedValue } from './describe.ts';
import { chunkLength, idsToDump, type DumpTypesOptions } from './raw.ts';
import { TypeTable } from './table.ts';

/**
 * Lists types as one JSON object, `{"types": [{"id", "kind", "name", ...}]}`, in the structure that `bpftool -j btf dump` has; in
 * pieces of text. Values of 64-bit enums are bare digits, exact.
 *
 * @example
 * import { dumpJson, type Btf } from 'rawbpf/btf';
 * export const typesOf = (btf: Btf): unknown => JSON.parse([...dumpJson(btf)].join(''));
 */
export function* dumpJson(btf: Btf, options: DumpTypesOptions = {}): Generator<string, void, undefined> {
  const table = new TypeTable(btf);
  let text = '{"types":[';
  let separator = '';
  for (const typeId of idsToDump(btf, options)) {
    const { id, kind, name, attributes, list } = describeType(table, typeId);
    text += `${separator}{"id":${id},"kind":"${kind}","name":${safeJson(JSON.stringify(name))}${fields(attributes, ',')}`;
    if (list !== null) text += `,"${list.name}":[${list.rows.map((row) => `{${fields(row, '')}}`).join(',')}]`;
    text += '}';
    separator = ',';
    if (text.length < chunkLength) continue;
    yield text;
    text = '';
  }
  yield `${text}]}\n`;
}

function fields(row: DescribedRow, lead: string): string {
  let text = '';
  for (const [name, value] of row) {
    text += `${text === '' ? lead : ','}"${name}":${literal(value)}`;
  }
  return text;
}

function literal(value: DescribedValue): string {
  return typeof value === 'string' ? safeJson(JSON.stringify(value)) : String(value);
}
