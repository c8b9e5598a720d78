import { type RawbpfError, UnsupportedError } from '../error.ts';
import type { ProgramSpec } from '../bpf/object/spec.ts';
import type { Gadget } from './gadget.ts';

/**
 * Programs that do the same on different kernels: `alternativeOf: GROUP` in gadget.yaml. Of a group the first program, in the
 * object's order, that loads and attaches is used. A group whose name ends in `?` may have none: the gadget then goes on
 * without what these programs would have shown.
 */
export class Alternatives {
  readonly #gadget: Gadget;
  /** The program in use, by group. */
  readonly #chosen = new Map<string, string>();
  /** Why programs were not used, by group. */
  readonly #refused = new Map<string, RawbpfError[]>();

  constructor(gadget: Gadget) {
    this.#gadget = gadget;
    for (const group of new Set(gadget.metadata.alternatives.values())) this.#refused.set(group, []);
  }

  /** The program that makes this one superfluous; null where it is still needed. */
  chosenInsteadOf(program: string): string | null {
    const group = this.#groupOf(program);
    return group === null ? null : (this.#chosen.get(group) ?? null);
  }

  /** Whether a program may fail because it is one of a group; remembers why it did. */
  refuse(program: string, error: RawbpfError): boolean {
    const group = this.#groupOf(program);
    if (group === null) return false;
    this.#refused.get(group)?.push(error);
    return true;
  }

  choose(program: string): void {
    const group = this.#groupOf(program);
    if (group !== null) this.#chosen.set(group, program);
  }

  /** Throws UnsupportedError `E_GADGET_ATTACH` for a group of which no program can be used, unless it may have none. */
  check(skipUnsupported: boolean, notice: (message: string) => void): void {
    for (const [group, errors] of this.#refused) {
      if (this.#chosen.has(group) || errors.length === 0) continue;
      if (!skipUnsupported && !group.endsWith('?')) {
        throw new UnsupportedError({
          code: 'E_GADGET_ATTACH',
          what: `none of the alternatives ${group} of the gadget ${this.#gadget.name} can be used here`,
          why: errors.map(({ message }) => message).join('; '),
          next: '--skip-unsupported goes on without them',
        });
      }
      notice(`${group.replace(/\?$/, '')}: nothing is shown on this kernel (${errors.map(({ what }) => what).join('; ')})`);
    }
  }

  #groupOf(program: string): string | null {
    return this.#gadget.metadata.alternatives.get(program) ?? null;
  }
}

/** Whether gadget.yaml names a group that this program is one of. */
export function isAlternative(gadget: Gadget, program: ProgramSpec): boolean {
  return gadget.metadata.alternatives.has(program.name);
}
