import { type ErrorPlace, RawbpfError } from '../../../error.ts';
import type { ProgramSpec } from '../spec.ts';

/** A program that cannot be made to fit a kernel. */
export class LinkError extends RawbpfError {}

/** Where an error of a program happened. */
export function placeOf(program: ProgramSpec, insn?: number): ErrorPlace {
  return { program: program.name, section: program.sectionName, ...(insn === undefined ? {} : { insn }) };
}
