import type { BtfKindName, BtfType } from './types.ts';

/** A BTF blob with an index over it; type objects are made on demand. */
export interface Btf {
  readonly bytes: Uint8Array;
  readonly littleEndian: boolean;
  /** The BTF this one is split over, null for a whole one. */
  readonly base: Btf | null;
  /** 4 or 8: guessed from the type named `unsigned long` or `long`, else 8. */
  readonly pointerSize: number;
  /** First id of this BTF's own types: 1, or the base's typeCount. */
  readonly firstId: number;
  /** One more than the last id; ids count from 0 (void) and include the base's. */
  readonly typeCount: number;
  /** The type with this id; throws FormatError E_BTF_TYPE_ID where there is none. */
  type(id: number): BtfType;
  /** The kind number alone, without making an object. */
  kindOf(id: number): number;
  nameOf(id: number): string;
  /** The string at an offset of the string section (base's first, then ours). */
  string(offset: number): string;
  /** The first type of this name (and kind), own types before the base's; null where there is none. */
  findByName(name: string, kind?: BtfKindName): number | null;
  /** Every own type (not the base's) of this exact name. */
  findAll(name: string): readonly number[];
  /** Every own type whose name without a `___flavour` suffix is `name`: CO-RE candidates. */
  findByEssentialName(name: string): readonly number[];
}
