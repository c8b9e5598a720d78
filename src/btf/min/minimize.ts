import type { Btf } from '../btf.ts';
import { BtfBuilder, type BtfNewType } from '../builder.ts';
import { essentialName } from '../core/essential-name.ts';
import { CORE_KIND, coreSubject } from '../core/kinds.ts';
import { matchSpec } from '../core/match.ts';
import { parseSpec } from '../core/spec.ts';
import { Budget, kindsCompatible, Types } from '../core/types.ts';
import type { BtfExt, CoreRelo } from '../ext.ts';
import type { BtfType } from '../types.ts';
import { Marks } from './marks.ts';

/** An object's types and relocations: what btfFromElf and btfExtFromElf give. */
export interface MinimizeObject {
  readonly btf: Btf;
  readonly ext: BtfExt;
}

/** Spellings of the type that tells a BTF's pointer size. */
const LONG_NAMES = ['long', 'long int', 'unsigned long', 'long unsigned int', 'unsigned long int'];

/**
 * The part of a kernel's BTF that the CO-RE relocations of some objects look at, as a whole BTF of its own: relocated against
 * it they come to the same instructions, whichever of their programs load. For kernels that carry no BTF.
 *
 * Throws {@link CoreError} for malformed relocations. Type ids are not the kernel's, so target_type_id relocations and attach targets cannot use it.
 *
 * @example
 * import { Btf, btfExtFromElf, btfFromElf, minimizeBtf } from 'rawbpf/btf';
 * import { parseElf } from 'rawbpf/elf';
 * function partFor(object: Uint8Array, kernel: Uint8Array) {
 *   const elf = parseElf(object);
 *   const btf = btfFromElf(elf);
 *   const ext = btf && btfExtFromElf(elf, btf);
 *   return btf && ext && minimizeBtf(Btf.parse(kernel), [{ btf, ext }]);
 * }
 */
export function minimizeBtf(kernel: Btf, objects: readonly MinimizeObject[]): Uint8Array {
  const types = Types.of(kernel);
  const marks = new Marks(types);
  const budget = new Budget();
  for (const { btf, ext } of objects) {
    const local = Types.of(btf);
    const seen = new Set<string>();
    for (const relo of ext.coreRelos.flatMap((section) => section.relos)) {
      const key = `${relo.typeId} ${relo.kind} ${relo.access}`;
      if (seen.has(key)) continue;
      seen.add(key);
      markRelocation(marks, types, local, relo, budget.begin());
    }
  }
  // Without such a type pointers would be taken for 8 bytes.
  if (kernel.pointerSize !== 8) for (const name of LONG_NAMES) marks.type(kernel.findByName(name, 'INT') ?? 0);
  return encode(marks, types);
}

/**
 * Every candidate that fits is kept, not only the first, and none is pruned: which of them a load ends with depends on what
 * else loads.
 */
function markRelocation(marks: Marks, types: Types, local: Types, relo: CoreRelo, budget: Budget): void {
  if (relo.kind === CORE_KIND.TYPE_ID_LOCAL) return;
  const spec = parseSpec(local, relo);
  const root = local.type(relo.typeId);
  for (const id of candidates(types.btf, root.name)) {
    if (!kindsCompatible(types.type(id), root)) continue;
    const found = matchSpec(spec, types, id, budget);
    if (found === null) continue;
    if (coreSubject(relo.kind) === 'field') marks.field(found);
    else if (relo.kind === CORE_KIND.TYPE_MATCHES) marks.matched(id);
    else marks.type(id);
  }
}

function candidates(btf: Btf, name: string): readonly number[] {
  const own = btf.findByEssentialName(essentialName(name));
  return btf.base === null ? own : [...candidates(btf.base, name), ...own];
}

function encode(marks: Marks, types: Types): Uint8Array {
  const { ids } = marks;
  const newIds = new Map(ids.map((id, index) => [id, index + 1]));
  const builder = new BtfBuilder();
  for (const id of ids) builder.add(reduced(types.type(id), marks, (old) => newIds.get(old) ?? 0));
  return builder.encode({ littleEndian: types.btf.littleEndian });
}

/** A type with its members cut down to the kept ones and its references to the new ids. */
function reduced(type: BtfType, marks: Marks, newId: (old: number) => number): BtfNewType {
  switch (type.kind) {
    case 'STRUCT':
    case 'UNION': {
      const members = type.members.filter((_, index) => marks.hasMember(type.id, index));
      return { ...type, members: members.map((member) => ({ ...member, typeId: newId(member.typeId) })) };
    }
    case 'PTR':
    case 'TYPEDEF':
    case 'VOLATILE':
    case 'CONST':
    case 'RESTRICT':
    case 'TYPE_TAG':
      return { ...type, typeId: newId(type.typeId) };
    case 'ARRAY':
      return { ...type, typeId: newId(type.typeId), indexTypeId: newId(type.indexTypeId) };
    case 'FUNC_PROTO':
      return {
        ...type,
        returnTypeId: newId(type.returnTypeId),
        params: type.params.map((param) => ({ ...param, typeId: newId(param.typeId) })),
      };
    case 'INT':
    case 'ENUM':
    case 'ENUM64':
    case 'FWD':
    case 'FLOAT':
      return type;
    default:
      // Functions, variables and tags are part of no type that compilers make; a name without size keeps the ids in step.
      return { kind: 'FWD', name: type.name, target: 'STRUCT' };
  }
}
