import type { BtfComposite, BtfEnum, BtfForward } from '../types.ts';
import { MAX_DEPTH, MAX_LEVEL, tooDeep } from './compat.ts';
import { essentialName } from './essential-name.ts';
import { BTF_INT } from '../types.ts';
import { type Budget, isEnum, type Types } from './types.ts';

function namesMatch(local: string, target: string): boolean {
  return target === '' ? local === '' : essentialName(local) === essentialName(target);
}

/**
 * Whether a local type "matches" a target type (bpf_core_type_matches): names and kinds alike, every local member and
 * enumerator to be found in the target; behind a pointer only name and kind count.
 */
export function typesMatch(
  local: Types,
  localId: number,
  target: Types,
  targetId: number,
  budget: Budget,
  insidePointer = false,
  level: number = MAX_LEVEL,
): boolean {
  if (level <= 0) throw tooDeep();
  let behindPointer = insidePointer;
  let aId = localId;
  let bId = targetId;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    budget.spend();
    const a = local.skip(aId).type;
    const b = target.skip(bId).type;
    if (!namesMatch(a.name, b.name)) return false;
    switch (a.kind) {
      case 'UNKN':
        return b.kind === 'UNKN';
      case 'FWD':
        if (b.kind === 'FWD') return a.target === b.target;
        return behindPointer && a.target === b.kind;
      case 'ENUM':
      case 'ENUM64':
        return isEnum(b) && enumsMatch(a, b, budget);
      case 'STRUCT':
      case 'UNION':
        if (b.kind !== a.kind) return behindPointer && forwardStandsFor(b.kind === 'FWD' ? b : null, a);
        return behindPointer || compositesMatch(local, a, target, b, budget, level);
      case 'INT':
        return b.kind === 'INT' && a.size === b.size && (a.encoding & BTF_INT.SIGNED) === (b.encoding & BTF_INT.SIGNED);
      case 'PTR':
        if (b.kind !== 'PTR') return false;
        behindPointer = true;
        aId = a.typeId;
        bId = b.typeId;
        break;
      case 'ARRAY':
        if (b.kind !== 'ARRAY' || a.count !== b.count) return false;
        aId = a.typeId;
        bId = b.typeId;
        break;
      case 'FUNC_PROTO':
        if (b.kind !== 'FUNC_PROTO' || a.params.length !== b.params.length) return false;
        for (const [i, param] of a.params.entries()) {
          const other = b.params[i];
          if (other === undefined) return false;
          if (!typesMatch(local, param.typeId, target, other.typeId, budget, behindPointer, level - 1)) return false;
        }
        aId = a.returnTypeId;
        bId = b.returnTypeId;
        break;
      default:
        return false;
    }
  }
  throw tooDeep();
}

function forwardStandsFor(forward: BtfForward | null, local: BtfComposite): boolean {
  return forward !== null && forward.target === local.kind;
}

function compositesMatch(local: Types, a: BtfComposite, target: Types, b: BtfComposite, budget: Budget, level: number): boolean {
  if (a.members.length > b.members.length) return false;
  return a.members.every((member) => {
    budget.spend(b.members.length);
    return b.members.some(
      (other) => namesMatch(member.name, other.name) && typesMatch(local, member.typeId, target, other.typeId, budget, false, level - 1),
    );
  });
}

/** Enumerators go by name, their values may differ; the size has to be the same. */
function enumsMatch(a: BtfEnum, b: BtfEnum, budget: Budget): boolean {
  if (a.size !== b.size || a.values.length > b.values.length) return false;
  budget.spend(a.values.length + b.values.length);
  const names = new Set(b.values.map((value) => essentialName(value.name)));
  return a.values.every((value) => names.has(essentialName(value.name)));
}
