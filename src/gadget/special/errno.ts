import { ERRNO } from '../../sys/errnos.gen.ts';
import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

const names: ReadonlyMap<number, string> = namesByNumber(ERRNO);

/** `ENOENT`; nothing for 0, `error#N` for a number without a name. */
export function errnoText(errno: number): string {
  if (errno === 0) return '';
  return names.get(errno) ?? `error#${errno}`;
}

/** `gadget_errno`: the name of an error. */
export const errnoType: SpecialType = {
  name: 'errno',
  applies: (field) => field.tags.has('type:gadget_errno') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.errno.target');
    if (leaf === null) return;
    builder.addNumberText(field, leaf, errnoText)?.suggestTemplate('errorString');
  },
};

/** Turns a table of constants around; of two names for a number the first counts. */
export function namesByNumber(table: Readonly<Record<string, number>>): ReadonlyMap<number, string> {
  const made = new Map<number, string>();
  for (const [name, value] of Object.entries(table)) if (!made.has(value)) made.set(value, name);
  return made;
}
