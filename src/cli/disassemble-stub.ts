import { toHex } from '../bytes/text.ts';
export function disassemble(insns: Uint8Array): { slot: number; text: string }[] {
  return Array.from({ length: insns.length / 8 }, (_, slot) => ({ slot, text: toHex(insns.subarray(slot * 8, slot * 8 + 8)) }));
}
