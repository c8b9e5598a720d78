import { BPF_F } from '../uapi/index.ts';
import { type FunctionTable, isEntryPoint } from './functions.ts';
import { findSectionRule } from './section-rule.ts';
import type { ObjectSections } from './sections.ts';
import type { CodeSection, ProgramSpec } from './spec.ts';

/** How programs are read. */
export interface ProgramOptions {
  /** Refuse what libbpf refuses. */
  readonly strict: boolean;
  /** Take section names that libbpf does not know. */
  readonly laxSections: boolean;
}

/** The programs of an object: its entry points, in the order of sections and instructions. */
export function collectPrograms(
  sections: ObjectSections,
  functions: FunctionTable,
  code: ReadonlyMap<number, CodeSection>,
  options: ProgramOptions,
): ProgramSpec[] {
  const programs: ProgramSpec[] = [];
  for (const section of sections.code) {
    const insns = code.get(section.index)?.insns ?? new Uint8Array(0);
    const match = findSectionRule(section.name, { lax: options.laxSections });
    for (const symbol of functions.get(section.index) ?? []) {
      if (!isEntryPoint(symbol, section, sections.textIndex, options.strict)) continue;
      programs.push({
        name: symbol.name,
        sectionName: section.name,
        sectionIndex: section.index,
        sectionInsn: symbol.insn,
        insns: insns.subarray(symbol.insn * 8, (symbol.insn + symbol.insnCount) * 8),
        type: match?.rule.programType ?? 0,
        expectedAttachType: match?.rule.attachType ?? null,
        flags:
          (match?.rule.sleepable === true ? BPF_F.BPF_F_SLEEPABLE : 0) | (match?.rule.xdpFrags === true ? BPF_F.BPF_F_XDP_HAS_FRAGS : 0),
        attachTo: match?.attachTo ?? null,
        section: match?.rule ?? null,
        autoload: !section.name.startsWith('?'),
        autoattach: true,
      });
    }
  }
  return programs;
}
