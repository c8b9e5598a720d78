import { FormatError } from '../../error.ts';
import { BPF_PSEUDO } from '../uapi/flags.gen.ts';
import { BPF_INSN_SIZE, BPF_OPCODE } from './opcodes.ts';

/** One 8-byte slot: struct bpf_insn. A 64-bit immediate load takes two, the second with nothing but `imm`. */
export interface Insn {
  readonly code: number;
  readonly dst: number;
  readonly src: number;
  /** Signed 16 bits. */
  readonly off: number;
  /** Signed 32 bits. */
  readonly imm: number;
}

/**
 * Reads and patches instructions in place: little-endian slots of `bytes`, by index.
 *
 * @example
 * import { InsnSlots } from 'rawbpf/insn';
 * const slots = new InsnSlots(Uint8Array.of(0xb7, 0, 0, 0, 7, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0));
 * console.log(slots.count, slots.imm(0)); // 2 7
 */
export class InsnSlots {
  readonly bytes: Uint8Array;
  readonly count: number;
  readonly #view: DataView;

  constructor(bytes: Uint8Array) {
    if (bytes.length % BPF_INSN_SIZE !== 0) throw lengthError(bytes.length);
    this.bytes = bytes;
    this.count = bytes.length / BPF_INSN_SIZE;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  code(index: number): number {
    return this.#view.getUint8(index * 8);
  }

  dst(index: number): number {
    return this.#view.getUint8(index * 8 + 1) & 0xf;
  }

  src(index: number): number {
    return this.#view.getUint8(index * 8 + 1) >> 4;
  }

  off(index: number): number {
    return this.#view.getInt16(index * 8 + 2, true);
  }

  imm(index: number): number {
    return this.#view.getInt32(index * 8 + 4, true);
  }

  setCode(index: number, code: number): void {
    this.#view.setUint8(index * 8, code);
  }

  setDst(index: number, dst: number): void {
    this.#view.setUint8(index * 8 + 1, (dst & 0xf) | (this.src(index) << 4));
  }

  setSrc(index: number, src: number): void {
    this.#view.setUint8(index * 8 + 1, ((src & 0xf) << 4) | this.dst(index));
  }

  setOff(index: number, off: number): void {
    this.#view.setInt16(index * 8 + 2, off, true);
  }

  setImm(index: number, imm: number): void {
    this.#view.setInt32(index * 8 + 4, imm, true);
  }

  get(index: number): Insn {
    return { code: this.code(index), dst: this.dst(index), src: this.src(index), off: this.off(index), imm: this.imm(index) };
  }

  set(index: number, insn: Insn): void {
    this.#view.setUint8(index * 8, insn.code);
    this.#view.setUint8(index * 8 + 1, (insn.dst & 0xf) | ((insn.src & 0xf) << 4));
    this.setOff(index, insn.off);
    this.setImm(index, insn.imm);
  }
}

/**
 * Decodes instructions into one {@link Insn} a slot; throws FormatError E_INSN_LENGTH where the length is no multiple of 8.
 *
 * @example
 * import { decodeInsns } from 'rawbpf/insn';
 * console.log(decodeInsns(Uint8Array.of(0x95, 0, 0, 0, 0, 0, 0, 0))[0]?.code); // 149
 */
export function decodeInsns(bytes: Uint8Array, littleEndian = true): Insn[] {
  const slots = new InsnSlots(littleEndian ? bytes : swapInsns(bytes));
  return Array.from({ length: slots.count }, (_, i) => slots.get(i));
}

/**
 * Encodes slots, little-endian unless said.
 *
 * @example
 * import { asm, encodeInsns } from 'rawbpf/insn';
 * console.log(encodeInsns([...asm.movImm(0, 1), ...asm.exit()]).length); // 16
 */
export function encodeInsns(insns: readonly Insn[], littleEndian = true): Uint8Array {
  const slots = new InsnSlots(new Uint8Array(insns.length * BPF_INSN_SIZE));
  insns.forEach((insn, i) => slots.set(i, insn));
  return littleEndian ? slots.bytes : swapInsns(slots.bytes);
}

/** A copy of instructions in the other byte order: the register nibbles, `off` and `imm` are swapped. */
export function swapInsns(bytes: Uint8Array): Uint8Array {
  if (bytes.length % BPF_INSN_SIZE !== 0) throw lengthError(bytes.length);
  const swapped = new Uint8Array(bytes.length);
  const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const to = new DataView(swapped.buffer);
  for (let at = 0; at < bytes.length; at += BPF_INSN_SIZE) {
    const regs = from.getUint8(at + 1);
    to.setUint8(at, from.getUint8(at));
    to.setUint8(at + 1, ((regs & 0xf) << 4) | (regs >> 4));
    to.setUint16(at + 2, from.getUint16(at + 2, false), true);
    to.setUint32(at + 4, from.getUint32(at + 4, false), true);
  }
  return swapped;
}

function lengthError(length: number): FormatError {
  return new FormatError({ code: 'E_INSN_LENGTH', what: 'malformed BPF instructions', why: `${length} bytes are no multiple of 8` });
}

/** A copy of instructions whose file descriptors (of maps and of BTF) are zero: what is the same for every load. */
export function withoutFds(bytes: Uint8Array): Uint8Array {
  const slots = new InsnSlots(bytes.slice());
  for (let slot = 0; slot + 1 < slots.count; slot++) {
    if (slots.code(slot) !== BPF_OPCODE.LDIMM64) continue;
    const kind = slots.src(slot);
    if (kind === BPF_PSEUDO.BPF_PSEUDO_MAP_FD || kind === BPF_PSEUDO.BPF_PSEUDO_MAP_VALUE) slots.setImm(slot, 0);
    else if (kind === BPF_PSEUDO.BPF_PSEUDO_BTF_ID) slots.setImm(slot + 1, 0);
    slot++;
  }
  return slots.bytes;
}
