import type { SpecialType } from './registry.ts';
import { targetName, type SourceBuilder } from '../source-builder.ts';
import type { Field } from '../field.ts';

/** `gadget_uid`: a user's name beside its number. */
export const userType: SpecialType = {
  name: 'uid',
  applies: (field) => field.tags.has('type:gadget_uid') && field.isInteger,
  extend: (builder, field) => addName(builder, field, 'user', (uid) => builder.context.ids.user(uid)),
};

/** `gadget_gid`: a group's name beside its number. */
export const groupType: SpecialType = {
  name: 'gid',
  applies: (field) => field.tags.has('type:gadget_gid') && field.isInteger,
  extend: (builder, field) => addName(builder, field, 'group', (gid) => builder.context.ids.group(gid)),
};

function addName(builder: SourceBuilder, field: Field, fallback: string, nameOf: (id: number) => string): void {
  let leaf = targetName(field, 'uidgidresolver.target', fallback) as string;
  // A struct may hold several users: the second is not the `user`.
  if (builder.sibling(field, leaf) !== null && leaf === fallback) leaf = `${field.leaf}_${fallback}`;
  builder
    .addText(field, leaf, { text: (record, at) => nameOf(field.number(record, at)), repeats: true })
    ?.suggest('columns.hidden', 'true')
    .suggest('description', `Name of the ${fallback} ${field.leaf}`);
}
