import { FormatError } from '../error.ts';
import type { Btf } from './btf.ts';
import { BTF_KIND, type BtfComposite } from './types.ts';

/** Longest chain of types that is followed; real ones have a handful of links. */
export const maxDepth = 64;
/** Sizes are u32 in BTF and in the kernel. */
const maxSize = 0xffffffff;

const { TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG } = BTF_KIND;

/** What {@link resolveArray} found: the type of the elements and the count in each dimension, outermost first. */
export interface ResolvedArray {
  readonly elementTypeId: number;
  readonly counts: readonly number[];
  /** All elements together. */
  readonly total: number;
}

/** The id that a CONST, VOLATILE, RESTRICT or TYPE_TAG chain ends at. */
export function skipModifiers(btf: Btf, id: number): number {
  for (let depth = 0; depth <= maxDepth; depth++) {
    if (!isModifier(btf.kindOf(id))) return id;
    id = referencedId(btf, id);
  }
  throw loopError(btf, id);
}

/** As {@link skipModifiers}, and through TYPEDEFs. */
export function skipModifiersAndTypedefs(btf: Btf, id: number): number {
  for (let depth = 0; depth <= maxDepth; depth++) {
    const kind = btf.kindOf(id);
    if (kind !== TYPEDEF && !isModifier(kind)) return id;
    id = referencedId(btf, id);
  }
  throw loopError(btf, id);
}

/** The type that a pointer, modifier, typedef, FUNC, VAR or tag refers to, or a FUNC_PROTO returns, without making an object. */
export function referencedId(btf: Btf, id: number): number {
  if (id === 0) return 0;
  if (id < btf.firstId && btf.base !== null) return referencedId(btf.base, id);
  return btf.view.getUint32(btf.offsetOf(id) + 8, btf.littleEndian);
}

/** Bytes of a value of this type; throws {@link FormatError} `E_BTF_SIZE` for types without one (void, FWD, functions). */
export function sizeOf(btf: Btf, id: number): number {
  const size = knownSizeOf(btf, id);
  if (size !== null) return size;
  const resolved = btf.type(skipModifiersAndTypedefs(btf, id));
  const where = { ...btf.where(), id, kind: resolved.kind, name: resolved.name };
  throw new FormatError({ code: 'E_BTF_SIZE', what: 'this BTF type has no size', where });
}

/** Bytes of a value of this type, null for types without a size. */
export function knownSizeOf(btf: Btf, id: number): number | null {
  let count = 1;
  for (let depth = 0; depth <= maxDepth; depth++) {
    const type = btf.type(id);
    switch (type.kind) {
      case 'INT':
      case 'STRUCT':
      case 'UNION':
      case 'ENUM':
      case 'ENUM64':
      case 'FLOAT':
      case 'DATASEC':
        return checkedSize(btf, id, count * type.size);
      case 'PTR':
        return checkedSize(btf, id, count * btf.pointerSize);
      case 'ARRAY':
        count *= type.count;
        if (count > maxSize) checkedSize(btf, id, count);
        id = type.typeId;
        break;
      case 'TYPEDEF':
      case 'CONST':
      case 'VOLATILE':
      case 'RESTRICT':
      case 'TYPE_TAG':
      case 'VAR':
      case 'DECL_TAG':
        id = type.typeId;
        break;
      default:
        return null;
    }
  }
  throw loopError(btf, id);
}

/**
 * The alignment that C gives a type of this layout, in bytes: 1 for a struct or union whose members or size show that
 * it is packed. Throws {@link FormatError} `E_BTF_SIZE` for types without one.
 */
export function alignOf(btf: Btf, id: number): number {
  return alignment(btf, id, new Map(), 0);
}

/** Whether a struct or union can only be declared with __attribute__((packed)). */
export function isPacked(btf: Btf, id: number): boolean {
  const type = btf.type(id);
  if (type.kind !== 'STRUCT' && type.kind !== 'UNION') return false;
  return natural(btf, type, new Map(), 0) === null;
}

/** The element type and dimensions of an array (of arrays, through typedefs and qualifiers); null where it is none. */
export function resolveArray(btf: Btf, id: number): ResolvedArray | null {
  const counts: number[] = [];
  let total = 1;
  for (let depth = 0; depth <= maxDepth; depth++) {
    const resolved = btf.type(skipModifiersAndTypedefs(btf, id));
    if (resolved.kind !== 'ARRAY') return counts.length === 0 ? null : { elementTypeId: id, counts, total };
    counts.push(resolved.count);
    total *= resolved.count;
    id = resolved.typeId;
  }
  throw loopError(btf, id);
}

function alignment(btf: Btf, id: number, memo: Map<number, number>, depth: number): number {
  const known = memo.get(id);
  if (known !== undefined) return known;
  if (depth > maxDepth) throw loopError(btf, id);
  const type = btf.type(id);
  let align: number;
  switch (type.kind) {
    case 'INT':
    case 'FLOAT':
      // __int128 and long double are aligned to 16 where pointers have 8 bytes.
      align = Math.min(type.size, btf.pointerSize === 8 ? 16 : 4);
      break;
    case 'ENUM':
    case 'ENUM64':
      align = Math.min(type.size, btf.pointerSize);
      break;
    case 'PTR':
      align = btf.pointerSize;
      break;
    case 'ARRAY':
    case 'TYPEDEF':
    case 'CONST':
    case 'VOLATILE':
    case 'RESTRICT':
    case 'TYPE_TAG':
    case 'VAR':
    case 'DECL_TAG':
      align = alignment(btf, type.typeId, memo, depth + 1);
      break;
    case 'STRUCT':
    case 'UNION':
      align = natural(btf, type, memo, depth) ?? 1;
      break;
    default:
      throw new FormatError({ code: 'E_BTF_SIZE', what: 'this BTF type has no alignment', where: { ...btf.where(), id, kind: type.kind } });
  }
  memo.set(id, align);
  return align;
}

/** The natural alignment of a struct or union, null where an offset or its size breaks it. */
function natural(btf: Btf, type: BtfComposite, memo: Map<number, number>, depth: number): number | null {
  let align = 1;
  for (const member of type.members) {
    const own = alignment(btf, member.typeId, memo, depth + 1);
    // A bitfield may start anywhere in its unit.
    if (member.bitSize === 0 && member.bitOffset % (own * 8) !== 0) return null;
    align = Math.max(align, own);
  }
  return type.size % align === 0 ? align : null;
}

function isModifier(kind: number): boolean {
  return kind === CONST || kind === VOLATILE || kind === RESTRICT || kind === TYPE_TAG;
}

function checkedSize(btf: Btf, id: number, size: number): number {
  if (size <= maxSize) return size;
  throw new FormatError({ code: 'E_BTF_SIZE', what: 'this BTF type is too large', where: { ...btf.where(), id, size } });
}

function loopError(btf: Btf, id: number): FormatError {
  const why = `more than ${maxDepth} types lead to each other`;
  return new FormatError({ code: 'E_BTF_LOOP', what: 'BTF types form a loop', where: { ...btf.where(), id }, why });
}
