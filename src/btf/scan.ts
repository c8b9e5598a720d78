import { FormatError } from '../error.ts';
import type { Btf } from './btf.ts';
import { kindLayouts, typeHeadSize, type KindLayout } from './kinds.ts';
import { BTF_KIND } from './types.ts';

/** Kind numbers are seven bits. */
const kindCount = 128;
const headWords = typeHeadSize / 4;

const hostLittleEndian = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/**
 * The type section as 32-bit words of this machine: a view where its bytes stand so, else a copy. Loops over words are fast
 * from their first round on, which matters for what a process does once; calls of a DataView are not. The words are signed,
 * for those above 2^31 would be objects in code that is not compiled yet.
 */
export function typeWords(btf: Btf): Int32Array {
  const { view, littleEndian } = btf;
  const { typesAt, typesLength } = btf.header;
  const count = typesLength >>> 2;
  const offset = view.byteOffset + typesAt;
  if (littleEndian === hostLittleEndian && offset % 4 === 0) return new Int32Array(view.buffer, offset, count);
  return Int32Array.from({ length: count }, (_, i) => view.getInt32(typesAt + i * 4, littleEndian));
}

/** What {@link indexTypes} finds. */
export interface TypeIndex {
  /** The word at which each type starts. */
  readonly starts: Uint32Array;
  /** Indices of those that types are looked for by name among: a fourth of a kernel's, where most are functions and what these are made of. */
  readonly named: Uint32Array;
}

/** 0 for kinds that have no name, and for those whose names are no types'. */
const typeNames = Uint8Array.from({ length: kindCount }, (_, kind) => Number(!unnamedKinds().has(kind)));

function unnamedKinds(): ReadonlySet<number> {
  const { UNKN, PTR, ARRAY, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, DECL_TAG } = BTF_KIND;
  return new Set<number>([UNKN, PTR, ARRAY, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, DECL_TAG]);
}

/**
 * The one pass over the type section: where every type starts, each checked to be of a known kind (or one that
 * the layout section describes) and to lie within the section.
 */
export function indexTypes(btf: Btf): TypeIndex {
  const words = typeWords(btf);
  const { length } = words;
  const [heads, elements] = wordsByKind(btf);
  // A type is at least its head: what the section holds bounds the allocation.
  const starts = new Uint32Array(Math.floor(length / headWords));
  const named = new Uint32Array(starts.length + 1);
  let count = 0;
  let namedCount = 0;
  let at = 0;
  while (at < length) {
    const info = words[at + 1] as number;
    const kind = (info >>> 24) & 0x7f;
    const head = heads[kind] as number;
    if (head === 0) break;
    named[namedCount] = count;
    namedCount += typeNames[kind] as number;
    starts[count++] = at;
    at += head + (info & 0xffffff) * (elements[kind] as number);
  }
  if (at * 4 !== btf.header.typesLength) throw malformed(btf, starts, count, at);
  return { starts: starts.slice(0, count), named: named.slice(0, namedCount) };
}

/** What is wrong where the types do not end with the section. */
function malformed(btf: Btf, starts: Uint32Array, count: number, end: number): FormatError {
  const { view, littleEndian } = btf;
  const { typesAt, typesLength } = btf.header;
  // Either the last type runs over the end, or what follows it is no type.
  const over = end * 4 > typesLength;
  const index = over ? count - 1 : count;
  const at = over ? (starts[index] as number) * 4 : end * 4;
  const left = typesLength - at;
  if (left < typeHeadSize) return typeError(btf, index, typesAt + at, `${left} bytes are left, a type has at least ${typeHeadSize}`);
  const info = view.getUint32(typesAt + at + 4, littleEndian);
  const kind = (info >>> 24) & 0x7f;
  if (!over) return typeError(btf, index, typesAt + at, `kind ${kind} is unknown, and no layout section tells its size`);
  const size = end * 4 - at;
  return typeError(btf, index, typesAt + at, `kind ${kind} with vlen ${info & 0xffffff} needs ${size} bytes, ${left} are left`);
}

/** Words of head and information, and of each element, by kind number; 0 marks kinds that nobody describes. */
function wordsByKind(btf: Btf): [heads: Uint32Array, elements: Uint32Array] {
  const heads = new Uint32Array(kindCount);
  const elements = new Uint32Array(kindCount);
  const set = (kind: number, layout: KindLayout): void => {
    heads[kind] = headWords + layout.infoSize / 4;
    elements[kind] = layout.elementSize / 4;
  };
  // Known kinds are what they are, whatever a layout section says; split BTF shares its base's layout.
  layoutOf(btf).forEach((layout, kind) => {
    if (kind < kindCount && layout.infoSize % 4 === 0 && layout.elementSize % 4 === 0) set(kind, layout);
  });
  for (let kind = 1; kind < kindLayouts.length; kind++) set(kind, kindLayouts[kind] as KindLayout);
  return [heads, elements];
}

/** The layout section by kind number (own, else the base's); empty where there is none. */
export function layoutOf(btf: Btf): readonly KindLayout[] {
  const { layoutAt, layoutLength } = btf.header;
  if (layoutLength === 0) return btf.base === null ? [] : layoutOf(btf.base);
  return Array.from({ length: Math.min(layoutLength / 4, kindCount) }, (_, kind) => ({
    infoSize: btf.view.getUint8(layoutAt + kind * 4),
    elementSize: btf.view.getUint8(layoutAt + kind * 4 + 1),
  }));
}

function typeError(btf: Btf, index: number, offset: number, why: string): FormatError {
  const where = { ...btf.where(), id: btf.firstId + index, offset };
  return new FormatError({ code: 'E_BTF_TYPE', what: 'malformed BTF type', where, why });
}
