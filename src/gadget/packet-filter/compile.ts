import { asm, type JumpOp, type Register } from '../../bpf/insn/asm.ts';
import { encodeInsns, type Insn } from '../../bpf/insn/insn.ts';
import { BPF_FUNC } from '../../bpf/uapi/index.ts';
import type { ArithmeticOp, Condition, Metadata, Relation, Value } from './condition.ts';
import { filterError } from './filter-error.ts';
import { parsePacketFilter } from './parser.ts';

/** A place in the code that is known later. */
interface Label {
  at: number;
  readonly jumps: number[];
}

/** Offsets in struct __sk_buff (include/uapi/linux/bpf.h). */
const skb = { len: 0, vlan_present: 20, vlan_tci: 24 } as const;
const context: Register = 6;
/** 0 where the kernel keeps the outer VLAN tag beside the packet, 4 where it is in the frame. */
const vlanShift: Register = 7;
/** Where bytes of the packet are copied to. */
const buffer = -8;
/** Numbers that wait for their right side lie below: a subprogram shares its 512 bytes of stack with its callers. */
const maxWaiting = 8;
const inverse: Readonly<Record<Relation, Relation>> = { JEQ: 'JNE', JNE: 'JEQ', JGT: 'JLE', JLE: 'JGT', JGE: 'JLT', JLT: 'JGE' };
/** Expression that no packet matches, as Inspektor Gadget knows it. */
const rejectAll = '__reject_all__';

/**
 * Compiles an expression of pcap-filter(7) into a BPF function that takes a `struct __sk_buff *` and returns 1 for a packet that
 * matches, else 0. It reads Ethernet frames by bpf_skb_load_bytes() (Linux 4.5); a packet that ends before what is asked of
 * it does not match. `ip broadcast`, names of hosts and link types other than Ethernet are refused.
 *
 * Throws UsageError `E_PACKET_FILTER` that points to what cannot be understood.
 *
 * @example
 * import { compilePacketFilter } from 'rawbpf';
 * console.log(compilePacketFilter('tcp port 443 or (udp and not src net 10.0.0.0/8)').length % 8); // 0
 */
export function compilePacketFilter(expression: string): Uint8Array {
  if (expression.trim() === '') return encodeInsns([...asm.movImm(0, 1), ...asm.exit()]);
  if (expression.trim() === rejectAll) return encodeInsns([...asm.movImm(0, 0), ...asm.exit()]);
  return new Compiler(expression).compile(parsePacketFilter(expression));
}

class Compiler {
  readonly #expression: string;
  readonly #insns: Insn[] = [];
  readonly #matches: Label = { at: -1, jumps: [] };
  readonly #fails: Label = { at: -1, jumps: [] };
  #waiting = 0;

  constructor(expression: string) {
    this.#expression = expression;
  }

  compile(condition: Condition): Uint8Array {
    this.#emit(asm.movReg(context, 1));
    this.#emit(asm.load('W', vlanShift, context, skb.vlan_present));
    this.#emit(asm.jumpImm('JEQ', vlanShift, 0, 2));
    this.#emit(asm.movImm(vlanShift, 0));
    this.#emit(asm.jump(1));
    this.#emit(asm.movImm(vlanShift, 4));
    this.#test(condition, this.#matches, this.#fails, this.#matches);
    this.#place(this.#matches);
    this.#emit(asm.movImm(0, 1));
    this.#emit(asm.exit());
    this.#place(this.#fails);
    this.#emit(asm.movImm(0, 0));
    this.#emit(asm.exit());
    for (const label of [this.#matches, this.#fails]) this.#resolve(label);
    return encodeInsns(this.#insns);
  }

  #emit(insns: readonly Insn[]): void {
    this.#insns.push(...insns);
  }

  #jump(label: Label, insns: readonly Insn[]): void {
    label.jumps.push(this.#insns.length);
    this.#emit(insns);
  }

  #place(label: Label): void {
    label.at = this.#insns.length;
  }

  #resolve({ at, jumps }: Label): void {
    for (const jump of jumps) {
      const off = at - jump - 1;
      if (off > 0x7fff) throw filterError(this.#expression, 0, 'it is too long for a BPF program');
      this.#insns[jump] = { ...(this.#insns[jump] as Insn), off };
    }
  }

  /** Goes to `yes` or `no`; `next` is the one whose code follows. */
  #test(condition: Condition, yes: Label, no: Label, next: Label): void {
    if (condition.kind === 'not') return this.#test(condition.of, no, yes, next);
    if (condition.kind === 'compare') return this.#compare(condition.relation, condition.left, condition.right, yes, no, next);
    const second: Label = { at: -1, jumps: [] };
    if (condition.kind === 'and') this.#test(condition.left, second, no, second);
    else this.#test(condition.left, yes, second, second);
    this.#place(second);
    this.#resolve(second);
    return this.#test(condition.right, yes, no, next);
  }

  #compare(relation: Relation, left: Value, right: Value, yes: Label, no: Label, next: Label): void {
    this.#pair(left, right);
    const jumpTo = (label: Label, op: JumpOp): void => this.#jump(label, asm.jumpReg(op, 0, 2, 0));
    if (next === yes) jumpTo(no, inverse[relation]);
    else {
      jumpTo(yes, relation);
      if (next !== no) this.#jump(no, asm.jump(0));
    }
  }

  /** Puts `left` into r0 and `right` into r2, both with zeros in their upper halves. */
  #pair(left: Value, right: Value): void {
    if (right.kind === 'number') {
      this.#value(left);
      this.#emit(asm.alu32Imm('MOV', 2, right.value | 0));
      return;
    }
    this.#value(left);
    const slot = buffer - 8 * ++this.#waiting;
    if (this.#waiting > maxWaiting) throw filterError(this.#expression, 0, 'its arithmetic is nested too deeply');
    this.#emit(asm.store('DW', 10, slot, 0));
    this.#value(right);
    this.#emit(asm.movReg(2, 0));
    this.#emit(asm.load('DW', 0, 10, slot));
    this.#waiting--;
  }

  /** Puts a value into r0. */
  #value(value: Value): void {
    switch (value.kind) {
      case 'number':
        return this.#emit(asm.alu32Imm('MOV', 0, value.value | 0));
      case 'metadata':
        return this.#metadata(value.name);
      case 'load':
        return this.#load(value.at, value.size);
      case 'binary':
        this.#pair(value.left, value.right);
        return this.#operate(value.op);
    }
  }

  #metadata(name: Metadata): void {
    if (name === 'vlan_shift') this.#emit(asm.movReg(0, vlanShift));
    else this.#emit(asm.load('W', 0, context, skb[name]));
  }

  #load(at: Value, size: 1 | 2 | 4): void {
    this.#value(at);
    this.#emit(asm.movReg(2, 0));
    this.#emit(asm.movReg(1, context));
    this.#emit(asm.movReg(3, 10));
    this.#emit(asm.aluImm('ADD', 3, buffer));
    this.#emit(asm.movImm(4, size));
    this.#emit(asm.call(BPF_FUNC.BPF_FUNC_skb_load_bytes));
    this.#jump(this.#fails, asm.jumpImm('JNE', 0, 0, 0));
    this.#emit(asm.load(({ 1: 'B', 2: 'H', 4: 'W' } as const)[size], 0, 10, buffer));
    if (size !== 1) this.#emit(asm.toBigEndian(0, size === 2 ? 16 : 32));
  }

  #operate(op: ArithmeticOp): void {
    // As the classic machine has it: to divide by nothing is no match, to shift everything out leaves nothing.
    if (op === 'DIV' || op === 'MOD') this.#jump(this.#fails, asm.jumpImm('JEQ', 2, 0, 0));
    if (op === 'LSH' || op === 'RSH') {
      this.#emit(asm.jumpImm('JLE', 2, 31, 2));
      this.#emit(asm.movImm(0, 0));
      this.#emit(asm.movImm(2, 0));
    }
    this.#emit(asm.alu32Reg(op, 0, 2));
  }
}
