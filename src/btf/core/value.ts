import { BTF_INT } from '../types.ts';
import { CoreError } from './error.ts';
import { CORE_KIND, coreKindName, coreSubject } from './kinds.ts';
import type { CoreSpec } from './spec.ts';
import { isComposite, isEnum } from './types.ts';

/** One side of a relocation: what the instruction holds (local) or shall hold (target). */
interface Side {
  readonly value: bigint;
  /** Whether the compiler must have put this very value into the instruction. */
  readonly validate: boolean;
  /** For byte_off: what a load or store there moves, 0 where that is not known. */
  readonly size: number;
  readonly typeId: number;
}

/** What a relocation comes to with one candidate. */
export interface CoreValue {
  readonly original: bigint;
  readonly value: bigint;
  readonly validate: boolean;
  /** The question has no answer in the target: the instruction must not run. */
  readonly poison: boolean;
  /** The field's width differs in a way that a load or store cannot follow. */
  readonly failMemszAdjust: boolean;
  readonly originalSize: number;
  readonly newSize: number;
}

/** The value of a relocation, with a matching candidate or (null) with none. */
export function relocationValue(local: CoreSpec, target: CoreSpec | null): CoreValue {
  const before = side(local, local.kind);
  const after = target === null ? missing(local.kind) : side(target, local.kind);
  if (before === null || after === null) {
    // libbpf compares these across candidates even when it poisons, hence the exact zeroes.
    const original = before?.value ?? 0n;
    return { original, value: 0n, validate: before?.validate ?? true, poison: true, failMemszAdjust: false, originalSize: 0, newSize: 0 };
  }
  return {
    original: before.value,
    value: after.value,
    validate: before.validate,
    poison: false,
    failMemszAdjust: target !== null && before.size !== after.size && !canAdjust(local, before.typeId, target, after.typeId),
    originalSize: before.size,
    newSize: after.size,
  };
}

/** Without a match existence is 0, a type's size and id are 0, and anything else cannot be answered. */
function missing(kind: number): Side | null {
  const answers = coreSubject(kind) === 'type' || kind === CORE_KIND.FIELD_EXISTS || kind === CORE_KIND.ENUMVAL_EXISTS;
  return answers ? plain(0n) : null;
}

function plain(value: bigint, validate = true): Side {
  return { value, validate, size: 0, typeId: 0 };
}

function side(spec: CoreSpec, kind: number): Side | null {
  switch (kind) {
    case CORE_KIND.FIELD_EXISTS:
    case CORE_KIND.TYPE_EXISTS:
    case CORE_KIND.TYPE_MATCHES:
    case CORE_KIND.ENUMVAL_EXISTS:
      return plain(1n);
    // Type ids change when objects are linked together, so the instruction's own is not to be relied upon.
    case CORE_KIND.TYPE_ID_LOCAL:
    case CORE_KIND.TYPE_ID_TARGET:
      return plain(BigInt(spec.rootTypeId), false);
    case CORE_KIND.TYPE_SIZE:
      return plain(BigInt(sizeOf(spec, spec.rootTypeId)));
    case CORE_KIND.ENUMVAL_VALUE:
      return plain(enumeratorValue(spec));
    default:
      return fieldSide(spec, kind);
  }
}

function fieldSide(spec: CoreSpec, kind: number): Side {
  const accessor = spec.accessors.at(-1);
  if (accessor === undefined) throw unanswerable(spec, 'it names no field');
  const types = spec.types;
  if (accessor.name === null) {
    // The element of an array, or the whole struct.
    if (kind === CORE_KIND.FIELD_BYTE_SIZE) return plain(BigInt(sizeOf(spec, accessor.typeId)));
    if (kind !== CORE_KIND.FIELD_BYTE_OFFSET) throw unanswerable(spec, 'it cannot be asked of an array element');
    const size = sizeOf(spec, types.innermostElement(accessor.typeId).id);
    return { value: BigInt(Math.floor(spec.bitOffset / 8)), validate: true, size, typeId: accessor.typeId };
  }

  const struct = types.type(accessor.typeId);
  const member = isComposite(struct) ? struct.members[accessor.index] : undefined;
  if (member === undefined) throw unanswerable(spec, 'it names no member');
  const { id, type } = types.skip(member.typeId);
  const bitfield = member.bitSize > 0;
  const place = bitfield ? bitfieldPlace(spec, id, member.bitSize) : null;
  const byteSize = place?.size ?? sizeOf(spec, id);
  const byteOffset = place?.offset ?? Math.floor(spec.bitOffset / 8);
  const bitSize = bitfield ? member.bitSize : byteSize * 8;
  switch (kind) {
    case CORE_KIND.FIELD_BYTE_OFFSET: {
      if (bitfield) return plain(BigInt(byteOffset), false);
      // Of an array a load moves one element.
      const size = sizeOf(spec, types.innermostElement(id).id);
      return { value: BigInt(byteOffset), validate: true, size, typeId: id };
    }
    case CORE_KIND.FIELD_BYTE_SIZE:
      return plain(BigInt(byteSize), !bitfield);
    case CORE_KIND.FIELD_SIGNED: {
      const signed = isEnum(type) ? type.signed : type.kind === 'INT' && (type.encoding & BTF_INT.SIGNED) !== 0;
      return plain(signed ? 1n : 0n);
    }
    // The shifts are 32-bit unsigned arithmetic in libbpf, so those of fields wider than 64 bits wrap.
    case CORE_KIND.FIELD_LSHIFT_U64: {
      const inUnit = spec.bitOffset - byteOffset * 8;
      return plain(u32(types.btf.littleEndian ? 64 - (inUnit + bitSize) : (8 - byteSize) * 8 + inUnit), !bitfield);
    }
    case CORE_KIND.FIELD_RSHIFT_U64:
      return plain(u32(64 - bitSize));
    default:
      throw unanswerable(spec, 'the kind is unknown');
  }
}

/** The smallest aligned unit, from the declared type's size up to 8 bytes, that holds all of a bitfield's bits. */
function bitfieldPlace(spec: CoreSpec, typeId: number, bitSize: number): { readonly size: number; readonly offset: number } {
  const declared = sizeOf(spec, typeId);
  if (declared === 0) throw unanswerable(spec, 'the bitfield has a type without size');
  for (let size = declared; ; size *= 2) {
    const offset = Math.floor(Math.floor(spec.bitOffset / 8) / size) * size;
    if (spec.bitOffset + bitSize - offset * 8 <= size * 8) return { size, offset };
    if (size >= 8) throw unanswerable(spec, 'the bitfield does not lie within any 8 aligned bytes');
  }
}

/** As libbpf reads them: the 32 bits of an ENUM are sign-extended, whatever the enum's signedness. */
function enumeratorValue(spec: CoreSpec): bigint {
  const { type } = spec.types.skip(spec.rootTypeId);
  const value = isEnum(type) ? type.values[spec.accessors[0]?.index ?? 0] : undefined;
  if (value === undefined) throw unanswerable(spec, 'it names no enumerator');
  return BigInt.asUintN(64, type.kind === 'ENUM' ? BigInt.asIntN(32, value.value) : value.value);
}

/**
 * A load may change its width where the value stays right by zero extension: pointers (32-bit kernels' are 4 bytes) and
 * integers that are not plainly signed.
 */
function canAdjust(local: CoreSpec, localId: number, target: CoreSpec, targetId: number): boolean {
  const a = local.types.type(localId);
  const b = target.types.type(targetId);
  if (a.kind === 'PTR' && b.kind === 'PTR') return true;
  return a.kind === 'INT' && b.kind === 'INT' && a.encoding !== BTF_INT.SIGNED && b.encoding !== BTF_INT.SIGNED;
}

function sizeOf(spec: CoreSpec, typeId: number): number {
  const size = spec.types.size(typeId);
  if (size === null) throw unanswerable(spec, `type [${typeId}] has no size`);
  return size;
}

function u32(value: number): bigint {
  return BigInt.asUintN(32, BigInt(value));
}

function unanswerable(spec: CoreSpec, why: string): CoreError {
  const root = spec.types.type(spec.rootTypeId);
  return new CoreError({
    code: 'E_CORE_VALUE',
    what: `CO-RE relocation <${coreKindName(spec.kind)}> of ${root.name} has no value`,
    where: { type: spec.rootTypeId, access: spec.raw.join(':') },
    why,
  });
}
