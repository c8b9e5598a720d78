import { FormatError } from '../../error.ts';
import type { Btf } from '../btf.ts';
import { knownSizeOf } from '../resolve.ts';
import { BTF_INT, BTF_KIND, type BtfArray, type BtfInt, type BtfMember, type BtfType } from '../types.ts';

/** Longest chain of typedefs, qualifiers and arrays followed; the kernel's own limit (MAX_RESOLVE_DEPTH) is 32. */
const maxChain = 64;

/** A type that is no typedef, qualifier, tag or variable. */
export type ResolvedType =
  | Exclude<BtfType, { readonly kind: TransparentKind } | { readonly kind: 'PTR' }>
  | { readonly kind: 'PTR'; readonly id: number; readonly name: string; readonly typeId: number };

type TransparentKind = 'TYPEDEF' | 'VOLATILE' | 'CONST' | 'RESTRICT' | 'TYPE_TAG' | 'VAR' | 'DECL_TAG';

const transparent: ReadonlySet<string> = new Set<TransparentKind>([
  'TYPEDEF',
  'VOLATILE',
  'CONST',
  'RESTRICT',
  'TYPE_TAG',
  'VAR',
  'DECL_TAG',
]);

/** Types whose values are those of the type that they refer to. */
function isTransparent(type: BtfType): type is BtfType & { readonly kind: TransparentKind; readonly typeId: number } {
  return transparent.has(type.kind);
}

/**
 * Follows typedefs, qualifiers, type tags and variables to the type behind them.
 *
 * Throws FormatError `E_BTF_LOOP` where the chain does not end.
 */
export function resolveType(btf: Btf, typeId: number): ResolvedType {
  let id = typeId;
  for (let step = 0; step < maxChain; step++) {
    const type = btf.type(id);
    if (!isTransparent(type)) return type as ResolvedType;
    id = type.typeId;
  }
  throw loopError(typeId);
}

/** Names met on the way from a type to what is behind it: typedefs first, the struct, enum or integer last. */
export function typeNamesOf(btf: Btf, typeId: number): readonly string[] {
  const names: string[] = [];
  let id = typeId;
  for (let step = 0; step < maxChain; step++) {
    const type = btf.type(id);
    if (type.name !== '' && type.kind !== 'TYPE_TAG' && type.kind !== 'VAR' && type.kind !== 'DECL_TAG') names.push(type.name);
    if (!isTransparent(type)) return names;
    id = type.typeId;
  }
  throw loopError(typeId);
}

/**
 * Size of a type in bytes, as `sizeof` gives it; 0 for void, functions and structs that are only declared. A data section
 * ends where its last variable does: objects that are not linked yet give it no size.
 */
export function sizeOfType(btf: Btf, typeId: number): number {
  const size = knownSizeOf(btf, typeId) ?? 0;
  if (btf.kindOf(typeId) !== BTF_KIND.DATASEC) return size;
  const type = btf.type(typeId);
  if (type.kind !== 'DATASEC') return size;
  return type.variables.reduce((end, variable) => Math.max(end, variable.offset + sizeOfType(btf, variable.typeId)), size);
}

/** True where an array holds text: its elements are C's `char` (not `unsigned char` or `signed char`). */
export function isTextArray(btf: Btf, array: BtfArray): boolean {
  return isChar(resolveType(btf, array.typeId));
}

function isChar(type: ResolvedType): boolean {
  return type.kind === 'INT' && type.size === 1 && type.bits === 8 && (type.name === 'char' || (type.encoding & BTF_INT.CHAR) !== 0);
}

/** Where a member's bits lie: byte offset, first bit in that byte, and its width in bits (0: not a bitfield). */
export interface MemberPlace {
  readonly offset: number;
  readonly bitOffset: number;
  readonly bitSize: number;
}

/** Places a member; bitfields of both BTF encodings (kind_flag, and the older one by INT's own bits) look alike. */
export function placeMember(member: BtfMember, type: ResolvedType): MemberPlace {
  if (member.bitSize > 0) return placeBits(member.bitOffset, member.bitSize);
  if (type.kind === 'INT' && isOddInt(type)) return placeBits(member.bitOffset + type.bitOffset, type.bits);
  if (member.bitOffset % 8 !== 0 && type.kind === 'INT') return placeBits(member.bitOffset, type.bits);
  return { offset: member.bitOffset >>> 3, bitOffset: 0, bitSize: 0 };
}

/** An INT that does not fill its bytes: the way bitfields were written before Linux 5.0. */
export function isOddInt(type: BtfInt): boolean {
  return type.bitOffset !== 0 || type.bits !== type.size * 8;
}

function placeBits(at: number, bitSize: number): MemberPlace {
  return { offset: Math.floor(at / 8), bitOffset: at % 8, bitSize };
}

function loopError(typeId: number): FormatError {
  return new FormatError({ code: 'E_BTF_LOOP', what: 'a chain of types has no end', where: { type: typeId } });
}
