import { BTF_KIND } from '../../types.ts';
import type { TypeTable } from '../table.ts';
import type { NameArena } from './name-arena.ts';
import type { NameSpaces } from './name-spaces.ts';
import { phrase, type Output } from './output.ts';

const open = phrase('{');
const close = phrase('}');
const equals = phrase(' = ');
const comma = 0x2c;

/**
 * Writes an enum from its brace on, with an attribute where C would give it another size; names already taken get a suffix.
 * True where its values are C23's keywords true and false and nothing else.
 */
export function writeEnum(table: TypeTable, id: number, names: NameSpaces, arena: NameArena, out: Output, depth: number): boolean {
  const size = table.sizeOrType(id);
  const wide = table.kind(id) === BTF_KIND.ENUM64;
  const signed = table.flag(id);
  const count = table.vlen(id);
  let min = 0;
  let max = 0;
  out.put(open);
  for (let i = 0, at = table.head(id) + 3; i < count; i++, at += wide ? 3 : 2) {
    const low = table.word(at + 1);
    out.line(depth + 1);
    arena.write(names.identifier(table.word(at)), out);
    out.put(equals);
    let value: number;
    if (wide) {
      const big = (BigInt(signed ? table.word(at + 2) | 0 : table.word(at + 2)) << 32n) | BigInt(low);
      value = Number(big);
      out.text(`${big}${signed ? 'LL' : 'ULL'}`);
    } else {
      // Kernels before 6.0 have no sign flag: a value too large for a small enum was negative.
      value = signed || (size < 4 && low > 0xffff) ? low | 0 : low;
      out.number(value);
    }
    out.char(comma);
    if (value < min) min = value;
    if (value > max) max = value;
  }
  if (count > 0) out.line(depth);
  out.put(close);
  const attribute = sizeAttribute(size, min, max);
  if (attribute !== '') out.text(attribute);
  return isBool(table, id, wide ? 3 : 2, count);
}

function isBool(table: TypeTable, id: number, step: number, count: number): boolean {
  if (count === 0 || count > 2) return false;
  const at = table.head(id) + 3;
  for (let i = 0; i < count; i++) {
    const name = table.btf.string(table.word(at + i * step));
    if (name !== 'true' && name !== 'false') return false;
  }
  return true;
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
