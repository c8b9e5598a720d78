export * from '../uapi/index.ts';
export { asm, type AccessSize, type AluOp, type JumpOp, type Register } from './asm.ts';
export { disassemble, type DisassembledInsn, type DisassembleOptions } from './disassemble.ts';
export { decodeInsns, encodeInsns, InsnSlots, swapInsns, type Insn, withoutFds } from './insn.ts';
export { BPF_ALU_OP, BPF_ATOMIC, BPF_CLASS, BPF_INSN_SIZE, BPF_JMP_OP, BPF_MODE, BPF_OPCODE, BPF_SIZE, BPF_SOURCE } from './opcodes.ts';
export { CORE_POISON, patchInsn, type CorePatch, type PatchOptions } from './core-patch.ts';
