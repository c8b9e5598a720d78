import type { CodeSection, ObjectSpec } from './spec.ts';

/** The object with other code, by section index; its programs are taken from there. It is no longer what was compiled, so not strict. */
export function withCode(spec: ObjectSpec, code: ReadonlyMap<number, CodeSection>): ObjectSpec {
  const programs = spec.programs.map((program) => {
    const start = program.sectionInsn * 8;
    const insns = code.get(program.sectionIndex)?.insns.slice(start, start + program.insns.length);
    return insns === undefined ? program : { ...program, insns };
  });
  return { ...spec, programs, code, strict: false };
}

/** An index that no section of the object has. */
export function freeSectionIndex(spec: ObjectSpec): number {
  return Math.max(0, ...spec.code.keys(), ...spec.maps.map((map) => map.sectionIndex)) + 1;
}
