/** Past this many bytes a hole is filled by an array with a name instead of one line for every 8 bytes. */
const longestBitfieldRun = 65536;

const units = [
  { type: 'char', bits: 8 },
  { type: 'short', bits: 16 },
  { type: 'int', bits: 32 },
  { type: 'long', bits: 64 },
] as const;

/**
 * Fills the bits from `from` to `to` of a struct with unnamed bitfields: BTF and CO-RE do not see them, and they do not change
 * the struct's alignment. Each stays within an aligned unit of its type, where the compiler does not move it.
 */
export function padding(from: number, to: number, pointerSize: number, lead: string): string {
  let text = '';
  const widest = pointerSize * 8;
  for (let at = from; at < to;) {
    if (at % 8 === 0 && to - at > longestBitfieldRun * 8) {
      const bytes = Math.floor((to - at) / 8);
      text += `${lead}unsigned char __padding_${at / 8}[${bytes}];`;
      at += bytes * 8;
      continue;
    }
    const end = Math.min(to, (Math.floor(at / widest) + 1) * widest);
    const bits = end - at;
    const unit = units.find((candidate) => (at % candidate.bits) + bits <= candidate.bits);
    text += `${lead}${unit?.type ?? 'long'}: ${bits};`;
    at = end;
  }
  return text;
}
