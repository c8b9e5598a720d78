import type { LinkResult } from '../linked.ts';
import type { ObjectSpec, ProgramSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { type LinkOptions, LinkSession } from './session.ts';

/**
 * Links the programs of an object that load (or those given) for one kernel: subprograms joined, CO-RE applied, externs resolved.
 * One result a program; a program that fails does not stop the others. Also fills the .kconfig map's `data`.
 *
 * @example
 * import { linkObject, openObject, type TargetKernel } from 'rawbpf/object';
 * function failures(object: Uint8Array, target: TargetKernel) {
 *   return linkObject(openObject(object), target).flatMap((result) => (result.ok ? [] : [result.error.message]));
 * }
 */
export function linkObject(spec: ObjectSpec, target: TargetKernel, options: LinkOptions = {}): LinkResult[] {
  const session = new LinkSession(spec, target, options);
  applyKconfig(spec, session);
  return session.programs.map((program) => session.link(program));
}

/**
 * Links one program as if it were the only one to load, or as one of a session's.
 *
 * @example
 * import { linkProgram, openObject, type TargetKernel } from 'rawbpf/object';
 * function alone(object: Uint8Array, target: TargetKernel) {
 *   const spec = openObject(object);
 *   return spec.programs.map((program) => linkProgram(spec, program, target).ok);
 * }
 */
export function linkProgram(spec: ObjectSpec, program: ProgramSpec, target: TargetKernel, shared?: LinkSession): LinkResult {
  if (shared !== undefined) return shared.link(program);
  const session = new LinkSession(spec, target, { programs: [program] });
  applyKconfig(spec, session);
  return session.link(program);
}

function applyKconfig(spec: ObjectSpec, session: LinkSession): void {
  const map = spec.maps.find(({ origin }) => origin === 'kconfig');
  if (map !== undefined && session.kconfig !== null) map.data = session.kconfig;
}
