import type { MapOrigin, MapSlot, MapSpec } from './spec.ts';

/** A map under construction: everything of {@link MapSpec} can be set. */
export type MapDraft = { -readonly [Field in keyof MapSpec]: MapSpec[Field] };

/** A map with nothing set but its name and place. */
export function newMap(
  name: string,
  origin: MapOrigin,
  place: { sectionName: string; sectionIndex: number; sectionOffset: number },
): MapDraft {
  const slots: readonly MapSlot[] = [];
  return {
    name,
    libbpfName: name,
    origin,
    ...place,
    type: 0,
    keySize: 0,
    valueSize: 0,
    maxEntries: 0,
    flags: 0,
    numaNode: 0,
    mapExtra: 0n,
    pinning: 0,
    keyTypeId: 0,
    valueTypeId: 0,
    inner: null,
    slots,
    data: null,
    structOps: null,
    autocreate: true,
    tags: [],
  };
}

/** The longest name the kernel keeps: BPF_OBJ_NAME_LEN - 1. */
const maxName = 15;

/**
 * The name of a data map: as much of the object's name as fits before the section's, which is counted as at least 7
 * characters; a section with a second dot stands alone. Characters that the kernel refuses become underscores.
 */
export function internalMapName(objectName: string, sectionName: string): string {
  const suffixLength = Math.min(Math.max(7, sectionName.length), maxName);
  const prefixLength = sectionName.indexOf('.', 1) > 0 ? 0 : Math.min(maxName - suffixLength, objectName.length);
  const name = objectName.slice(0, prefixLength) + sectionName.slice(0, suffixLength);
  return name.replace(/[^A-Za-z0-9_.]/g, '_');
}

/** What bpf_map__name() answers for a data map: dotted .data.* and .rodata.* keep their section's whole name. */
export function dataMapName(objectName: string, sectionName: string, origin: MapOrigin): string {
  const custom = (origin === 'data' && sectionName !== '.data') || (origin === 'rodata' && sectionName !== '.rodata');
  return custom ? sectionName : internalMapName(objectName, sectionName);
}

/**
 * A ring buffer's size as the kernel wants it: the next page times a power of two above `size`, or `size` itself where it is
 * one, is zero (the user sees the kernel's error) or has none above it.
 */
export function ringbufSize(size: number, pageSize: number): number {
  if (size === 0) return 0;
  const pages = size / pageSize;
  if (Number.isInteger(pages) && (pages & (pages - 1)) === 0) return size;
  for (let rounded = pageSize; rounded <= 0xffffffff; rounded *= 2) if (rounded > size) return rounded;
  return size;
}
