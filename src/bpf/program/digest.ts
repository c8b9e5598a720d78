import { createHash } from 'node:crypto';
import { InsnSlots } from '../insn/insn.ts';
import { BPF_OPCODE } from '../insn/opcodes.ts';
import { BPF_PSEUDO } from '../uapi/flags.gen.ts';

/** SHA-256 over a program's instructions as the kernel takes it (bpf_prog_calc_tag): loads of maps count without their numbers. */
export function programDigest(insns: Uint8Array): Uint8Array {
  const slots = new InsnSlots(insns.slice());
  for (let slot = 0; slot + 1 < slots.count; slot++) {
    if (slots.code(slot) !== BPF_OPCODE.LDIMM64) continue;
    const kind = slots.src(slot);
    if (kind === BPF_PSEUDO.BPF_PSEUDO_MAP_FD || kind === BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE) {
      slots.setImm(slot, 0);
      slots.setImm(slot + 1, 0);
    }
    slot++;
  }
  return new Uint8Array(createHash('sha256').update(slots.bytes).digest());
}
