import { phrase, type Output } from './output.ts';

/** Past this many bytes a hole is filled by an array with a name instead of one line for every 8 bytes. */
const longestBitfieldRun = 65536;

const units = [
  { text: phrase('char: '), bits: 8 },
  { text: phrase('short: '), bits: 16 },
  { text: phrase('int: '), bits: 32 },
  { text: phrase('long: '), bits: 64 },
] as const;
const widest = units[3];
const semicolon = 0x3b;

/**
 * Fills the bits from `from` to `to` of a struct with unnamed bitfields: BTF and CO-RE do not see them, and they do not change
 * the struct's alignment. Each stays within an aligned unit of its type, where the compiler does not move it.
 */
export function writePadding(out: Output, from: number, to: number, pointerSize: number, depth: number): void {
  const stride = pointerSize * 8;
  for (let at = from; at < to;) {
    out.line(depth);
    if (at % 8 === 0 && to - at > longestBitfieldRun * 8) {
      const bytes = Math.floor((to - at) / 8);
      out.text(`unsigned char __padding_${at / 8}[${bytes}];`);
      at += bytes * 8;
      continue;
    }
    const end = Math.min(to, (Math.floor(at / stride) + 1) * stride);
    const bits = end - at;
    const unit = units.find((candidate) => (at % candidate.bits) + bits <= candidate.bits) ?? widest;
    out.put(unit.text);
    out.number(bits);
    out.char(semicolon);
    at = end;
  }
}
