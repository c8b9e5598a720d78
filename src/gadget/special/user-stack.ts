import type { Field } from '../field.ts';
import type { EventRecord } from '../record.ts';
import type { UserStackPlace } from '../user-stacks.ts';
import type { SpecialType } from './registry.ts';

/** The members of struct gadget_user_stack that texts are made of. */
const members = [
  'stack_id',
  'inode',
  'mtime_sec',
  'base_addr_hash',
  'tgid_level0',
  'pid_level0',
  'pid_level1',
  'pidns_level1',
  'boot_timestamp',
] as const;
type Member = (typeof members)[number];

/** `struct gadget_user_stack`: the functions of a stack of user space, its addresses, and where those lie in files. */
export const userStackType: SpecialType = {
  name: 'user_stack',
  applies: (field) => field.tags.has('type:gadget_user_stack') && field.kind === 'struct',
  extend(builder, field) {
    const { userStacks } = builder;
    if (userStacks === null) return;
    const found = new Map<Member, Field>();
    for (const member of members) {
      const part = builder.find(`${field.name}.${member}`);
      if (part !== null) found.set(member, part);
    }
    // Older objects have fewer members; without these there is no stack to look up.
    if (!found.has('stack_id') || !found.has('inode') || !found.has('tgid_level0')) return;
    for (const part of builder.fields) if (part.parent === field) part.suggest('columns.hidden', 'true');
    const place = (record: EventRecord, at: number): UserStackPlace => {
      const number = (member: Member): number => found.get(member)?.number(record, at) ?? 0;
      const wide = (member: Member): bigint => found.get(member)?.wide(record, at) ?? 0n;
      return {
        stackId: number('stack_id'),
        inode: wide('inode'),
        mtimeSeconds: wide('mtime_sec'),
        baseAddrHash: number('base_addr_hash'),
        tgid: number('tgid_level0'),
        tid: number('pid_level0'),
        tidLevel1: number('pid_level1'),
        pidnsLevel1: number('pidns_level1'),
        bootTimestamp: wide('boot_timestamp'),
      };
    };
    const add = (leaf: string, description: string, text: (from: UserStackPlace) => string): void => {
      builder
        .add({
          leaf,
          parent: field,
          slot: { shape: 'text', text: (record, at) => text(place(record, at)), repeats: true },
          tags: [`name:${leaf}`],
        })
        ?.suggest('columns.hidden', 'true')
        .suggest('description', description);
    };
    add('addresses', 'Addresses of the stack, innermost first', (from) => userStacks.addresses(from));
    add('buildid', 'Build ids and offsets in files of the stack, innermost first', (from) => userStacks.buildIds(from));
    add('symbols', 'Functions of the stack, innermost first', (from) => userStacks.symbols(from));
  },
};
