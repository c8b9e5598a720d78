import type { Btf } from '../btf.ts';
import { resolveType } from './resolve.ts';

/** The names of an enum's values. */
export interface EnumNames {
  readonly typeId: number;
  /** The enum's own name, '' for an anonymous one. */
  readonly name: string;
  /** Bytes; values of an 8-byte enum are read as bigints. */
  readonly size: number;
  readonly signed: boolean;
  /** Name of a value, the first declared where several share it; null for a value without a name. */
  nameOf(value: number): string | null;
  nameOfBig(value: bigint): string | null;
}

/** The names of the enum behind a type (typedefs and qualifiers followed), null where it is no enum. */
export function enumNames(btf: Btf, typeId: number): EnumNames | null {
  const type = resolveType(btf, typeId);
  if (type.kind !== 'ENUM' && type.kind !== 'ENUM64') return null;
  const small = new Map<number, string>();
  const wide = new Map<bigint, string>();
  for (const { name, value } of type.values) {
    const number = Number(value);
    if (!wide.has(value)) wide.set(value, name);
    if (Number.isSafeInteger(number) && !small.has(number)) small.set(number, name);
  }
  const { name, size, signed } = type;
  return {
    typeId: type.id,
    name,
    size,
    signed,
    nameOf: (value) => small.get(value) ?? null,
    nameOfBig: (value) => wide.get(value) ?? null,
  };
}
