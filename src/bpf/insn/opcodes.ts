/** Instruction classes: the low three bits of the opcode (include/uapi/linux/bpf_common.h and bpf.h). */
export const BPF_CLASS = { LD: 0x00, LDX: 0x01, ST: 0x02, STX: 0x03, ALU: 0x04, JMP: 0x05, JMP32: 0x06, ALU64: 0x07 } as const;

/** Access sizes of loads and stores, as they stand in the opcode. */
export const BPF_SIZE = { W: 0x00, H: 0x08, B: 0x10, DW: 0x18 } as const;

/** Modes of loads and stores, as they stand in the opcode. */
export const BPF_MODE = { IMM: 0x00, ABS: 0x20, IND: 0x40, MEM: 0x60, MEMSX: 0x80, ATOMIC: 0xc0 } as const;

/** Where the second operand of arithmetic and jumps comes from: the immediate (K) or a register (X). */
export const BPF_SOURCE = { K: 0x00, X: 0x08 } as const;

/** Arithmetic operations; division and modulo are signed with `off` 1, MOV extends the sign of `off` bits. */
export const BPF_ALU_OP = {
  ADD: 0x00,
  SUB: 0x10,
  MUL: 0x20,
  DIV: 0x30,
  OR: 0x40,
  AND: 0x50,
  LSH: 0x60,
  RSH: 0x70,
  NEG: 0x80,
  MOD: 0x90,
  XOR: 0xa0,
  MOV: 0xb0,
  ARSH: 0xc0,
  END: 0xd0,
} as const;

/** Jump operations. */
export const BPF_JMP_OP = {
  JA: 0x00,
  JEQ: 0x10,
  JGT: 0x20,
  JGE: 0x30,
  JSET: 0x40,
  JNE: 0x50,
  JSGT: 0x60,
  JSGE: 0x70,
  CALL: 0x80,
  EXIT: 0x90,
  JLT: 0xa0,
  JLE: 0xb0,
  JSLT: 0xc0,
  JSLE: 0xd0,
  JCOND: 0xe0,
} as const;

/** What `imm` says of an atomic instruction; ADD, OR, AND and XOR are combined with FETCH. */
export const BPF_ATOMIC = {
  ADD: 0x00,
  OR: 0x40,
  AND: 0x50,
  XOR: 0xa0,
  FETCH: 0x01,
  XCHG: 0xe1,
  CMPXCHG: 0xf1,
  LOAD_ACQ: 0x100,
  STORE_REL: 0x110,
} as const;

/** Whole opcodes that loaders look for. */
export const BPF_OPCODE = {
  /** 64-bit immediate load, the only instruction of two slots. */
  LDIMM64: 0x18,
  CALL: 0x85,
  CALLX: 0x8d,
  EXIT: 0x95,
  JA: 0x05,
  /** `gotol`: a jump by imm. */
  JA32: 0x06,
  /** `gotox`: an indirect jump through a jump table. */
  JAX: 0x0d,
} as const;

/** Bytes of one instruction slot. */
export const BPF_INSN_SIZE = 8;
