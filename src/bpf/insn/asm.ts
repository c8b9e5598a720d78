import { BPF_PSEUDO } from '../uapi/flags.gen.ts';
import type { Insn } from './insn.ts';
import { BPF_ALU_OP, BPF_CLASS, BPF_JMP_OP, BPF_MODE, BPF_OPCODE, BPF_SIZE, BPF_SOURCE } from './opcodes.ts';

/** Registers: r0 the result, r1 to r5 arguments, r6 to r9 kept over calls, r10 the frame. */
export type Register = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10;
export type AluOp = keyof typeof BPF_ALU_OP;
export type JumpOp = Exclude<keyof typeof BPF_JMP_OP, 'CALL' | 'EXIT' | 'JA' | 'JCOND'>;
export type AccessSize = keyof typeof BPF_SIZE;

function insn(code: number, dst = 0, src = 0, off = 0, imm = 0): Insn {
  return { code, dst, src, off, imm };
}

/** A 64-bit immediate load of two slots. */
function wide(dst: Register, src: number, low: number, high: number): Insn[] {
  return [insn(BPF_OPCODE.LDIMM64, dst, src, 0, low), insn(0, 0, 0, 0, high)];
}

/**
 * Builds small programs: each function gives the slots of one instruction.
 *
 * @example
 * import { asm, encodeInsns } from 'rawbpf/insn';
 * const program = encodeInsns([...asm.movImm(0, 0), ...asm.exit()]);
 * console.log(program.length); // 16
 */
export const asm = {
  movImm: (dst: Register, imm: number): Insn[] => [insn(BPF_CLASS.ALU64 | BPF_ALU_OP.MOV | BPF_SOURCE.K, dst, 0, 0, imm)],
  movReg: (dst: Register, src: Register): Insn[] => [insn(BPF_CLASS.ALU64 | BPF_ALU_OP.MOV | BPF_SOURCE.X, dst, src)],
  aluImm: (op: AluOp, dst: Register, imm: number): Insn[] => [insn(BPF_CLASS.ALU64 | BPF_ALU_OP[op] | BPF_SOURCE.K, dst, 0, 0, imm)],
  aluReg: (op: AluOp, dst: Register, src: Register): Insn[] => [insn(BPF_CLASS.ALU64 | BPF_ALU_OP[op] | BPF_SOURCE.X, dst, src)],
  alu32Imm: (op: AluOp, dst: Register, imm: number): Insn[] => [insn(BPF_CLASS.ALU | BPF_ALU_OP[op] | BPF_SOURCE.K, dst, 0, 0, imm)],
  alu32Reg: (op: AluOp, dst: Register, src: Register): Insn[] => [insn(BPF_CLASS.ALU | BPF_ALU_OP[op] | BPF_SOURCE.X, dst, src)],
  /** Turns the lower 16, 32 or 64 bits of dst from the machine's byte order to the network's; the others become zero. */
  toBigEndian: (dst: Register, bits: 16 | 32 | 64): Insn[] => [insn(BPF_CLASS.ALU | BPF_ALU_OP.END | BPF_SOURCE.X, dst, 0, 0, bits)],
  /** dst = *(size *)(src + off) */
  load: (size: AccessSize, dst: Register, src: Register, off: number): Insn[] => [
    insn(BPF_CLASS.LDX | BPF_SIZE[size] | BPF_MODE.MEM, dst, src, off),
  ],
  /** *(size *)(dst + off) = src */
  store: (size: AccessSize, dst: Register, off: number, src: Register): Insn[] => [
    insn(BPF_CLASS.STX | BPF_SIZE[size] | BPF_MODE.MEM, dst, src, off),
  ],
  /** *(size *)(dst + off) = imm */
  storeImm: (size: AccessSize, dst: Register, off: number, imm: number): Insn[] => [
    insn(BPF_CLASS.ST | BPF_SIZE[size] | BPF_MODE.MEM, dst, 0, off, imm),
  ],
  /** An atomic operation (BPF_ATOMIC) on *(size *)(dst + off). */
  atomic: (size: 'W' | 'DW', operation: number, dst: Register, off: number, src: Register): Insn[] => [
    insn(BPF_CLASS.STX | BPF_SIZE[size] | BPF_MODE.ATOMIC, dst, src, off, operation),
  ],
  /** dst = a 64-bit immediate, two slots. */
  ldimm64: (dst: Register, value: bigint): Insn[] =>
    wide(dst, 0, Number(BigInt.asIntN(32, value)), Number(BigInt.asIntN(32, value >> 32n))),
  /** dst = a map, by its file descriptor. */
  ldMapFd: (dst: Register, fd: number): Insn[] => wide(dst, BPF_PSEUDO.BPF_PSEUDO_MAP_FD, fd, 0),
  /** dst = the address of a value in an array map, by the map's file descriptor. */
  ldMapValue: (dst: Register, fd: number, offset: number): Insn[] => wide(dst, BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE, fd, offset),
  /** dst = a kernel variable, by its BTF id (and its module's BTF file descriptor). */
  ldBtfId: (dst: Register, btfId: number, btfFd = 0): Insn[] => wide(dst, BPF_PSEUDO.BPF_PSEUDO_BTF_ID, btfId, btfFd),
  /** Jump by `off` slots. */
  jump: (off: number): Insn[] => [insn(BPF_OPCODE.JA, 0, 0, off)],
  jumpImm: (op: JumpOp, dst: Register, imm: number, off: number): Insn[] => [
    insn(BPF_CLASS.JMP | BPF_JMP_OP[op] | BPF_SOURCE.K, dst, 0, off, imm),
  ],
  jumpReg: (op: JumpOp, dst: Register, src: Register, off: number): Insn[] => [
    insn(BPF_CLASS.JMP | BPF_JMP_OP[op] | BPF_SOURCE.X, dst, src, off),
  ],
  /** Call of a helper (BPF_FUNC). */
  call: (helper: number): Insn[] => [insn(BPF_OPCODE.CALL, 0, 0, 0, helper)],
  /** Call of a function of the same program, `off` slots after the next instruction. */
  callSubprogram: (off: number): Insn[] => [insn(BPF_OPCODE.CALL, 0, BPF_PSEUDO.BPF_PSEUDO_CALL, 0, off)],
  /** Call of a kernel function by its BTF id; `fdIndex` is its module's place in fd_array. */
  callKfunc: (btfId: number, fdIndex = 0): Insn[] => [insn(BPF_OPCODE.CALL, 0, BPF_PSEUDO.BPF_PSEUDO_KFUNC_CALL, fdIndex, btfId)],
  exit: (): Insn[] => [insn(BPF_OPCODE.EXIT)],
} as const;
