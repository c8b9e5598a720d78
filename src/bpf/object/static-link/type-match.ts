import type { Btf } from '../../../btf/btf.ts';
import { skipModifiersAndTypedefs } from '../../../btf/resolve.ts';
import { BTF_LINKAGE, type BtfComposite, type BtfForward, type BtfType } from '../../../btf/types.ts';

/** A type in one of the objects. */
export interface TypeRef {
  readonly btf: Btf;
  readonly id: number;
}

/** Real declarations need some hundred comparisons; a tree that a hostile BTF makes of its types could need any number. */
const maxSteps = 100_000;

/**
 * Why two declarations of one global symbol do not agree; null where they do. Behind a pointer only the shape counts: structs may
 * differ there, and a forward declaration stands for any.
 */
export function typeMismatch(a: TypeRef, b: TypeRef): string | null {
  const budget = { left: maxSteps };
  return mismatch(a, b, true, budget, 0);
}

function mismatch(a: TypeRef, b: TypeRef, exact: boolean, budget: { left: number }, depth: number): string | null {
  if (--budget.left < 0 || depth > 64) return 'the types nest too deeply to be compared';
  const first = a.btf.type(skipModifiersAndTypedefs(a.btf, a.id));
  const second = b.btf.type(skipModifiersAndTypedefs(b.btf, b.id));
  const deeper = (idA: number, idB: number, nextExact = exact): string | null =>
    mismatch({ btf: a.btf, id: idA }, { btf: b.btf, id: idB }, nextExact, budget, depth + 1);
  if (!exact && (first.kind === 'FWD') !== (second.kind === 'FWD')) {
    return first.kind === 'FWD' ? forwardMismatch(first, second) : forwardMismatch(second as BtfForward, first);
  }
  if (first.kind !== second.kind) return `${said(first)} is not ${said(second)}`;
  if (isNamed(first) && first.name !== second.name) return `${said(first)} is not ${said(second)}`;
  switch (first.kind) {
    case 'UNKN':
    case 'FWD':
      return null;
    case 'INT':
    case 'FLOAT':
    case 'ENUM':
    case 'ENUM64': {
      const other = second as typeof first;
      return first.size === other.size ? null : `${said(first)} has ${first.size} and ${other.size} bytes`;
    }
    case 'PTR':
      return deeper(first.typeId, (second as typeof first).typeId, false);
    case 'ARRAY':
      return deeper(first.typeId, (second as typeof first).typeId);
    case 'FUNC':
    case 'VAR': {
      const other = second as typeof first;
      if ((first.linkage === BTF_LINKAGE.STATIC) !== (other.linkage === BTF_LINKAGE.STATIC))
        return `${said(first)} is static in one object`;
      return deeper(first.typeId, other.typeId);
    }
    case 'STRUCT':
    case 'UNION':
      return exact ? memberMismatch(first, second as BtfComposite, deeper) : null;
    case 'FUNC_PROTO': {
      const other = second as typeof first;
      if (first.params.length !== other.params.length) return `it has ${first.params.length} and ${other.params.length} parameters`;
      for (const [i, param] of first.params.entries()) {
        const why = deeper(param.typeId, other.params[i]?.typeId ?? 0);
        if (why !== null) return why;
      }
      return deeper(first.returnTypeId, other.returnTypeId);
    }
    default:
      return `a ${first.kind} cannot be compared`;
  }
}

function memberMismatch(a: BtfComposite, b: BtfComposite, deeper: (a: number, b: number) => string | null): string | null {
  if (a.members.length !== b.members.length) return `${said(a)} has ${a.members.length} and ${b.members.length} members`;
  for (const [i, member] of a.members.entries()) {
    const other = b.members[i];
    if (other === undefined || member.name !== other.name) return `member ${i} of ${said(a)} is ${member.name} and ${other?.name}`;
    if (member.bitOffset !== other.bitOffset || member.bitSize !== other.bitSize)
      return `member ${member.name} of ${said(a)} is in two places`;
    const why = deeper(member.typeId, other.typeId);
    if (why !== null) return why;
  }
  return null;
}

function forwardMismatch(forward: BtfForward, whole: BtfType): string | null {
  return forward.name === whole.name && forward.target === whole.kind ? null : `${said(forward)} is not ${said(whole)}`;
}

function isNamed(type: BtfType): boolean {
  return ['STRUCT', 'UNION', 'ENUM', 'ENUM64', 'FWD', 'FUNC', 'VAR'].includes(type.kind);
}

function said(type: BtfType): string {
  return `${type.kind.toLowerCase()} ${type.name}`.trimEnd();
}
