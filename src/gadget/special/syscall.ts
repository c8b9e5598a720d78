import { SYSCALLS, type SyscallArch } from '../../sys/syscall-table.ts';
import { targetName } from '../source-builder.ts';
import { namesByNumber } from './errno.ts';
import type { SpecialType } from './registry.ts';

const names = new Map<SyscallArch, ReadonlyMap<number, string>>();

/** `SYS_OPENAT`; `SYS_UNKNOWN` for a number without a name. Numbers of 32-bit programs are other ones, and not known here. */
export function syscallText(arch: SyscallArch, nr: number): string {
  let table = names.get(arch);
  if (table === undefined) {
    table = namesByNumber(SYSCALLS[arch]);
    names.set(arch, table);
  }
  return `SYS_${(table.get(nr) ?? 'unknown').toUpperCase()}`;
}

/** `gadget_syscall`: the name of a system call on the event's architecture. */
export const syscallType: SpecialType = {
  name: 'syscall',
  applies: (field) => field.tags.has('type:gadget_syscall') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.syscall.target');
    if (leaf === null) return;
    const { arch } = builder.context;
    builder.addNumberText(field, leaf, (nr) => syscallText(arch, nr))?.suggestTemplate('syscall');
  },
};
