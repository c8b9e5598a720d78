import type { CoreRelo } from '../ext.ts';
import { CoreError } from './error.ts';
import { CORE_KIND, coreKindName, coreSubject } from './kinds.ts';
import { isComposite, isEnum, kindText, type Types } from './types.ts';

/** One turning point of an access: a named member, or an array index (name null). */
export interface CoreAccessor {
  /** The struct or union, or the array's element type. */
  readonly typeId: number;
  readonly index: number;
  readonly name: string | null;
}

/** A relocation's access, resolved against one BTF: the object's own (local) or a kernel's (target). */
export interface CoreSpec {
  readonly types: Types;
  readonly kind: number;
  /** As in the record: typedefs not skipped. */
  readonly rootTypeId: number;
  /** Anonymous members are passed through and leave no accessor. */
  accessors: CoreAccessor[];
  /** Every step, anonymous members too: the access string's numbers. */
  raw: number[];
  /** Of the field, from the start of the root type; modulo 2^32 as in libbpf. */
  bitOffset: number;
}

/** The deepest access libbpf takes. */
export const MAX_SPEC_LENGTH = 64;

export function emptySpec(types: Types, rootTypeId: number, kind: number): CoreSpec {
  return { types, kind, rootTypeId, accessors: [], raw: [], bitOffset: 0 };
}

/** `index * size * 8` modulo 2^32; 53 bits are not enough for what a hostile record can ask. */
export function bitsOf(index: number, size: number): number {
  const exact = index * size * 8;
  return Number.isSafeInteger(exact) ? exact % 0x1_0000_0000 : Number(BigInt.asUintN(32, BigInt(index) * BigInt(size) * 8n));
}

/** Whether an array without elements, as the last member of its struct, may be indexed at will. */
export function isFlexibleArray(types: Types, accessor: CoreAccessor | undefined, count: number): boolean {
  if (accessor === undefined || accessor.name === null || count > 0) return false;
  const struct = types.type(accessor.typeId);
  return isComposite(struct) && accessor.index === struct.members.length - 1;
}

/** Resolves a relocation's access string against the object's own BTF; throws {@link CoreError} where it makes no sense. */
export function parseSpec(types: Types, relo: CoreRelo): CoreSpec {
  const bad = (why: string): never => {
    const root = types.type(relo.typeId);
    throw new CoreError({
      code: 'E_CORE_SPEC',
      what: `malformed CO-RE relocation <${coreKindName(relo.kind)}> of ${kindText(root)} ${root.name === '' ? '<anon>' : root.name}`,
      where: { type: relo.typeId, access: relo.access },
      why,
    });
  };
  const spec = emptySpec(types, relo.typeId, relo.kind);
  const subject = coreSubject(relo.kind);
  if (subject === null) {
    throw new CoreError({
      code: 'E_CORE_KIND',
      what: `CO-RE relocation of unknown kind ${relo.kind}`,
      where: { type: relo.typeId, access: relo.access },
      next: 'the object was made by a newer compiler than this version knows',
    });
  }
  if (subject === 'type') {
    if (relo.access !== '0') bad('the access string of a type is 0');
    return spec;
  }
  spec.raw = parseAccess(relo.access) ?? bad('the access string is not a list of indices');
  if (spec.raw.length > MAX_SPEC_LENGTH) bad(`more than ${MAX_SPEC_LENGTH} levels`);
  const first = spec.raw[0] as number;
  const root = types.skip(relo.typeId);

  if (subject === 'enumval') {
    const value = isEnum(root.type) && spec.raw.length === 1 ? root.type.values[first] : undefined;
    if (value === undefined) return bad('it names no enumerator');
    spec.accessors.push({ typeId: root.id, index: first, name: value.name });
    return spec;
  }

  spec.accessors.push({ typeId: root.id, index: first, name: null });
  spec.bitOffset = bitsOf(first, types.size(root.id) ?? bad('the type has no size'));
  let id = root.id;
  for (let i = 1; i < spec.raw.length; i++) {
    const index = spec.raw[i] as number;
    const { id: at, type } = types.skip(id);
    if (isComposite(type)) {
      const member = type.members[index] ?? bad(`${kindText(type)} ${type.name} has no member ${index}`);
      spec.bitOffset = (spec.bitOffset + member.bitOffset) % 0x1_0000_0000;
      if (member.name !== '') spec.accessors.push({ typeId: at, index, name: member.name });
      id = member.typeId;
    } else if (type.kind === 'ARRAY') {
      const element = types.skip(type.typeId);
      if (index >= type.count && !isFlexibleArray(types, spec.accessors.at(-1), type.count)) {
        bad(`index ${index} is past the array's ${type.count} elements`);
      }
      spec.accessors.push({ typeId: element.id, index, name: null });
      spec.bitOffset = (spec.bitOffset + bitsOf(index, types.size(element.id) ?? bad('an array element has no size'))) % 0x1_0000_0000;
      id = element.id;
    } else {
      bad(`step ${i} goes into [${at}], a ${kindText(type)}`);
    }
  }
  return spec;
}

function parseAccess(text: string): number[] | null {
  if (!/^\d{1,10}(:\d{1,10})*$/.test(text)) return null;
  const raw = text.split(':').map(Number);
  return raw.every((index) => index <= 0x7fff_ffff) ? raw : null;
}

/** A spec as libbpf's log writes it: `<byte_off> [7] struct task_struct.nsproxy (0:143 @ offset 2840)`. */
export function formatSpec(spec: CoreSpec): string {
  const root = spec.types.type(spec.rootTypeId);
  const head = `<${coreKindName(spec.kind)}> [${spec.rootTypeId}] ${kindText(root)} ${root.name === '' ? '<anon>' : root.name}`;
  switch (coreSubject(spec.kind)) {
    case 'enumval': {
      const { type } = spec.types.skip(spec.rootTypeId);
      const value = isEnum(type) ? type.values[spec.raw[0] ?? 0] : undefined;
      return value === undefined ? head : `${head}::${value.name} = ${value.value}`;
    }
    case 'field': {
      const path = spec.accessors.map((a, i) => (a.name !== null ? `.${a.name}` : i > 0 || a.index > 0 ? `[${a.index}]` : ''));
      const bits = spec.bitOffset % 8;
      const offset = `${Math.floor(spec.bitOffset / 8)}${bits === 0 ? '' : `.${bits}`}`;
      return `${head}${path.join('')} (${spec.raw.join(':')} @ offset ${offset})`;
    }
    default:
      return head;
  }
}

/** The access in C's words, for people: `task_struct.nsproxy`, `enum bpf_func_id::BPF_FUNC_ringbuf_output`. */
export function specPath(spec: CoreSpec): string {
  const root = spec.types.type(spec.rootTypeId);
  const path = spec.accessors.map((a, i) => (a.name !== null ? `.${a.name}` : i > 0 || a.index > 0 ? `[${a.index}]` : ''));
  const name = `${kindText(root)} ${root.name}`;
  return spec.kind === CORE_KIND.ENUMVAL_EXISTS || spec.kind === CORE_KIND.ENUMVAL_VALUE
    ? `${name}::${spec.accessors[0]?.name ?? '?'}`
    : `${name}${path.join('')}`;
}
