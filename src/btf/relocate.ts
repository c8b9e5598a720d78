import { FormatError, UsageError } from '../error.ts';
import type { Btf } from './btf.ts';
import { encodeSections } from './encode.ts';
import { maxDepth } from './resolve.ts';
import { TypeTable } from './table.ts';
import { BTF_INT, BTF_KIND, type BtfType } from './types.ts';

const { ARRAY, STRUCT, UNION, TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG } = BTF_KIND;

/**
 * Rewrites BTF that is split over a distilled base (a module's .BTF over its .BTF.base) to be split over a real one: types
 * of the distilled base are found in `base` by kind, name and size. Gives the new bytes of the split BTF, in its byte order,
 * to be parsed with `{ base }`. As libbpf's btf__relocate() and the kernel do.
 *
 * Throws {@link FormatError} `E_BTF_RELOCATE` where a type is missing or cannot be told from another.
 */
export function relocateBtf(btf: Btf, base: Btf): Uint8Array {
  const distilled = btf.base;
  if (distilled === null || distilled === base || distilled.base !== null) {
    throw new UsageError({ code: 'E_BTF_BASE', what: 'only BTF split over a distilled base can be relocated', where: btf.where() });
  }
  const table = new TypeTable(btf);
  const found = matchDistilled(distilled, base, embeddedTypes(table, distilled.typeCount));
  const shift = base.typeCount - distilled.typeCount;
  const mapType = (id: number): number => (id < distilled.typeCount ? (found[id] as number) : id + shift);
  const names = nameOffsets(distilled, base, found);
  const mapString = (offset: number): number => {
    if (offset >= distilled.stringsEnd) return offset - distilled.stringsEnd + base.stringsEnd;
    return names.get(offset) ?? unknownString(distilled, offset);
  };
  const own = Array.from({ length: table.count - table.firstId }, (_, i) => table.firstId + i);
  for (const id of own) {
    table.mapTypes(id, (target) => (target < table.count ? mapType(target) : btf.type(target).id));
    table.mapStrings(id, mapString);
  }
  const { header, littleEndian, bytes } = btf;
  const strings = bytes.subarray(header.stringsAt, header.stringsAt + header.stringsLength);
  const layout = bytes.subarray(header.layoutAt, header.layoutAt + header.layoutLength);
  return encodeSections({ littleEndian, flags: header.flags, types: table.encode(own, littleEndian), strings, layout });
}

/** Types of the distilled base that own structs hold by value: there the size has to be right. */
function embeddedTypes(table: TypeTable, distilledCount: number): ReadonlySet<number> {
  const embedded = new Set<number>();
  for (let id = table.firstId; id < table.count; id++) {
    const kind = table.kind(id);
    if (kind !== STRUCT && kind !== UNION) continue;
    for (let i = 0; i < table.vlen(id); i++) {
      const held = heldType(table, table.word(id, 4 + i * 3));
      if (held !== 0 && held < distilledCount && (table.kind(held) === STRUCT || table.kind(held) === UNION)) embedded.add(held);
    }
  }
  return embedded;
}

/** The type at the end of a chain of qualifiers, typedefs and arrays. */
function heldType(table: TypeTable, id: number): number {
  for (let depth = 0; depth <= maxDepth && id !== 0 && id < table.count; depth++) {
    switch (table.kind(id)) {
      case CONST:
      case VOLATILE:
      case RESTRICT:
      case TYPEDEF:
      case TYPE_TAG:
        id = table.word(id, 2);
        break;
      case ARRAY:
        id = table.word(id, 3);
        break;
      default:
        return id;
    }
  }
  return 0;
}

/** For each type of the distilled base its id in the real one. */
function matchDistilled(distilled: Btf, base: Btf, embedded: ReadonlySet<number>): Uint32Array {
  const found = new Uint32Array(distilled.typeCount);
  for (let id = 1; id < distilled.typeCount; id++) {
    const wanted = distilled.type(id);
    const candidates = namedAlike(base, wanted.name);
    // A name that only one struct or union has needs no size, unless the struct is held by value.
    const composites = candidates.filter((type) => type.kind === 'STRUCT' || type.kind === 'UNION');
    const needsSize = composites.length > 1 || embedded.has(id);
    const fitting = fittingOf(wanted, candidates, needsSize, embedded.has(id));
    if (fitting.length !== 1) {
      const where = { ...distilled.where(), id, kind: wanted.kind, name: wanted.name };
      const why =
        fitting.length === 0 ? 'the base has no such type' : `the base has it with the ids ${fitting.map((type) => type.id).join(', ')}`;
      throw new FormatError({ code: 'E_BTF_RELOCATE', what: 'cannot find a type of the distilled base', where, why });
    }
    found[id] = (fitting[0] as BtfType).id;
  }
  return found;
}

/** The types of this name in a BTF and its bases; the distilled base has named types only. */
function namedAlike(btf: Btf, name: string): BtfType[] {
  const own = btf.findAll(name).map((id) => btf.type(id));
  return btf.base === null ? own : [...namedAlike(btf.base, name), ...own];
}

/** Definitions come before declarations; a declaration alone does for a struct that is only pointed to. */
function fittingOf(wanted: BtfType, candidates: readonly BtfType[], needsSize: boolean, embedded: boolean): readonly BtfType[] {
  const fitting = candidates.filter((type) => fits(wanted, type, needsSize));
  const defined = fitting.filter((type) => type.kind !== 'FWD');
  if (defined.length > 0) return defined;
  if (fitting.length > 0 || embedded) return fitting;
  return candidates.filter((type) => type.kind === 'FWD' && type.target === wanted.kind);
}

function fits(wanted: BtfType, type: BtfType, needsSize: boolean): boolean {
  switch (wanted.kind) {
    case 'INT':
      return type.kind === 'INT' && type.size === wanted.size && sign(type.encoding) === sign(wanted.encoding);
    case 'FLOAT':
      return type.kind === 'FLOAT' && type.size === wanted.size;
    case 'ENUM':
      // An ENUM64 is distilled to an ENUM of its size.
      return (type.kind === 'ENUM' || type.kind === 'ENUM64') && type.size === wanted.size;
    case 'STRUCT':
    case 'UNION':
      return type.kind === wanted.kind && (!needsSize || type.size === wanted.size);
    case 'FWD':
      return type.kind === 'FWD' ? type.target === wanted.target : type.kind === wanted.target;
    default:
      return false;
  }
}

function sign(encoding: number): number {
  return encoding & (BTF_INT.SIGNED | BTF_INT.CHAR | BTF_INT.BOOL);
}

/** Strings of the distilled base, which are the names of its types, by where they are in the real one. */
function nameOffsets(distilled: Btf, base: Btf, found: Uint32Array): ReadonlyMap<number, number> {
  const names = new Map<number, number>();
  for (let id = 1; id < distilled.typeCount; id++) names.set(distilled.nameOffsetOf(id), base.nameOffsetOf(found[id] as number));
  return names;
}

function unknownString(distilled: Btf, offset: number): never {
  const where = { ...distilled.where(), string: offset };
  throw new FormatError({ code: 'E_BTF_RELOCATE', what: 'a string of the distilled base is not the name of a type', where });
}
