import type { Collection } from '../bpf/collection/collection.ts';
import type { BpfProgram } from '../bpf/program/program.ts';
import { RawbpfError } from '../error.ts';

/** Times that the kernel did not run a program, so that what it would have told is missing. */
export interface MissedRuns {
  /** The program's function. */
  readonly program: string;
  readonly times: number;
}

/**
 * What the kernel skipped of the programs of a collection (recursion_misses of struct bpf_prog_info, include/uapi/linux/bpf.h): a
 * program that is running on a CPU is not run again on it by what interrupts it. Tracepoints by perf are stricter: no such program
 * runs within another one. Kernels count it since 5.12 for trampolines, 6.2 for raw tracepoints, 6.7 for perf events; before that
 * nothing is told.
 */
export function missedRuns(collection: Collection): readonly MissedRuns[] {
  return [...collection.programs.values()].flatMap((program) => {
    const times = missesOf(program);
    return times === 0 ? [] : [{ program: program.name, times }];
  });
}

/** A count that cannot be had is no reason for a run to fail. */
function missesOf(program: BpfProgram): number {
  try {
    return program.closed ? 0 : Number(program.info().recursionMisses);
  } catch (error) {
    if (!(error instanceof RawbpfError)) throw error;
    return 0;
  }
}

/** As a sentence: `2 times the kernel skipped ...`. */
export function missedRunsText({ program, times }: MissedRuns): string {
  return `${times === 1 ? 'once' : `${times} times`} the kernel skipped program ${program}, because it was running on that CPU already: what it would have told is lost`;
}
