import { STB, STV } from '../../elf/constants.ts';
import { encodeInsns, InsnSlots, type Insn } from '../insn/insn.ts';
import { BPF_OPCODE } from '../insn/opcodes.ts';
import type { CodeSection, FunctionSymbol, InsnRelocation, MapSpec, ObjectSpec } from './spec.ts';
import { freeSectionIndex, withCode } from './with-code.ts';

/** A function that is called in the place of a helper. */
export interface HelperWrapper {
  readonly helper: number;
  readonly name: string;
  readonly insns: readonly Insn[];
  /** Relocations of those, counted from the first of them. */
  readonly relocations?: readonly InsnRelocation[];
}

/** A section of wrappers, and the maps they use. */
export interface WrapperSection {
  readonly name: string;
  readonly wrappers: readonly HelperWrapper[];
  readonly maps?: readonly MapSpec[];
}

/**
 * Sends each call of a wrapped helper to its wrapper (BPF-to-BPF calls: Linux 4.16). The programs lose their func_info and
 * line_info: the kernel wants them of all functions, and these have no C. An object without such calls stays as it is.
 */
export function wrapHelpers(spec: ObjectSpec, { name, wrappers, maps = [] }: WrapperSection): ObjectSpec {
  const index = freeSectionIndex(spec);
  const section = sectionOf(index, name, wrappers);
  const code = new Map<number, CodeSection>();
  let calls = 0;
  for (const [key, original] of spec.code) {
    const redirected = redirectCalls(original, section, wrappers);
    if (redirected !== original) calls++;
    code.set(key, redirected);
  }
  if (calls === 0) return spec;
  code.set(index, section);
  return { ...withCode(spec, code), maps: [...spec.maps, ...maps] };
}

/** The section with its calls of wrapped helpers turned into calls of the wrappers; itself where it has none. */
function redirectCalls(section: CodeSection, target: CodeSection, wrappers: readonly HelperWrapper[]): CodeSection {
  const slots = new InsnSlots(section.insns.slice());
  const added: InsnRelocation[] = [];
  for (let insn = 0; insn < slots.count; insn++) {
    const code = slots.code(insn);
    // The second half of a wide load holds data.
    if (code === BPF_OPCODE.LDIMM64) insn++;
    if (code !== BPF_OPCODE.CALL || slots.src(insn) !== 0) continue;
    const fn = target.functions[wrappers.findIndex(({ helper }) => helper === slots.imm(insn))];
    if (fn === undefined) continue;
    slots.setSrc(insn, 1);
    slots.setImm(insn, -1);
    added.push({ insn, target: { kind: 'call', sectionIndex: target.index, offset: fn.insn * 8, symbol: fn.name } });
  }
  if (added.length === 0) return section;
  const relocations = [...section.relocations, ...added].toSorted((a, b) => a.insn - b.insn);
  return { ...section, insns: slots.bytes, relocations };
}

function sectionOf(index: number, name: string, wrappers: readonly HelperWrapper[]): CodeSection {
  const insns: Insn[] = [];
  const functions: FunctionSymbol[] = [];
  const all: InsnRelocation[] = [];
  for (const { name: symbol, insns: own, relocations = [] } of wrappers) {
    const start = insns.length;
    insns.push(...own);
    all.push(...relocations.map((relocation) => ({ ...relocation, insn: start + relocation.insn })));
    functions.push({ name: symbol, insn: start, insnCount: own.length, binding: STB.LOCAL, visibility: STV.DEFAULT });
  }
  return { index, name, insns: encodeInsns(insns), relocations: all, functions };
}
