import type { DataSource } from '../gadget/data-source.ts';
import type { Field } from '../gadget/field.ts';
import { UsageError } from '../error.ts';
import { visibleFields } from './columns.ts';

/**
 * The fields that `--fields` asks for: `a,b` these, `+c` also, `-d` without; with only `+` and `-` the change is to the fields
 * shown anyway. A struct's name stands for all of its fields, hidden ones left out.
 *
 * Throws UsageError `E_FIELD` for an unknown field, with the names like it.
 */
export function selectFields(source: DataSource, text: string): readonly Field[] {
  const entries = text
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  if (entries.length === 0) throw new UsageError({ code: 'E_FIELD', what: '--fields names no field' });
  const replaces = entries.some((entry) => !/^[+-]/.test(entry));
  const chosen = new Set(replaces ? [] : visibleFields(source));
  for (const entry of entries) {
    const sign = /^[+-]/.exec(entry)?.[0] ?? '';
    for (const field of leavesOf(source, source.field(entry.slice(sign.length)))) {
      if (sign === '-') chosen.delete(field);
      else chosen.add(field);
    }
  }
  if (chosen.size === 0) throw new UsageError({ code: 'E_FIELD', what: `--fields ${text} leaves no field` });
  // Additions keep the order of the event, lists their own.
  return replaces ? [...chosen] : source.fields.filter((field) => chosen.has(field));
}

function leavesOf(source: DataSource, field: Field): readonly Field[] {
  if (field.slot !== null) return [field];
  const leaves = source.fields.filter((candidate) => candidate.slot !== null && isInside(candidate, field));
  const visible = leaves.filter((leaf) => !leaf.hidden);
  return visible.length > 0 ? visible : leaves;
}

function isInside(field: Field, struct: Field): boolean {
  for (let parent = field.parent; parent !== null; parent = parent.parent) if (parent === struct) return true;
  return false;
}
