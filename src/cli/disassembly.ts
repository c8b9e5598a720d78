import { disassemble } from '../bpf/insn/index.ts';
import type { InsnRelocation, ObjectSpec, ProgramSpec } from '../bpf/object/index.ts';
import { coreKindName } from '../btf/core/kinds.ts';
import { formatSpec, parseSpec } from '../btf/core/spec.ts';
import { Types } from '../btf/core/types.ts';
import { linesOf } from '../btf/index.ts';
import { printable } from '../bytes/printable.ts';

/** A program's own instructions as text: C lines above the instructions they became, maps and fields beside them. */
export function programText(spec: ObjectSpec, program: ProgramSpec): string {
  const notes = notesOf(spec, program);
  const lines = new Map<number, string>();
  if (spec.btf !== null && spec.btfExt !== null) {
    for (const line of linesOf(spec.btfExt, spec.btf, program.sectionName)) {
      lines.set(line.insnOffset / 8 - program.sectionInsn, `${line.file.split('/').at(-1) ?? ''}:${line.line}: ${line.text.trim()}`);
    }
  }
  const functions = new Map(
    (spec.code.get(program.sectionIndex)?.functions ?? []).map((each) => [each.insn - program.sectionInsn, each.name]),
  );
  return disassemble(program.insns, { symbols: notes, lines, functions })
    .map(({ slot, text, comment, line }) => {
      const source = line === null ? '' : `; ${printable(line)}\n`;
      return `${source}${String(slot).padStart(6)}:  ${text}${comment === null ? '' : `    <${printable(comment)}>`}\n`;
    })
    .join('');
}

/** What instructions refer to, by slot in the program. */
function notesOf(spec: ObjectSpec, program: ProgramSpec): Map<number, string> {
  const notes = new Map<number, string>();
  for (const relocation of spec.code.get(program.sectionIndex)?.relocations ?? [])
    notes.set(relocation.insn - program.sectionInsn, noteOf(relocation));
  if (spec.btf !== null) {
    for (const { sectionName, relos } of spec.btfExt?.coreRelos ?? []) {
      if (sectionName !== program.sectionName) continue;
      for (const relo of relos) {
        notes.set(
          relo.insnOffset / 8 - program.sectionInsn,
          `${coreKindName(relo.kind)} ${formatSpec(parseSpec(Types.of(spec.btf), relo))}`,
        );
      }
    }
  }
  return notes;
}

function noteOf({ target }: InsnRelocation): string {
  if (target.kind === 'map') return `map ${target.map}`;
  if (target.kind === 'map_value') return `${target.map}+${target.offset}`;
  if (target.kind === 'call' || target.kind === 'func') return target.symbol;
  if (target.kind === 'extern_var' || target.kind === 'extern_call') return target.extern;
  return target.kind;
}
