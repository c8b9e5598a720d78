import { fieldTree, type FieldNode } from '../gadget/tree.ts';
import type { DataSource } from '../gadget/data-source.ts';
import type { EventRecord } from '../gadget/record.ts';
import type { EventValue } from '../gadget/read.ts';
import { float32Text } from '../gadget/read.ts';
import { toHex } from '../bytes/text.ts';
import { jsonText } from './json-string.ts';
import { sortedNodes } from './json-layout.ts';

/** Text that YAML takes as it is: no number, boolean or null in any version of YAML, no indicator, no colon at a word's end. */
const plain = /^[A-Za-z_/][\w/.@+-]*(?: [\w/.@+(-][\w/.@+)-]*)*$/;
const reserved = /^(?:y|n|yes|no|on|off|true|false|null|nan|inf|_.*)$/i;

/** Shows events of one data source as YAML documents with the same content as {@link JsonWriter}'s objects. */
export class YamlWriter {
  readonly #nodes: readonly FieldNode[];

  constructor(source: DataSource) {
    this.#nodes = fieldTree(source.fields);
  }

  /** One document, with its `---` line. */
  document(record: EventRecord): string {
    return `---\n${this.lines(record, '').join('\n')}\n`;
  }

  /** The lines of one event, for a list of events too. */
  lines(record: EventRecord, indent: string): string[] {
    const lines: string[] = [];
    emit(this.#nodes, record, indent, lines);
    return lines;
  }
}

function emit(nodes: readonly FieldNode[], record: EventRecord, indent: string, lines: string[]): void {
  for (const { field, children } of sortedNodes(nodes)) {
    const key = scalarText(field.leaf);
    if (field.slot === null) {
      lines.push(`${indent}${key}:`);
      emit(children, record, `${indent}  `, lines);
    } else if (field.kind === 'float32') lines.push(`${indent}${key}: ${floatText(field.number(record), true)}`);
    else lines.push(`${indent}${key}: ${flow(field.value(record))}`);
  }
}

/** A value on one line. */
function flow(value: EventValue): string {
  if (typeof value === 'string') return scalarText(value);
  if (typeof value === 'number') return floatText(value, false);
  if (typeof value === 'bigint' || typeof value === 'boolean') return String(value);
  if (value instanceof Uint8Array) return scalarText(toHex(value));
  if (Array.isArray(value)) return `[${(value as readonly EventValue[]).map(flow).join(', ')}]`;
  const entries = Object.entries(value).toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${entries.map(([name, part]) => `${scalarText(name)}: ${flow(part)}`).join(', ')}}`;
}

function floatText(value: number, narrow: boolean): string {
  if (Number.isNaN(value)) return '.nan';
  if (!Number.isFinite(value)) return value < 0 ? '-.inf' : '.inf';
  return narrow ? float32Text(value) : String(value);
}

/** A text on one line, in quotes where YAML needs them. */
export function scalarText(text: string): string {
  return plain.test(text) && !reserved.test(text) ? text : jsonText(text);
}
