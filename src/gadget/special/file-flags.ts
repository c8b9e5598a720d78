import type { SyscallArch } from '../../sys/syscall-table.ts';
import { targetName } from '../source-builder.ts';
import { OPEN_FLAGS } from './open-flags.gen.ts';
import type { SpecialType } from './registry.ts';

const accessModes = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'];

/**
 * The flags of open(2): the access mode, then the rest in the order of their bits, joined by `|`; bits without a name in hex.
 * The bits of O_DIRECTORY, O_NOFOLLOW, O_DIRECT and O_LARGEFILE are others on arm64.
 */
export function fileFlagsText(arch: SyscallArch, flags: number): string {
  const found: (readonly [name: string, bits: number])[] = [];
  let rest = (flags & ~3) >>> 0;
  for (const [name, bits] of OPEN_FLAGS[arch]) {
    if ((rest & bits) >>> 0 !== bits) continue;
    found.push([name, bits]);
    rest = (rest & ~bits) >>> 0;
  }
  const names = found.toSorted((a, b) => a[1] - b[1]).map(([name]) => name);
  names.unshift(accessModes[flags & 3] as string);
  if (rest !== 0) names.push(`0x${rest.toString(16)}`);
  return names.join('|');
}

/** `gadget_file_flags`: the flags of open(2). */
export const fileFlagsType: SpecialType = {
  name: 'file_flags',
  applies: (field) => field.tags.has('type:gadget_file_flags') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.file_flags.target');
    if (leaf === null) return;
    const { arch } = builder.context;
    builder.addNumberText(field, leaf, (flags) => fileFlagsText(arch, flags));
  },
};
