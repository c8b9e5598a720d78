import { BPF_ALU_OP as ALU, BPF_JMP_OP as JMP } from '../../insn/opcodes.ts';

/** What is known of a register: a number (64 bits, unsigned) or the address of a map's value. */
export type Value = bigint | { readonly map: string; readonly offset: number };

/** What an arithmetic instruction leaves in its register; null where that is unknown. */
export function aluResult(op: number, wide: boolean, off: number, left: Value | null, right: Value | null): Value | null {
  if (op === ALU.MOV && wide && off === 0) return typeof right === 'bigint' ? BigInt.asUintN(64, right) : right;
  if (op === ALU.AND && right === 0n) return 0n;
  if (left !== null && typeof left !== 'bigint') {
    const moves = wide && typeof right === 'bigint' && (op === ALU.ADD || op === ALU.SUB);
    if (!moves) return null;
    const by = Number(BigInt.asIntN(32, right));
    return { map: left.map, offset: op === ALU.ADD ? left.offset + by : left.offset - by };
  }
  if (typeof right !== 'bigint' || (left === null && op !== ALU.MOV)) return null;
  const bits = wide ? 64 : 32;
  const result = arithmetic(op, bits, off, left ?? 0n, right);
  return result === null ? null : BigInt.asUintN(bits, result);
}

function arithmetic(op: number, bits: number, off: number, left: bigint, right: bigint): bigint | null {
  const a = BigInt.asUintN(bits, left);
  const b = BigInt.asUintN(bits, right);
  const shift = b & BigInt(bits - 1);
  switch (op) {
    case ALU.MOV:
      if (off === 0) return b;
      // movsx: no other widths are instructions.
      return off === 8 || off === 16 || off === 32 ? BigInt.asIntN(off, b) : null;
    case ALU.ADD:
      return a + b;
    case ALU.SUB:
      return a - b;
    case ALU.MUL:
      return a * b;
    case ALU.OR:
      return a | b;
    case ALU.AND:
      return a & b;
    case ALU.XOR:
      return a ^ b;
    case ALU.LSH:
      return a << shift;
    case ALU.RSH:
      return a >> shift;
    case ALU.ARSH:
      return BigInt.asIntN(bits, a) >> shift;
    case ALU.NEG:
      return -a;
    default:
      // Divisions and byte swaps are not worth following.
      return null;
  }
}

/** Whether a conditional jump is taken; null where both ways are possible. */
export function branchTaken(op: number, narrow: boolean, left: Value | null, right: Value | null): boolean | null {
  if (left === null || right === null) return null;
  if (typeof left !== 'bigint' || typeof right !== 'bigint') {
    // The address of a map's value is never null.
    const againstNull = !narrow && (left === 0n || right === 0n);
    return againstNull && (op === JMP.JEQ || op === JMP.JNE) ? op === JMP.JNE : null;
  }
  const bits = narrow ? 32 : 64;
  const a = BigInt.asUintN(bits, left);
  const b = BigInt.asUintN(bits, right);
  const signedA = BigInt.asIntN(bits, a);
  const signedB = BigInt.asIntN(bits, b);
  switch (op) {
    case JMP.JEQ:
      return a === b;
    case JMP.JNE:
      return a !== b;
    case JMP.JSET:
      return (a & b) !== 0n;
    case JMP.JGT:
      return a > b;
    case JMP.JGE:
      return a >= b;
    case JMP.JLT:
      return a < b;
    case JMP.JLE:
      return a <= b;
    case JMP.JSGT:
      return signedA > signedB;
    case JMP.JSGE:
      return signedA >= signedB;
    case JMP.JSLT:
      return signedA < signedB;
    case JMP.JSLE:
      return signedA <= signedB;
    default:
      return null;
  }
}
