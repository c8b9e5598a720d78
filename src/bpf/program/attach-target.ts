import { UsageError } from '../../error.ts';
import { suggest } from '../../bytes/suggest.ts';
import { openBtf } from '../map/open.ts';
import type { BpfProgram } from './program.ts';

/**
 * The BTF id of a function of a loaded program, in that program's own BTF: what a freplace program replaces, or a tracing
 * program traces. Throws E_ATTACH_TARGET with near names where it has none of this name.
 */
export function functionOfProgram(target: BpfProgram, name: string): number {
  const { btfId } = target.info();
  const btf = btfId === 0 ? null : openBtf(target.kernel, btfId);
  const where = { program: target.name, function: name };
  if (btf === null) {
    throw new UsageError({
      code: 'E_ATTACH_TARGET',
      what: 'the program to attach to has no BTF',
      where,
      next: 'compile it with clang -g',
    });
  }
  const found = btf.findByName(name, 'FUNC');
  if (found !== null) return found;
  const names = Array.from({ length: btf.typeCount - btf.firstId }, (_, i) => btf.firstId + i)
    .filter((id) => btf.type(id).kind === 'FUNC')
    .map((id) => btf.nameOf(id));
  const near = suggest(name, names);
  throw new UsageError({
    code: 'E_ATTACH_TARGET',
    what: 'the program to attach to has no such function',
    where,
    ...(near.length === 0 ? {} : { next: `did you mean ${near.join(' or ')}?` }),
  });
}
