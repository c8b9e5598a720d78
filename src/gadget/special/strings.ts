import type { Field } from '../field.ts';
import type { EventRecord } from '../record.ts';
import type { SourceBuilder } from '../source-builder.ts';
import type { StringsSlot } from '../slot.ts';
import type { SpecialType } from './registry.ts';

/**
 * Byte arrays that hold several NUL-terminated strings, such as a program's arguments. Annotations of the field say so:
 *
 * - `strings.array: NAME` adds the field NAME beside it, a list of the strings; the field itself becomes one text, the
 *   strings joined by spaces.
 * - `strings.size: FIELD` names the field that holds how many of the bytes count; without it trailing NULs do not.
 * - `strings.count: FIELD` names the field that holds how many strings there are.
 *
 * A `char args[N]` with the fields `args_size` and `args_count` beside it needs no annotations: its list is `argv`.
 */
export const stringsType: SpecialType = {
  name: 'strings',
  applies(field, builder) {
    if (field.slot?.shape === 'chars' && field.leaf === 'args') suggestArguments(builder, field);
    return field.annotation('strings.array') !== null && (field.slot?.shape === 'chars' || isByteArray(field));
  },
  extend(builder, field) {
    const slot = (joined: boolean): StringsSlot => ({
      shape: 'strings',
      offset: field.offset,
      length: field.size,
      joined,
      used: numberFrom(builder, field, 'strings.size'),
      count: numberFrom(builder, field, 'strings.count'),
    });
    const text = builder.replace(field, slot(true));
    const leaf = field.annotation('strings.array') ?? '';
    if (leaf === '') return;
    const tags = [`name:${leaf}`];
    builder.add({ leaf, parent: field.parent, slot: slot(false), tags }, text)?.suggest('columns.hidden', 'true');
  },
};

function suggestArguments(builder: SourceBuilder, field: Field): void {
  const isInteger = (leaf: string): boolean => builder.sibling(field, leaf)?.isInteger === true;
  if (!isInteger('args_size') || !isInteger('args_count')) return;
  field.suggest('strings.array', 'argv').suggest('strings.size', 'args_size').suggest('strings.count', 'args_count');
}

function isByteArray({ slot }: Field): boolean {
  return slot?.shape === 'blob' || (slot?.shape === 'array' && slot.stride === 1 && slot.element.shape === 'scalar');
}

function numberFrom(builder: SourceBuilder, field: Field, annotation: string): ((record: EventRecord, at: number) => number) | null {
  const name = field.annotation(annotation);
  if (name === null) return null;
  const source = builder.find(name) ?? builder.sibling(field, name);
  if (source === null || !source.isInteger) {
    builder.notice(`annotation ${annotation} of field ${field.name} names no integer field: ${name}`);
    return null;
  }
  return (record, at) => source.number(record, at);
}
