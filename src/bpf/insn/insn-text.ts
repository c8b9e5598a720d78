import { BPF_PSEUDO } from '../uapi/index.ts';
import type { InsnSlots } from './insn.ts';
import { BPF_ALU_OP, BPF_ATOMIC, BPF_CLASS, BPF_JMP_OP, BPF_MODE, BPF_OPCODE, BPF_SIZE, BPF_SOURCE } from './opcodes.ts';

const unknown = '<unknown>';

const assignments: ReadonlyMap<number, string> = new Map([
  [BPF_ALU_OP.ADD, '+='],
  [BPF_ALU_OP.SUB, '-='],
  [BPF_ALU_OP.MUL, '*='],
  [BPF_ALU_OP.DIV, '/='],
  [BPF_ALU_OP.OR, '|='],
  [BPF_ALU_OP.AND, '&='],
  [BPF_ALU_OP.LSH, '<<='],
  [BPF_ALU_OP.RSH, '>>='],
  [BPF_ALU_OP.MOD, '%='],
  [BPF_ALU_OP.XOR, '^='],
  [BPF_ALU_OP.ARSH, 's>>='],
]);

const conditions: ReadonlyMap<number, string> = new Map([
  [BPF_JMP_OP.JEQ, '=='],
  [BPF_JMP_OP.JGT, '>'],
  [BPF_JMP_OP.JGE, '>='],
  [BPF_JMP_OP.JSET, '&'],
  [BPF_JMP_OP.JNE, '!='],
  [BPF_JMP_OP.JSGT, 's>'],
  [BPF_JMP_OP.JSGE, 's>='],
  [BPF_JMP_OP.JLT, '<'],
  [BPF_JMP_OP.JLE, '<='],
  [BPF_JMP_OP.JSLT, 's<'],
  [BPF_JMP_OP.JSLE, 's<='],
]);

const bitsOf: Readonly<Record<number, number>> = { [BPF_SIZE.B]: 8, [BPF_SIZE.H]: 16, [BPF_SIZE.W]: 32, [BPF_SIZE.DW]: 64 };

const atomics: ReadonlyMap<number, readonly [sign: string, name: string]> = new Map([
  [BPF_ATOMIC.ADD, ['+=', 'add']],
  [BPF_ATOMIC.OR, ['|=', 'or']],
  [BPF_ATOMIC.AND, ['&=', 'and']],
  [BPF_ATOMIC.XOR, ['^=', 'xor']],
]);

/** One instruction in LLVM's syntax, `<unknown>` for what the instruction set does not know. */
export function insnText(slots: InsnSlots, slot: number): string {
  const code = slots.code(slot);
  if (slots.dst(slot) > 10 || slots.src(slot) > 10) return unknown;
  switch (code & 7) {
    case BPF_CLASS.ALU:
    case BPF_CLASS.ALU64:
      return aluText(slots, slot, code);
    case BPF_CLASS.JMP:
    case BPF_CLASS.JMP32:
      return jumpText(slots, slot, code);
    case BPF_CLASS.LD:
      return code === BPF_OPCODE.LDIMM64 ? wideText(slots, slot) : packetText(slots, slot, code);
    case BPF_CLASS.LDX:
      return loadText(slots, slot, code);
    default:
      return storeText(slots, slot, code);
  }
}

function aluText(slots: InsnSlots, slot: number, code: number): string {
  const is64 = (code & 7) === BPF_CLASS.ALU64;
  const register = is64 ? 'r' : 'w';
  const operation = code & 0xf0;
  const dst = slots.dst(slot);
  const off = slots.off(slot);
  const fromRegister = (code & 8) === BPF_SOURCE.X;
  const left = `${register}${dst}`;
  if (operation === BPF_ALU_OP.END) return swapText(slots, slot, is64, fromRegister);
  if (operation === BPF_ALU_OP.NEG) return fromRegister ? unknown : `${left} = -${left}`;
  const right = fromRegister ? `${register}${slots.src(slot)}` : hex(slots.imm(slot));
  if (operation === BPF_ALU_OP.MOV) return moveText(slots, slot, is64, fromRegister, left, right);
  const sign = assignments.get(operation);
  if (sign === undefined) return unknown;
  if (off === 0) return `${left} ${sign} ${right}`;
  const signed = operation === BPF_ALU_OP.DIV || operation === BPF_ALU_OP.MOD;
  return off === 1 && signed ? `${left} s${sign} ${right}` : unknown;
}

function moveText(slots: InsnSlots, slot: number, is64: boolean, fromRegister: boolean, left: string, right: string): string {
  const off = slots.off(slot);
  if (off === 0) return `${left} = ${right}`;
  if (!fromRegister) return unknown;
  if (is64 && off === 1) {
    // imm holds both address spaces (include/uapi/linux/bpf.h: BPF_ADDR_SPACE_CAST).
    const imm = slots.imm(slot);
    return `${left} = addr_space_cast(${right}, ${hex(imm >>> 16)}, ${hex(imm & 0xffff)})`;
  }
  return off === 8 || off === 16 || (is64 && off === 32) ? `${left} = (s${off})${right}` : unknown;
}

function swapText(slots: InsnSlots, slot: number, is64: boolean, fromRegister: boolean): string {
  const bits = slots.imm(slot);
  if (bits !== 16 && bits !== 32 && bits !== 64) return unknown;
  if (is64 && fromRegister) return unknown;
  const name = is64 ? 'bswap' : fromRegister ? 'be' : 'le';
  return `r${slots.dst(slot)} = ${name}${bits} r${slots.dst(slot)}`;
}

function jumpText(slots: InsnSlots, slot: number, code: number): string {
  const is64 = (code & 7) === BPF_CLASS.JMP;
  const operation = code & 0xf0;
  const fromRegister = (code & 8) === BPF_SOURCE.X;
  const off = jump(slots.off(slot));
  switch (code) {
    case BPF_OPCODE.JA:
      return `goto ${off}`;
    case BPF_OPCODE.JA32:
      return `gotol ${jump(slots.imm(slot))}`;
    case BPF_OPCODE.JAX:
      return `gotox r${slots.dst(slot)}`;
    case BPF_OPCODE.CALL:
      return `call ${hex(slots.imm(slot))}`;
    case BPF_OPCODE.CALLX:
      return `callx r${slots.dst(slot)}`;
    case BPF_OPCODE.EXIT:
      return slots.dst(slot) === 0 && slots.src(slot) === 0 && slots.off(slot) === 0 && slots.imm(slot) === 0 ? 'exit' : unknown;
    case BPF_CLASS.JMP | BPF_JMP_OP.JCOND:
      return `may_goto ${off}`;
    default: {
      const sign = conditions.get(operation);
      if (sign === undefined) return unknown;
      const register = is64 ? 'r' : 'w';
      const right = fromRegister ? `${register}${slots.src(slot)}` : hex(slots.imm(slot));
      return `if ${register}${slots.dst(slot)} ${sign} ${right} goto ${off}`;
    }
  }
}

function wideText(slots: InsnSlots, slot: number): string {
  if (slot + 1 >= slots.count) return unknown;
  const dst = `r${slots.dst(slot)}`;
  const low = slots.imm(slot);
  const high = slots.imm(slot + 1);
  switch (slots.src(slot)) {
    case 0:
      return `${dst} = ${hex(BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low >>> 0)))} ll`;
    case BPF_PSEUDO.BPF_PSEUDO_MAP_FD:
      return `${dst} = map_fd(${hex(low)}) ll`;
    case BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE:
      return `${dst} = map_value(${hex(low)}, ${hex(high >>> 0)}) ll`;
    case BPF_PSEUDO.BPF_PSEUDO_BTF_ID:
      return `${dst} = btf_id(${hex(low)}, ${hex(high)}) ll`;
    case BPF_PSEUDO.BPF_PSEUDO_FUNC:
      return `${dst} = func(${jump(low)}) ll`;
    case BPF_PSEUDO.BPF_PSEUDO_MAP_IDX:
      return `${dst} = map_idx(${hex(low)}) ll`;
    case BPF_PSEUDO.BPF_PSEUDO_MAP_IDX_VALUE:
      return `${dst} = map_idx_value(${hex(low)}, ${hex(high >>> 0)}) ll`;
    default:
      return unknown;
  }
}

/** The packet loads of classic BPF, into r0. */
function packetText(slots: InsnSlots, slot: number, code: number): string {
  const bits = bitsOf[code & 0x18] as number;
  if (bits === 64) return unknown;
  if ((code & 0xe0) === BPF_MODE.ABS) return `r0 = *(u${bits} *)skb[${hex(slots.imm(slot))}]`;
  return (code & 0xe0) === BPF_MODE.IND ? `r0 = *(u${bits} *)skb[r${slots.src(slot)}]` : unknown;
}

function loadText(slots: InsnSlots, slot: number, code: number): string {
  const bits = bitsOf[code & 0x18] as number;
  const from = address(slots.src(slot), slots.off(slot));
  const dst = slots.dst(slot);
  if ((code & 0xe0) === BPF_MODE.MEM) return `${bits === 64 ? 'r' : 'w'}${dst} = *(u${bits} *)(${from})`;
  return (code & 0xe0) === BPF_MODE.MEMSX && bits !== 64 ? `r${dst} = *(s${bits} *)(${from})` : unknown;
}

function storeText(slots: InsnSlots, slot: number, code: number): string {
  const bits = bitsOf[code & 0x18] as number;
  const to = address(slots.dst(slot), slots.off(slot));
  const mode = code & 0xe0;
  if ((code & 7) === BPF_CLASS.ST) return mode === BPF_MODE.MEM ? `*(u${bits} *)(${to}) = ${hex(slots.imm(slot))}` : unknown;
  if (mode === BPF_MODE.MEM) return `*(u${bits} *)(${to}) = ${bits === 64 ? 'r' : 'w'}${slots.src(slot)}`;
  return mode === BPF_MODE.ATOMIC ? atomicText(slots, slot, bits) : unknown;
}

function atomicText(slots: InsnSlots, slot: number, bits: number): string {
  const operation = slots.imm(slot);
  const register = bits === 64 ? 'r' : 'w';
  const value = `${register}${slots.src(slot)}`;
  const to = address(slots.dst(slot), slots.off(slot));
  if (operation === BPF_ATOMIC.LOAD_ACQ) {
    return `${register}${slots.dst(slot)} = load_acquire((u${bits} *)(${address(slots.src(slot), slots.off(slot))}))`;
  }
  if (operation === BPF_ATOMIC.STORE_REL) return `store_release((u${bits} *)(${to}), ${value})`;
  if (bits < 32) return unknown;
  if (operation === BPF_ATOMIC.XCHG) return bits === 64 ? `${value} = xchg_64(${to}, ${value})` : `${value} = xchg32_32(${to}, ${value})`;
  if (operation === BPF_ATOMIC.CMPXCHG) {
    return bits === 64 ? `r0 = cmpxchg_64(${to}, r0, ${value})` : `w0 = cmpxchg32_32(${to}, w0, ${value})`;
  }
  const known = atomics.get(operation & ~BPF_ATOMIC.FETCH);
  if (known === undefined) return unknown;
  const [sign, name] = known;
  return operation & BPF_ATOMIC.FETCH
    ? `${value} = atomic_fetch_${name}((u${bits} *)(${to}), ${value})`
    : `lock *(u${bits} *)(${to}) ${sign} ${value}`;
}

function address(register: number, off: number): string {
  return off < 0 ? `r${register} - ${hex(-off)}` : `r${register} + ${hex(off)}`;
}

function hex(value: number | bigint): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** A distance with its sign. */
function jump(distance: number): string {
  return distance < 0 ? hex(distance) : `+${hex(distance)}`;
}
