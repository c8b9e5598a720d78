import { FormatError } from '../error.ts';
import type { Btf } from './btf.ts';
import { kindLayouts, typeHeadSize, type KindLayout } from './kinds.ts';

/** Kind numbers are seven bits. */
const kindCount = 128;

/**
 * The one pass over the type section: the offset of every type, each checked to be of a known kind (or one that the
 * layout section describes) and to lie within the section.
 */
export function indexTypes(btf: Btf): Uint32Array {
  const { view, littleEndian } = btf;
  const { typesAt, typesLength } = btf.header;
  const end = typesAt + typesLength;
  const [infoSizes, elementSizes] = sizesByKind(btf);
  // A type is at least its head: what the section holds bounds the allocation.
  const offsets = new Uint32Array(Math.floor(typesLength / typeHeadSize));
  let count = 0;
  let at = typesAt;
  while (at < end) {
    if (end - at < typeHeadSize) throw typeError(btf, count, at, `${end - at} bytes are left, a type has at least ${typeHeadSize}`);
    const info = view.getUint32(at + 4, littleEndian);
    const kind = (info >>> 24) & 0x7f;
    const infoSize = infoSizes[kind] as number;
    if (infoSize < 0) throw typeError(btf, count, at, `kind ${kind} is unknown, and no layout section tells its size`);
    const size = typeHeadSize + infoSize + (info & 0xffffff) * (elementSizes[kind] as number);
    if (size > end - at)
      throw typeError(btf, count, at, `kind ${kind} with vlen ${info & 0xffffff} needs ${size} bytes, ${end - at} are left`);
    offsets[count++] = at;
    at += size;
  }
  return offsets.slice(0, count);
}

/** info and element size by kind number; an info size of -1 marks kinds that nobody describes. */
function sizesByKind(btf: Btf): [infoSizes: Int16Array, elementSizes: Uint8Array] {
  const infoSizes = new Int16Array(kindCount).fill(-1);
  const elementSizes = new Uint8Array(kindCount);
  const set = (kind: number, layout: KindLayout): void => {
    infoSizes[kind] = layout.infoSize;
    elementSizes[kind] = layout.elementSize;
  };
  // Known kinds are what they are, whatever a layout section says; split BTF shares its base's layout.
  layoutOf(btf).forEach((layout, kind) => {
    if (kind < kindCount && layout.infoSize % 4 === 0 && layout.elementSize % 4 === 0) set(kind, layout);
  });
  for (let kind = 1; kind < kindLayouts.length; kind++) set(kind, kindLayouts[kind] as KindLayout);
  return [infoSizes, elementSizes];
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
