import { BTF_KIND } from '../../types.ts';
import type { TypeTable } from '../table.ts';
import type { NameSpaces } from './identifier.ts';

/** The text between and after the braces of an enum. */
export interface EnumText {
  readonly body: string;
  /** `__attribute__` that gives it its size, '' where it has C's own. */
  readonly attribute: string;
  /** True where its values are C23's keywords true and false and nothing else. */
  readonly isBool: boolean;
}

/** Writes the values of an enum; names already taken get a suffix. */
export function enumText(table: TypeTable, id: number, names: NameSpaces, indent: string): EnumText {
  const size = table.sizeOrType(id);
  const wide = table.kind(id) === BTF_KIND.ENUM64;
  const signed = table.flag(id);
  const count = table.vlen(id);
  let body = '{';
  let min = 0;
  let max = 0;
  let isBool = count > 0;
  let at = table.head(id) + 3;
  for (let i = 0; i < count; i++, at += wide ? 3 : 2) {
    const name = names.identifier(table.string(table.word(at)));
    isBool &&= name === 'true' || name === 'false';
    const low = table.word(at + 1);
    let value: number;
    let digits: string;
    if (wide) {
      const big = (BigInt(signed ? table.word(at + 2) | 0 : table.word(at + 2)) << 32n) | BigInt(low);
      value = Number(big);
      // Digits alone would be too large for `long long` where the value is.
      digits = `${big}${signed ? 'LL' : 'ULL'}`;
    } else {
      // Kernels before 6.0 have no sign flag: a value too large for a small enum was negative.
      value = signed || (size < 4 && low > 0xffff) ? low | 0 : low;
      digits = String(value);
    }
    if (value < min) min = value;
    if (value > max) max = value;
    body += `\n${indent}\t${name} = ${digits},`;
  }
  body += count === 0 ? '}' : `\n${indent}}`;
  return { body, attribute: sizeAttribute(size, min, max), isBool };
}

/** How an enum gets its size: C's own is 4 bytes where they suffice, else 8; packed takes the fewest bytes that suffice. */
function sizeAttribute(size: number, min: number, max: number): string {
  const fits = (bits: number): boolean => (min < 0 ? min >= -(2 ** (bits - 1)) && max < 2 ** (bits - 1) : max < 2 ** bits);
  if (size === (fits(32) ? 4 : 8)) return '';
  const fewest = fits(8) ? 1 : fits(16) ? 2 : fits(32) ? 4 : 8;
  if (size === fewest) return ' __attribute__((packed))';
  switch (size) {
    case 1:
      return ' __attribute__((mode(QI)))';
    case 2:
      return ' __attribute__((mode(HI)))';
    case 8:
      return ' __attribute__((mode(DI)))';
    default:
      return '';
  }
}
