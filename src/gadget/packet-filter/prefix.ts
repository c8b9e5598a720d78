/** The mask of a network's first `bits` bits, in words of 32. */
export function prefixMask(bits: number, words: number): readonly number[] {
  return Array.from({ length: words }, (_, i) => {
    const ones = Math.min(32, Math.max(0, bits - i * 32));
    return ones === 0 ? 0 : (0xffff_ffff << (32 - ones)) >>> 0;
  });
}
