import { CoreError } from '../../btf/core/error.ts';
import type { CoreResolution } from '../../btf/core/resolution.ts';
import type { ErrorPlace } from '../../error.ts';

/**
 * The helper number of an instruction that CO-RE made invalid (0xbad2310), the same as libbpf's: the verifier says
 * `invalid func unknown#195896080` where such an instruction can be reached.
 */
export const CORE_POISON = 195_896_080;

export interface PatchOptions {
  /** Byte order of the instructions; little unless said. */
  readonly littleEndian?: boolean;
  /** For error messages: program, section. */
  readonly where?: ErrorPlace;
}

/** What patching did to one instruction. */
export interface CorePatch {
  /** The field that took the value; `poison` where the instruction (both slots of an ldimm64) was made invalid. */
  readonly field: 'imm' | 'off' | 'imm64' | 'poison';
  /** The field's content before; for `poison` what it would have been compared with. */
  readonly before: bigint;
  readonly after: bigint;
}

const CLASS = { LD: 0, LDX: 1, ST: 2, STX: 3, ALU: 4, ALU64: 7 } as const;
const LDIMM64 = 0x18;
const JMP_CALL = 0x85;
const SOURCE_REGISTER = 0x08;
/** BPF_SIZE bits by bytes moved. */
const SIZE_BITS: ReadonlyMap<number, number> = new Map([
  [4, 0x00],
  [2, 0x08],
  [1, 0x10],
  [8, 0x18],
]);

/**
 * Writes a CO-RE resolution into the instruction at slot `insn` of `insns` (8-byte slots), in place: an ALU operation's
 * immediate, a load's or store's offset (and its width, where the field's differs), a 64-bit immediate, or poison.
 *
 * Throws {@link CoreError} E_CORE_INSN where the instruction is none that CO-RE can relocate, does not hold what the compiler must have
 * put there, or has no room for the value.
 *
 * @example
 * import { CoreResolver } from 'rawbpf/btf';
 * import { patchInsn } from 'rawbpf/insn';
 * declare const resolver: CoreResolver, insns: Uint8Array;
 * const relo = { insnOffset: 16, typeId: 7, access: '0:1', kind: 0 };
 * console.log(patchInsn(insns, relo.insnOffset / 8, resolver.resolve(relo)));
 */
export function patchInsn(insns: Uint8Array, insn: number, resolution: CoreResolution, options: PatchOptions = {}): CorePatch {
  const little = options.littleEndian ?? true;
  const slots = Math.floor(insns.length / 8);
  const view = new DataView(insns.buffer, insns.byteOffset, insns.byteLength);
  const fail = (why: string): never => {
    throw new CoreError({
      code: 'E_CORE_INSN',
      what: `cannot apply CO-RE relocation ${resolution.local}`,
      where: { ...options.where, insn },
      why,
    });
  };
  if (!Number.isSafeInteger(insn) || insn < 0 || insn >= slots) fail(`there are only ${slots} instructions`);
  const at = insn * 8;
  const code = view.getUint8(at);
  const offset = view.getInt16(at + 2, little);
  const imm = view.getInt32(at + 4, little);

  const poison = (before: bigint): CorePatch => {
    // A half of an ldimm64 left behind would be an unknown opcode, and hide the reason.
    const count = code === LDIMM64 && insn + 1 < slots ? 2 : 1;
    for (let i = 0; i < count; i++) {
      view.setUint8(at + i * 8, JMP_CALL);
      view.setUint8(at + i * 8 + 1, 0);
      view.setInt16(at + i * 8 + 2, 0, little);
      view.setInt32(at + i * 8 + 4, CORE_POISON, little);
    }
    return { field: 'poison', before, after: BigInt(CORE_POISON) };
  };
  const check = (found: bigint): void => {
    if (!resolution.validate || BigInt.asUintN(64, found) === resolution.original) return;
    fail(`it holds ${found} where the compiler must have put ${resolution.original} (to become ${resolution.value})`);
  };

  if (resolution.poison) return poison(resolution.original);
  switch (code & 7) {
    case CLASS.ALU:
    case CLASS.ALU64:
      if ((code & SOURCE_REGISTER) !== 0) fail('its operand is a register, not an immediate');
      check(BigInt(imm));
      view.setInt32(at + 4, Number(BigInt.asIntN(32, resolution.value)), little);
      return { field: 'imm', before: BigInt(imm), after: resolution.value };

    case CLASS.LDX:
    case CLASS.ST:
    case CLASS.STX:
      check(BigInt(offset));
      if (resolution.value > 0x7fffn) fail(`the offset ${resolution.value} does not fit in 16 bits`);
      if (resolution.failMemszAdjust) return poison(BigInt(offset));
      if (resolution.newSize !== resolution.originalSize) {
        const width = [...SIZE_BITS].find(([, bits]) => bits === (code & 0x18))?.[0];
        if (width !== resolution.originalSize) fail(`it moves ${width} bytes, the field has ${resolution.originalSize}`);
        const bits = SIZE_BITS.get(resolution.newSize) ?? fail(`no instruction moves ${resolution.newSize} bytes`);
        view.setUint8(at, (code & ~0x18) | bits);
      }
      view.setInt16(at + 2, Number(resolution.value), little);
      return { field: 'off', before: BigInt(offset), after: resolution.value };

    case CLASS.LD: {
      if (code !== LDIMM64 || insn + 1 >= slots) fail(`opcode 0x${code.toString(16)} takes no relocation`);
      const sourceRegister = little ? view.getUint8(at + 1) >> 4 : view.getUint8(at + 1) & 0xf;
      if (sourceRegister !== 0 || offset !== 0 || view.getUint32(at + 8, little) !== 0) fail('its 64-bit immediate is not a plain number');
      const wide = (BigInt(view.getUint32(at + 12, little)) << 32n) | BigInt(imm >>> 0);
      check(wide);
      view.setUint32(at + 4, Number(resolution.value & 0xffff_ffffn), little);
      view.setUint32(at + 12, Number(resolution.value >> 32n), little);
      return { field: 'imm64', before: wide, after: resolution.value };
    }
    default:
      return fail(`opcode 0x${code.toString(16)} takes no relocation`);
  }
}
