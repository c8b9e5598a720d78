import { BTF_KIND } from './types.ts';

/** How long a type of one kind is: bytes once after the 12-byte head, and for each of its vlen elements. */
export interface KindLayout {
  readonly infoSize: number;
  readonly elementSize: number;
}

/** struct btf_type. */
export const typeHeadSize = 12;

const { INT, ARRAY, STRUCT, UNION, ENUM, FUNC_PROTO, VAR, DATASEC, DECL_TAG, ENUM64 } = BTF_KIND;
const infoSizes: Readonly<Record<number, number>> = { [INT]: 4, [ARRAY]: 12, [VAR]: 4, [DECL_TAG]: 4 };
const elementSizes: Readonly<Record<number, number>> = {
  [STRUCT]: 12,
  [UNION]: 12,
  [ENUM]: 8,
  [FUNC_PROTO]: 8,
  [DATASEC]: 12,
  [ENUM64]: 12,
};

/** By kind number, 0 (UNKN) to ENUM64; what the layout section of our own BTF says. */
export const kindLayouts: readonly KindLayout[] = Array.from({ length: BTF_KIND.ENUM64 + 1 }, (_, kind) => ({
  infoSize: infoSizes[kind] ?? 0,
  elementSize: elementSizes[kind] ?? 0,
}));
