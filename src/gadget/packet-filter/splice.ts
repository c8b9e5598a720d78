import { STB, STV } from '../../elf/constants.ts';
import { asm } from '../../bpf/insn/asm.ts';
import { encodeInsns } from '../../bpf/insn/insn.ts';
import type { CodeSection, FunctionSymbol, ObjectSpec } from '../../bpf/object/spec.ts';
import { freeSectionIndex, withCode } from '../../bpf/object/with-code.ts';
import { printable } from '../../bytes/printable.ts';
import { FormatError } from '../../error.ts';
import { compilePacketFilter } from './compile.ts';

/** Functions of GADGET_PF() of include/gadget/packetfilter.h begin so; the rest is the filter's name, which may be empty. */
const prefix = 'gadget_pf_';
const sectionName = '.rawbpf.pf';

/** The functions of an object that take packet filters, by the flags that set them: `pf`, or `pf-NAME`. */
export function packetFilterFunctions(spec: ObjectSpec): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { functions } of spec.code.values()) {
    for (const { name } of functions) {
      if (!name.startsWith(prefix)) continue;
      const own = name.slice(prefix.length);
      found.set(own === '' ? 'pf' : `pf-${own}`, name);
    }
  }
  return found;
}

/**
 * Makes functions of GADGET_PF() ask compiled filters: each goes on as it is declared, calls its filter and returns the answer.
 * `filters` are expressions by the names of the functions. The programs lose their func_info and line_info, as filters have no C.
 *
 * Throws UsageError `E_PACKET_FILTER`, and FormatError `E_PACKET_FILTER_FUNCTION` where a function is too short to call another.
 */
export function splicePacketFilters(spec: ObjectSpec, filters: ReadonlyMap<string, string>): ObjectSpec {
  if (filters.size === 0) return spec;
  const added = filterSection(freeSectionIndex(spec), filters);
  const code = new Map([...spec.code].map(([index, section]) => [index, redirect(section, added)]));
  code.set(added.index, added);
  return withCode(spec, code);
}

function filterSection(index: number, filters: ReadonlyMap<string, string>): CodeSection {
  const functions: FunctionSymbol[] = [];
  const parts: Uint8Array[] = [];
  let insn = 0;
  for (const [name, expression] of filters) {
    const part = compilePacketFilter(expression);
    const insnCount = part.length / 8;
    functions.push({ name, insn, insnCount, binding: STB.LOCAL, visibility: STV.DEFAULT });
    parts.push(part);
    insn += insnCount;
  }
  const insns = new Uint8Array(insn * 8);
  for (const [i, part] of parts.entries()) insns.set(part, (functions[i] as FunctionSymbol).insn * 8);
  return { index, name: sectionName, insns, relocations: [], functions };
}

/** The section with the bodies of its filter functions replaced; itself where it has none. */
function redirect(section: CodeSection, filters: CodeSection): CodeSection {
  const targets = section.functions.flatMap((at) => {
    const to = filters.functions.find(({ name }) => name === at.name);
    return to === undefined ? [] : [{ at, to }];
  });
  if (targets.length === 0) return section;
  const insns = section.insns.slice();
  let relocations = section.relocations;
  for (const { at, to } of targets) {
    if (at.insnCount < 2) {
      throw new FormatError({
        code: 'E_PACKET_FILTER_FUNCTION',
        what: 'a packet filter cannot be put into its function',
        where: { section: section.name, symbol: printable(at.name) },
        why: 'it is too short',
        next: 'declare it by GADGET_PF()',
      });
    }
    // No instruction may be out of reach, so what is left over leads to the next one.
    const call = at.insn + at.insnCount - 2;
    const filler = Array.from({ length: at.insnCount - 2 }, () => asm.jump(0)).flat();
    insns.set(encodeInsns([...filler, ...asm.callSubprogram(-1), ...asm.exit()]), at.insn * 8);
    relocations = [
      ...relocations.filter(({ insn }) => insn < at.insn || insn >= at.insn + at.insnCount),
      { insn: call, target: { kind: 'call' as const, sectionIndex: filters.index, offset: to.insn * 8, symbol: to.name } },
    ].toSorted((a, b) => a.insn - b.insn);
  }
  return { ...section, insns, relocations };
}
