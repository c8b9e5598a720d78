import { BPF_FUNC, BPF_PSEUDO, nameOf } from '../uapi/index.ts';
import { InsnSlots } from './insn.ts';
import { insnText } from './insn-text.ts';
import { BPF_CLASS, BPF_JMP_OP, BPF_OPCODE } from './opcodes.ts';

/** What {@link disassemble} may add to the bare instructions; all by slot. */
export interface DisassembleOptions {
  /** What an instruction refers to: the map, variable or function that a relocation names. */
  readonly symbols?: ReadonlyMap<number, string>;
  /** Source lines that begin at a slot. */
  readonly lines?: ReadonlyMap<number, string>;
  /** Functions that begin at a slot, for the targets of jumps and calls. */
  readonly functions?: ReadonlyMap<number, string>;
}

/** One disassembled instruction. */
export interface DisassembledInsn {
  readonly slot: number;
  /** 2 for 64-bit immediate loads. */
  readonly slots: 1 | 2;
  /** The instruction in the syntax of llvm-objdump. */
  readonly text: string;
  /** What it refers to: a symbol, a helper's name, the target of a jump; null where there is nothing to say. */
  readonly comment: string | null;
  /** The source line that begins here. */
  readonly line: string | null;
  /** The function that begins here. */
  readonly label: string | null;
}

/**
 * Disassembles little-endian slots in the syntax that LLVM's assembler reads and llvm-objdump prints; unknown ones read `<unknown>`.
 *
 * @example
 * import { asm, disassemble, encodeInsns } from 'rawbpf/insn';
 * const listing = disassemble(encodeInsns([...asm.movImm(0, 7), ...asm.call(14), ...asm.exit()]));
 * console.log(listing.map(({ text }) => text)); // [ 'r0 = 0x7', 'call 0xe', 'exit' ]
 * console.log(listing[1]?.comment); // bpf_get_current_pid_tgid
 */
export function disassemble(insns: Uint8Array, options: DisassembleOptions = {}): DisassembledInsn[] {
  const slots = new InsnSlots(insns);
  const listing: DisassembledInsn[] = [];
  for (let slot = 0; slot < slots.count;) {
    const wide = slots.code(slot) === BPF_OPCODE.LDIMM64 && slot + 1 < slots.count;
    listing.push({
      slot,
      slots: wide ? 2 : 1,
      text: insnText(slots, slot),
      comment: options.symbols?.get(slot) ?? ownComment(slots, slot, options),
      line: options.lines?.get(slot) ?? null,
      label: options.functions?.get(slot) ?? null,
    });
    slot += wide ? 2 : 1;
  }
  return listing;
}

function ownComment(slots: InsnSlots, slot: number, options: DisassembleOptions): string | null {
  const code = slots.code(slot);
  if (code === BPF_OPCODE.CALL) {
    switch (slots.src(slot)) {
      case 0:
        return helperName(slots.imm(slot));
      case BPF_PSEUDO.BPF_PSEUDO_CALL:
        return targetName(slot + 1 + slots.imm(slot), options);
      default:
        return null;
    }
  }
  if (code === BPF_OPCODE.LDIMM64 && slots.src(slot) === BPF_PSEUDO.BPF_PSEUDO_FUNC) return targetName(slot + 1 + slots.imm(slot), options);
  const jumpClass = code & 7;
  if (jumpClass !== BPF_CLASS.JMP && jumpClass !== BPF_CLASS.JMP32) return null;
  const operation = code & 0xf0;
  if (operation === BPF_JMP_OP.CALL || operation === BPF_JMP_OP.EXIT || code === BPF_OPCODE.JAX) return null;
  return targetName(slot + 1 + (code === BPF_OPCODE.JA32 ? slots.imm(slot) : slots.off(slot)), options);
}

function targetName(slot: number, options: DisassembleOptions): string {
  return options.functions?.get(slot) ?? `slot ${slot}`;
}

function helperName(id: number): string | null {
  const name = nameOf(BPF_FUNC, id);
  return name === null ? null : name.replace('BPF_FUNC_', 'bpf_');
}
