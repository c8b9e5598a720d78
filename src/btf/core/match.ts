import { fieldsAreCompatible, typesAreCompatible } from './compat.ts';
import { CoreError } from './error.ts';
import { essentialName } from './essential-name.ts';
import { CORE_KIND, coreSubject } from './kinds.ts';
import { bitsOf, type CoreAccessor, type CoreSpec, emptySpec, isFlexibleArray, MAX_SPEC_LENGTH } from './spec.ts';
import { type Budget, isComposite, isEnum, kindText, type Types } from './types.ts';
import { typesMatch } from './types-match.ts';

/** Told why a candidate does not fit; null where nobody listens (the strings cost more than the match). */
export type Listener = ((why: string) => void) | null;

/**
 * Finds in a candidate type what the local spec names; null where it is not there, {@link CoreError} where the
 * question has no answer (too deep, a type without size).
 */
export function matchSpec(local: CoreSpec, target: Types, rootTypeId: number, budget: Budget, listener: Listener = null): CoreSpec | null {
  const spec = emptySpec(target, rootTypeId, local.kind);
  switch (coreSubject(local.kind)) {
    case 'type': {
      const fits =
        local.kind === CORE_KIND.TYPE_MATCHES
          ? typesMatch(local.types, local.rootTypeId, target, rootTypeId, budget)
          : typesAreCompatible(local.types, local.rootTypeId, target, rootTypeId, budget);
      if (!fits) listener?.(local.kind === CORE_KIND.TYPE_MATCHES ? 'the types do not match' : 'the types are not compatible');
      return fits ? spec : null;
    }
    case 'enumval':
      return matchEnumerator(local, spec, listener) ? spec : null;
    default:
      return matchField(local, spec, budget, listener) ? spec : null;
  }
}

function matchEnumerator(local: CoreSpec, spec: CoreSpec, listener: Listener): boolean {
  const found = spec.types.skip(spec.rootTypeId);
  const wanted = essentialName(local.accessors[0]?.name ?? '');
  if (!isEnum(found.type)) {
    listener?.(`it is a ${kindText(found.type)}, not an enum`);
    return false;
  }
  const index = found.type.values.findIndex((value) => essentialName(value.name) === wanted);
  const value = found.type.values[index];
  if (value === undefined) {
    listener?.(`it has no enumerator ${wanted}`);
    return false;
  }
  spec.accessors.push({ typeId: found.id, index, name: value.name });
  spec.raw.push(index);
  return true;
}

function matchField(local: CoreSpec, spec: CoreSpec, budget: Budget, listener: Listener): boolean {
  const types = spec.types;
  let targetId = spec.rootTypeId;
  for (const [i, accessor] of local.accessors.entries()) {
    const { id, type } = types.skip(targetId);
    if (accessor.name !== null) {
      const next = matchMember(local.types, accessor, spec, id, budget, listener);
      if (next === null || next === INCOMPATIBLE) {
        if (next === null) listener?.(`${kindText(type)} ${type.name} has no member ${accessor.name}`);
        return false;
      }
      targetId = next;
      continue;
    }
    targetId = id;
    // The first index is into an array of the root type itself.
    if (i > 0) {
      if (type.kind !== 'ARRAY') {
        listener?.(`[${id}] is a ${kindText(type)}, not an array`);
        return false;
      }
      if (accessor.index >= type.count && !isFlexibleArray(types, spec.accessors.at(-1), type.count)) {
        listener?.(`index ${accessor.index} is past the array's ${type.count} elements`);
        return false;
      }
      targetId = types.skip(type.typeId).id;
    }
    if (spec.raw.length === MAX_SPEC_LENGTH) throw tooLong();
    spec.accessors.push({ typeId: targetId, index: accessor.index, name: null });
    spec.raw.push(accessor.index);
    const size = types.size(targetId);
    if (size === null || size > 0x7fff_ffff) {
      throw new CoreError({ code: 'E_CORE_VALUE', what: `target type [${targetId}] has no size`, where: { type: targetId } });
    }
    spec.bitOffset = (spec.bitOffset + bitsOf(accessor.index, size)) % 0x1_0000_0000;
  }
  return true;
}

/** A member of the right name but the wrong type ends the search: libbpf looks no further either. */
const INCOMPATIBLE = -1;

/** The type id of the member that the local accessor names, its steps appended to `spec`; null where there is none. */
function matchMember(
  local: Types,
  accessor: CoreAccessor,
  spec: CoreSpec,
  targetId: number,
  budget: Budget,
  listener: Listener,
): number | null {
  const { id, type } = spec.types.skip(targetId);
  if (!isComposite(type)) return null;
  const struct = local.type(accessor.typeId);
  const wanted = isComposite(struct) ? struct.members[accessor.index] : undefined;
  if (wanted === undefined) return null;
  budget.spend(type.members.length);
  for (const [index, member] of type.members.entries()) {
    if (spec.raw.length === MAX_SPEC_LENGTH) throw tooLong();
    if (member.name === '') {
      spec.raw.push(index);
      spec.bitOffset = (spec.bitOffset + member.bitOffset) % 0x1_0000_0000;
      const found = matchMember(local, accessor, spec, member.typeId, budget, listener);
      if (found !== null) return found;
      spec.bitOffset = (spec.bitOffset - member.bitOffset + 0x1_0000_0000) % 0x1_0000_0000;
      spec.raw.pop();
    } else if (member.name === wanted.name) {
      if (!fieldsAreCompatible(local, wanted.typeId, spec.types, member.typeId)) {
        listener?.(`member ${member.name} of ${kindText(type)} ${type.name} has an incompatible type`);
        return INCOMPATIBLE;
      }
      spec.raw.push(index);
      spec.bitOffset = (spec.bitOffset + member.bitOffset) % 0x1_0000_0000;
      spec.accessors.push({ typeId: id, index, name: member.name });
      return member.typeId;
    }
  }
  return null;
}

function tooLong(): CoreError {
  return new CoreError({
    code: 'E_CORE_DEPTH',
    what: 'a field lies too deep in nested types',
    why: `the limit is ${MAX_SPEC_LENGTH} levels`,
  });
}
