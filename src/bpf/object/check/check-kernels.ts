import type { LinkResult } from '../linked.ts';
import { LinkSession } from '../link/session.ts';
import type { ObjectSpec } from '../spec.ts';
import type { OfflineKernel } from './offline-kernel.ts';
import { programProblems } from './problems.ts';
import type { KernelsCell, KernelsReport, KernelsRow } from './report.ts';

/**
 * Links objects for kernels that are not running here, and tells which programs would break where, and for what reason:
 * CO-RE relocations that reachable code depends on, externs, helpers, map and program types, attach targets. The verifier's own judgement is not
 * foreseen.
 *
 * @example
 * import { checkKernels, offlineKernel, openObject } from 'rawbpf/object';
 * import { Btf } from 'rawbpf/btf';
 * function broken(object: Uint8Array, files: ReadonlyMap<string, Uint8Array>): string[] {
 *   const kernels = [...files].map(([name, bytes]) => offlineKernel(name, Btf.parse(bytes)));
 *   const { rows } = checkKernels([openObject(object)], kernels);
 *   return rows.flatMap(({ program, cells }) => cells.flatMap((cell, i) => (cell.verdict === 'ok' ? [] : [`${program} on ${kernels[i]?.name}`])));
 * }
 */
export function checkKernels(objects: readonly ObjectSpec[], kernels: readonly OfflineKernel[]): KernelsReport {
  const unchecked = new Set<string>();
  const rows = objects.flatMap((spec) => checkObject(spec, kernels, unchecked));
  return { kernels: kernels.map(({ name }) => name), rows, unchecked: [...unchecked] };
}

function checkObject(spec: ObjectSpec, kernels: readonly OfflineKernel[], unchecked: Set<string>): KernelsRow[] {
  const columns = kernels.map((kernel) => checkOn(spec, kernel, unchecked));
  return spec.programs.map((program, row) => ({
    object: spec.name,
    program: program.name,
    section: program.sectionName,
    autoload: program.autoload,
    cells: columns.map((cells) => cells[row] as KernelsCell),
  }));
}

/** A cell for each program of the object. */
function checkOn(object: ObjectSpec, kernel: OfflineKernel, unchecked: Set<string>): KernelsCell[] {
  const spec = withoutUnknownConfig(object, kernel, unchecked);
  for (const { kind, name } of spec.externs) if (kind === 'ksym') unchecked.add(`the kernel symbol ${name}`);
  // Programs that load together share what CO-RE finds; each of the others is looked at as if it loaded alone.
  const together = new LinkSession(spec, kernel.target);
  return spec.programs.map((program) => {
    const session = together.programs.includes(program) ? together : new LinkSession(spec, kernel.target, { programs: [program] });
    const result: LinkResult = session.link(program);
    const { problems, guarded } = programProblems(result, { spec, kernel, kconfig: session.kconfig });
    const breaks = problems.some((problem) => problem.verdict === 'breaks');
    return { verdict: breaks ? 'breaks' : problems.length > 0 ? 'may break' : 'ok', problems, guarded };
  });
}

/** Where no build configuration is at hand its options read as zero, and no code is taken for dead because of that. */
function withoutUnknownConfig(spec: ObjectSpec, kernel: OfflineKernel, unchecked: Set<string>): ObjectSpec {
  if (kernel.hasConfig) return spec;
  const externs = spec.externs.map((extern) => {
    if (extern.kind !== 'kconfig' || !extern.name.startsWith('CONFIG_')) return extern;
    unchecked.add(`${extern.name} of ${kernel.name}`);
    return { ...extern, weak: true };
  });
  return { ...spec, externs };
}
