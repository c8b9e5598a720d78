import type { InsnSlots } from '../../insn/insn.ts';
import { BPF_ALU_OP as ALU, BPF_CLASS, BPF_JMP_OP as JMP, BPF_MODE, BPF_OPCODE, BPF_SIZE, BPF_SOURCE } from '../../insn/opcodes.ts';
import { BPF_PSEUDO } from '../../uapi/index.ts';
import { aluResult, branchTaken, type Value } from './constant.ts';

/** What the walk may ask about the program. */
export interface ReachQuestions {
  /** The map whose value an ldimm64 at this slot points into, null where it is another load. */
  mapAt(insn: number): string | null;
  /** What a read-only map holds there, as the verifier will know it; null where it can't be told. */
  constant(map: string, offset: number, size: number): bigint | null;
  /** Where an indirect jump may go. */
  readonly jumpTargets: readonly number[];
}

// The kernel has 11; the field of an instruction, which a damaged object fills at will, has room for 16.
const REGISTERS = 16;
const SIZES: ReadonlyMap<number, number> = new Map([
  [BPF_SIZE.B, 1],
  [BPF_SIZE.H, 2],
  [BPF_SIZE.W, 4],
  [BPF_SIZE.DW, 8],
]);

/** The registers before an instruction; null is unknown. */
type State = (Value | null)[];

/**
 * The slots that can run: a walk over the program that follows constants through registers, as the verifier does, so that code
 * behind `if (bpf_core_field_exists(...))` counts as dead where the field is not there. It errs on the side of reaching.
 */
export function reachableInsns(slots: InsnSlots, roots: readonly number[], questions: ReachQuestions): Uint8Array {
  const walk = new Walk(slots, questions);
  for (const root of roots) walk.enter(root, unknownState());
  walk.run();
  return walk.reached;
}

function unknownState(): State {
  return Array.from({ length: REGISTERS }, () => null);
}

class Walk {
  readonly reached: Uint8Array;
  readonly #slots: InsnSlots;
  readonly #questions: ReachQuestions;
  readonly #states: (State | undefined)[] = [];
  readonly #work: number[] = [];

  constructor(slots: InsnSlots, questions: ReachQuestions) {
    this.#slots = slots;
    this.#questions = questions;
    this.reached = new Uint8Array(slots.count);
  }

  run(): void {
    for (let insn = this.#work.pop(); insn !== undefined; insn = this.#work.pop()) this.#step(insn);
  }

  /** Joins a state into that before an instruction; what differs between two ways becomes unknown, so this ends. */
  enter(insn: number, state: State): void {
    if (insn < 0 || insn >= this.#slots.count) return;
    const known = this.#states[insn];
    if (known === undefined) {
      this.#states[insn] = [...state];
      this.reached[insn] = 1;
      this.#work.push(insn);
      return;
    }
    let changed = false;
    for (let i = 0; i < REGISTERS; i++) {
      const before = known[i] ?? null;
      if (before === null || same(before, state[i] ?? null)) continue;
      known[i] = null;
      changed = true;
    }
    if (changed) this.#work.push(insn);
  }

  #step(insn: number): void {
    const slots = this.#slots;
    const state = [...(this.#states[insn] as State)];
    const code = slots.code(insn);
    const dst = slots.dst(insn);
    switch (code & 7) {
      case BPF_CLASS.ALU:
      case BPF_CLASS.ALU64:
        state[dst] = this.#alu(insn, code, state);
        break;
      case BPF_CLASS.LDX:
        state[dst] = this.#load(insn, code, state);
        break;
      case BPF_CLASS.STX:
        // Atomic operations that fetch give their result in src, cmpxchg in r0, load_acquire in dst.
        if ((code & 0xe0) === BPF_MODE.ATOMIC) state[slots.src(insn)] = state[dst] = state[0] = null;
        break;
      case BPF_CLASS.LD:
        if (code === BPF_OPCODE.LDIMM64) {
          state[dst] = this.#wide(insn);
          this.enter(insn + 2, state);
          return;
        }
        clobber(state);
        break;
      case BPF_CLASS.JMP:
      case BPF_CLASS.JMP32:
        this.#jump(insn, code, state);
        return;
      default:
    }
    this.enter(insn + 1, state);
  }

  #alu(insn: number, code: number, state: State): Value | null {
    const slots = this.#slots;
    const register = (code & BPF_SOURCE.X) !== 0;
    const operand = register ? (state[slots.src(insn)] ?? null) : BigInt(slots.imm(insn));
    const wide = (code & 7) === BPF_CLASS.ALU64;
    const op = code & 0xf0;
    // A cast between address spaces looks like a move with a sign extension of one bit.
    if (op === ALU.MOV && register && slots.off(insn) === 1) return null;
    return aluResult(op, wide, slots.off(insn), state[slots.dst(insn)] ?? null, operand);
  }

  #load(insn: number, code: number, state: State): Value | null {
    const from = state[this.#slots.src(insn)] ?? null;
    const size = SIZES.get(code & 0x18) ?? 0;
    if (from === null || typeof from === 'bigint') return null;
    const value = this.#questions.constant(from.map, from.offset + this.#slots.off(insn), size);
    if (value === null) return null;
    return (code & 0xe0) === BPF_MODE.MEMSX ? BigInt.asUintN(64, BigInt.asIntN(size * 8, value)) : value;
  }

  #wide(insn: number): Value | null {
    const slots = this.#slots;
    if (insn + 1 >= slots.count) return null;
    switch (slots.src(insn)) {
      case 0:
        return (BigInt(slots.imm(insn + 1) >>> 0) << 32n) | BigInt(slots.imm(insn) >>> 0);
      case BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE: {
        const map = this.#questions.mapAt(insn);
        return map === null ? null : { map, offset: slots.imm(insn + 1) };
      }
      case BPF_PSEUDO.BPF_PSEUDO_FUNC:
        // A callback: whoever gets its address may call it with anything.
        this.enter(insn + 1 + slots.imm(insn), unknownState());
        return null;
      default:
        return null;
    }
  }

  #jump(insn: number, code: number, state: State): void {
    const slots = this.#slots;
    const op = code & 0xf0;
    const long = (code & 7) === BPF_CLASS.JMP32;
    switch (op) {
      case JMP.JA:
        if (code === BPF_OPCODE.JAX) for (const target of this.#questions.jumpTargets) this.enter(target, state);
        else this.enter(insn + 1 + (long ? slots.imm(insn) : slots.off(insn)), state);
        return;
      case JMP.EXIT:
        return;
      case JMP.CALL:
        if (slots.src(insn) === BPF_PSEUDO.BPF_PSEUDO_CALL) {
          const callee = unknownState();
          for (let i = 1; i <= 5; i++) callee[i] = state[i] ?? null;
          this.enter(insn + 1 + slots.imm(insn), callee);
        }
        clobber(state);
        this.enter(insn + 1, state);
        return;
      case JMP.JCOND:
        this.enter(insn + 1 + slots.off(insn), state);
        this.enter(insn + 1, state);
        return;
      default:
        this.#branch(insn, op, long, (code & BPF_SOURCE.X) !== 0, state);
    }
  }

  #branch(insn: number, op: number, narrow: boolean, register: boolean, state: State): void {
    const slots = this.#slots;
    const dst = slots.dst(insn);
    const left = state[dst] ?? null;
    const right = register ? (state[slots.src(insn)] ?? null) : BigInt.asUintN(64, BigInt(slots.imm(insn)));
    const taken = branchTaken(op, narrow, left, right);
    const target = insn + 1 + slots.off(insn);
    // Where `r == 5` holds, r is 5 from then on.
    const learned = left === null && !narrow && typeof right === 'bigint' ? state.with(dst, right) : state;
    if (taken !== false) this.enter(target, op === JMP.JEQ ? learned : state);
    if (taken !== true) this.enter(insn + 1, op === JMP.JNE ? learned : state);
  }
}

/** What a call leaves of the registers. */
function clobber(state: State): void {
  for (let i = 0; i <= 5; i++) state[i] = null;
}

function same(a: Value, b: Value | null): boolean {
  if (b === null || typeof a === 'bigint' || typeof b === 'bigint') return a === b;
  return a.map === b.map && a.offset === b.offset;
}
