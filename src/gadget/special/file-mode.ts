import { targetName } from '../source-builder.ts';
import type { SpecialType } from './registry.ts';

/** Letters of the file types, by the four top bits of st_mode (S_IFMT, include/uapi/linux/stat.h). */
const types: ReadonlyMap<number, string> = new Map([
  [0o140000, 's'],
  [0o120000, 'l'],
  [0o100000, '-'],
  [0o060000, 'b'],
  [0o040000, 'd'],
  [0o020000, 'c'],
  [0o010000, 'p'],
]);

/** A file's mode as ls shows it: `-rwxr-xr-x`, `drwxrwxrwt`, `-rwsr-xr-x`; `-` for a mode without a type. */
export function fileModeText(mode: number): string {
  const triple = (shift: number, special: number, letter: string): string => {
    const bits = mode >>> shift;
    const run = (bits & 1) !== 0;
    const last = (mode & special) === 0 ? (run ? 'x' : '-') : run ? letter : letter.toUpperCase();
    return `${(bits & 4) === 0 ? '-' : 'r'}${(bits & 2) === 0 ? '-' : 'w'}${last}`;
  };
  const type = mode & 0o170000;
  return `${type === 0 ? '-' : (types.get(type) ?? '?')}${triple(6, 0o4000, 's')}${triple(3, 0o2000, 's')}${triple(0, 0o1000, 't')}`;
}

/** `gadget_file_mode`: type and permissions of a file. */
export const fileModeType: SpecialType = {
  name: 'file_mode',
  applies: (field) => field.tags.has('type:gadget_file_mode') && field.isInteger,
  extend(builder, field) {
    const leaf = targetName(field, 'formatters.file_mode.target');
    if (leaf === null) return;
    builder.addNumberText(field, leaf, fileModeText);
  },
};
