import { UnsupportedError } from '../../error.ts';
import { asm, type AccessSize, type Register } from '../insn/asm.ts';
import { encodeInsns, type Insn } from '../insn/insn.ts';
import { BPF_OPCODE } from '../insn/opcodes.ts';
import { BPF_PSEUDO } from '../uapi/flags.gen.ts';
import { BPF_CMD } from '../uapi/cmd.gen.ts';
import { BPF_FUNC } from '../uapi/func.gen.ts';

/** r6 holds the context all the time, r7 what the last call gave. */
const CONTEXT: Register = 6;
const RESULT: Register = 7;

/** Instructions of a loader program, made step by step. What fails goes to the clean-up at its start. */
export class LoaderCode {
  readonly #insns: Insn[] = [];
  #cleanup = 0;

  get length(): number {
    return this.#insns.length;
  }

  /** Before anything else: the context is kept, and the clean-up closes every descriptor in it. */
  begin(fdSlots: readonly number[]): void {
    this.#emit(asm.movReg(CONTEXT, 1));
    const jump = this.#insns.length;
    this.#emit(asm.jump(0));
    this.#cleanup = this.#insns.length;
    for (const slot of fdSlots) this.closeFd(slot);
    this.#emit(asm.movReg(0, RESULT), asm.exit());
    this.#patch(jump, this.#insns.length - jump - 1);
  }

  end(): void {
    this.#emit(asm.movImm(0, 0), asm.exit());
  }

  /** Goes on only where the map's contents have the hash that its kernel object says; gives the slots of the four words to compare with. */
  checkHash(): number[] {
    const words: number[] = [];
    for (let i = 0; i < 4; i++) {
      // struct bpf_map begins with the hash (u8 sha[32]).
      this.#emit(this.#wide(1, BPF_PSEUDO.BPF_PSEUDO_MAP_IDX, 0, 0), asm.load('DW', 2, 1, i * 8));
      words.push(this.#insns.length);
      this.#emit(asm.ldimm64(3, 0n), asm.movImm(RESULT, -22));
      this.#fail('JNE', 2, 3);
    }
    return words;
  }

  /** bpf(2) with an attribute of the blob; the result is in r0 and r7. */
  sys(command: keyof typeof BPF_CMD, attr: { readonly at: number; readonly size: number }): void {
    this.#emit(asm.movImm(1, BPF_CMD[command]), this.#blob(2, attr.at), asm.movImm(3, attr.size), asm.call(BPF_FUNC.BPF_FUNC_sys_bpf));
    this.#emit(asm.movReg(RESULT, 0));
    this.#failIfNegative();
  }

  /** Keeps the descriptor that the last call gave in the context, and writes it into the blob. */
  keepFd(slot: number, blobOffsets: readonly number[]): void {
    this.#emit(asm.store('W', CONTEXT, slot, RESULT));
    for (const at of blobOffsets) this.#emit(this.#blob(1, at), asm.store('W', 1, 0, RESULT));
  }

  /** Copies a word of the context into the blob. */
  fromContext(slot: number, at: number, size: AccessSize = 'W'): void {
    this.#emit(asm.load(size, 0, CONTEXT, slot), this.#blob(1, at), asm.store(size, 1, 0, 0));
  }

  /** Writes the address of one place of the blob to another. */
  pointer(at: number, target: number): void {
    this.#emit(this.#blob(1, at), this.#blob(2, target), asm.store('DW', 1, 0, 2));
  }

  closeFd(slot: number): void {
    this.#emit(asm.load('W', 1, CONTEXT, slot), asm.jumpImm('JSLE', 1, 0, 3));
    // Before Linux 6.3 the verifier lets registers alone be stored into a context.
    this.#emit(asm.movImm(2, 0), asm.store('W', CONTEXT, slot, 2), asm.call(BPF_FUNC.BPF_FUNC_sys_close));
  }

  /** Looks a type of the kernel up: the id is in the low half of r7, a module's BTF descriptor in the high half; negative for none. */
  findType(nameAt: number, nameSize: number, kind: number): void {
    this.#emit(this.#blob(1, nameAt), asm.movImm(2, nameSize), asm.movImm(3, kind), asm.movImm(4, 0));
    this.#emit(asm.call(BPF_FUNC.BPF_FUNC_btf_find_by_name_kind), asm.movReg(RESULT, 0));
  }

  /** Looks the address of a kernel symbol up into r7, which is negative for none: then r0 is. */
  findSymbol(nameAt: number, nameSize: number): void {
    this.#emit(this.#blob(1, nameAt), asm.movImm(2, nameSize), asm.movImm(3, 0), asm.storeImm('DW', 10, -8, 0));
    this.#emit(asm.movReg(4, 10), asm.aluImm('ADD', 4, -8), asm.call(BPF_FUNC.BPF_FUNC_kallsyms_lookup_name));
    this.#emit(asm.movReg(RESULT, 0));
  }

  failIfNegative(): void {
    this.#failIfNegative();
  }

  /** Runs `then` only where r7 is not negative, `otherwise` only where it is. */
  ifFound(then: () => void, otherwise: () => void): void {
    const branch = this.#insns.length;
    this.#emit(asm.jumpImm('JSLT', RESULT, 0, 0));
    then();
    const over = this.#insns.length;
    this.#emit(asm.jump(0));
    this.#patch(branch, this.#insns.length - branch - 1);
    otherwise();
    this.#patch(over, this.#insns.length - over - 1);
  }

  /** Runs `then` only where the high half of r7 is not zero; r3 holds it. */
  ifModule(then: () => void): void {
    this.#emit(asm.movReg(3, RESULT), asm.aluImm('RSH', 3, 32));
    const branch = this.#insns.length;
    this.#emit(asm.jumpImm('JEQ', 3, 0, 0));
    then();
    this.#patch(branch, this.#insns.length - branch - 1);
  }

  /** Writes the low half of r7. */
  storeId(at: number): void {
    this.#emit(this.#blob(1, at), asm.store('W', 1, 0, RESULT));
  }

  /** Writes r3, the descriptor of a module's BTF, to the blob; or to the context. */
  storeModule(at: number): void {
    this.#emit(this.#blob(1, at), asm.store('W', 1, 0, 3));
  }

  keepModule(slot: number): void {
    this.#emit(asm.store('W', CONTEXT, slot, 3));
  }

  /** Writes the address that findSymbol found into the two halves of a wide instruction. */
  storeAddress(low: number, high: number): void {
    this.#emit(asm.load('DW', 3, 10, -8), this.#blob(1, low), asm.store('W', 1, 0, 3));
    this.#emit(asm.aluImm('RSH', 3, 32), this.#blob(1, high), asm.store('W', 1, 0, 3));
  }

  storeImm(size: AccessSize, at: number, value: number): void {
    this.#emit(this.#blob(1, at), asm.storeImm(size, 1, 0, value));
  }

  encode(): Uint8Array {
    return encodeInsns(this.#insns);
  }

  #failIfNegative(): void {
    const off = this.#cleanup - this.#insns.length - 1;
    this.#emit(asm.jumpImm('JSLT', RESULT, 0, this.#checked(off)));
  }

  #fail(op: 'JNE', left: Register, right: Register): void {
    const off = this.#cleanup - this.#insns.length - 1;
    this.#emit(asm.jumpReg(op, left, right, this.#checked(off)));
  }

  #blob(dst: Register, offset: number): Insn[] {
    return this.#wide(dst, BPF_PSEUDO.BPF_PSEUDO_MAP_IDX_VALUE, 0, offset);
  }

  #wide(dst: Register, src: number, low: number, high: number): Insn[] {
    return [
      { code: BPF_OPCODE.LDIMM64, dst, src, off: 0, imm: low },
      { code: 0, dst: 0, src: 0, off: 0, imm: high },
    ];
  }

  #emit(...parts: readonly Insn[][]): void {
    for (const part of parts) this.#insns.push(...part);
  }

  #patch(at: number, off: number): void {
    this.#insns[at] = { ...(this.#insns[at] as Insn), off: this.#checked(off) };
  }

  #checked(off: number): number {
    if (off >= -0x8000 && off <= 0x7fff) return off;
    throw new UnsupportedError({
      code: 'E_LOADER_SIZE',
      what: 'the object is too large for a loader program',
      why: 'a jump of it would have more than 16 bits',
      next: 'leave programs out that are not needed',
    });
  }
}
