import { CoreError } from './error.ts';
import { essentialName } from './essential-name.ts';
import { type Budget, isComposite, kindsCompatible, type Types } from './types.ts';

/** Both limits are libbpf's: levels of function prototypes, and of pointers and arrays within one. */
export const MAX_LEVEL = 32;
export const MAX_DEPTH = 32;

/**
 * Whether a field of the target may stand for one of the object: structs and unions mix, pointers and floats and plain
 * integers are all alike, enums and forward declarations go by name, arrays by their elements.
 */
export function fieldsAreCompatible(local: Types, localId: number, target: Types, targetId: number): boolean {
  let a = local.skip(localId);
  let b = target.skip(targetId);
  for (let depth = 0; depth < 512; depth++) {
    if (isComposite(a.type) && isComposite(b.type)) return true;
    if (!kindsCompatible(a.type, b.type)) return false;
    switch (a.type.kind) {
      case 'PTR':
      case 'FLOAT':
        return true;
      case 'FWD':
      case 'ENUM':
      case 'ENUM64': {
        const name = essentialName(a.type.name);
        const other = essentialName(b.type.name);
        return name === '' || other === '' || name === other;
      }
      case 'INT':
        // Integers with a bit offset are bitfields of before kind_flag: their value cannot be read as an integer.
        return a.type.bitOffset === 0 && b.type.kind === 'INT' && b.type.bitOffset === 0;
      case 'ARRAY':
        if (b.type.kind !== 'ARRAY') return false;
        a = local.skip(a.type.typeId);
        b = target.skip(b.type.typeId);
        break;
      default:
        return false;
    }
  }
  throw tooDeep();
}

/** Whether two types of one name are the same kind of thing all the way down: for type_exists, type_size, target_type_id. */
export function typesAreCompatible(
  local: Types,
  localId: number,
  target: Types,
  targetId: number,
  budget: Budget,
  level: number = MAX_LEVEL,
): boolean {
  if (!kindsCompatible(local.type(localId), target.type(targetId))) return false;
  let aId = localId;
  let bId = targetId;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    budget.spend();
    const a = local.skip(aId).type;
    const b = target.skip(bId).type;
    if (!kindsCompatible(a, b)) return false;
    switch (a.kind) {
      case 'UNKN':
      case 'STRUCT':
      case 'UNION':
      case 'ENUM':
      case 'ENUM64':
      case 'FWD':
        return true;
      case 'INT':
        return a.bitOffset === 0 && b.kind === 'INT' && b.bitOffset === 0;
      case 'PTR':
      case 'ARRAY':
        if (b.kind !== a.kind) return false;
        aId = a.typeId;
        bId = b.typeId;
        break;
      case 'FUNC_PROTO':
        if (b.kind !== 'FUNC_PROTO' || a.params.length !== b.params.length) return false;
        for (const [i, param] of a.params.entries()) {
          const other = b.params[i];
          if (other === undefined) return false;
          if (level <= 0) throw tooDeep();
          if (!typesAreCompatible(local, local.skip(param.typeId).id, target, target.skip(other.typeId).id, budget, level - 1))
            return false;
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

export function tooDeep(): CoreError {
  return new CoreError({ code: 'E_CORE_DEPTH', what: 'types nest too deeply to be compared', why: `the limit is ${MAX_LEVEL} levels` });
}
