/** BTF kinds, with the kernel's numbers (include/uapi/linux/btf.h). */
export const BTF_KIND = {
  UNKN: 0,
  INT: 1,
  PTR: 2,
  ARRAY: 3,
  STRUCT: 4,
  UNION: 5,
  ENUM: 6,
  FWD: 7,
  TYPEDEF: 8,
  VOLATILE: 9,
  CONST: 10,
  RESTRICT: 11,
  FUNC: 12,
  FUNC_PROTO: 13,
  VAR: 14,
  DATASEC: 15,
  FLOAT: 16,
  DECL_TAG: 17,
  TYPE_TAG: 18,
  ENUM64: 19,
} as const;
export type BtfKindName = keyof typeof BTF_KIND;

/** INT encodings, as bits. */
export const BTF_INT = { SIGNED: 1, CHAR: 2, BOOL: 4 } as const;
/** Linkage of VAR and FUNC. */
export const BTF_LINKAGE = { STATIC: 0, GLOBAL: 1, EXTERN: 2 } as const;

interface BtfCommon {
  /** Type id; 0 is void. */
  readonly id: number;
  /** Name, '' where anonymous. */
  readonly name: string;
}

/** Type 0. */
export interface BtfVoid extends BtfCommon {
  readonly kind: 'UNKN';
}
export interface BtfInt extends BtfCommon {
  readonly kind: 'INT';
  /** Bytes. */
  readonly size: number;
  /** Bits of {@link BTF_INT}. */
  readonly encoding: number;
  /** Bit offset within the storage unit. */
  readonly bitOffset: number;
  readonly bits: number;
}
/** A pointer, a qualifier, a typedef or a type tag: something that refers to one type. */
export interface BtfReference extends BtfCommon {
  readonly kind: 'PTR' | 'TYPEDEF' | 'VOLATILE' | 'CONST' | 'RESTRICT' | 'TYPE_TAG';
  readonly typeId: number;
  /** For TYPE_TAG: the tag is an attribute (kind_flag), not `btf_type_tag`. */
  readonly attribute: boolean;
}
export interface BtfArray extends BtfCommon {
  readonly kind: 'ARRAY';
  readonly typeId: number;
  readonly indexTypeId: number;
  readonly count: number;
}
export interface BtfMember {
  readonly name: string;
  readonly typeId: number;
  readonly bitOffset: number;
  /** 0 where the member is not a bitfield. */
  readonly bitSize: number;
}
export interface BtfComposite extends BtfCommon {
  readonly kind: 'STRUCT' | 'UNION';
  readonly size: number;
  readonly members: readonly BtfMember[];
}
export interface BtfEnumerator {
  readonly name: string;
  readonly value: bigint;
}
export interface BtfEnum extends BtfCommon {
  readonly kind: 'ENUM' | 'ENUM64';
  readonly size: number;
  readonly signed: boolean;
  readonly values: readonly BtfEnumerator[];
}
export interface BtfForward extends BtfCommon {
  readonly kind: 'FWD';
  readonly target: 'STRUCT' | 'UNION';
}
export interface BtfFunc extends BtfCommon {
  readonly kind: 'FUNC';
  readonly typeId: number;
  readonly linkage: number;
}
export interface BtfParam {
  readonly name: string;
  readonly typeId: number;
}
export interface BtfFuncProto extends BtfCommon {
  readonly kind: 'FUNC_PROTO';
  readonly returnTypeId: number;
  /** A last parameter with type 0 and no name means variadic. */
  readonly params: readonly BtfParam[];
}
export interface BtfVar extends BtfCommon {
  readonly kind: 'VAR';
  readonly typeId: number;
  readonly linkage: number;
}
export interface BtfSecInfo {
  readonly typeId: number;
  readonly offset: number;
  readonly size: number;
}
export interface BtfDatasec extends BtfCommon {
  readonly kind: 'DATASEC';
  readonly size: number;
  readonly variables: readonly BtfSecInfo[];
}
export interface BtfFloat extends BtfCommon {
  readonly kind: 'FLOAT';
  readonly size: number;
}
export interface BtfDeclTag extends BtfCommon {
  readonly kind: 'DECL_TAG';
  readonly typeId: number;
  /** -1 for the type itself, else the member or parameter. */
  readonly componentIndex: number;
  readonly attribute: boolean;
}
/** A kind this version does not know, skipped by means of the BTF layout section. */
export interface BtfUnknown extends BtfCommon {
  readonly kind: 'UNKNOWN';
  readonly kindNumber: number;
}

/** One BTF type as plain data, made on demand. */
export type BtfType =
  | BtfVoid
  | BtfInt
  | BtfReference
  | BtfArray
  | BtfComposite
  | BtfEnum
  | BtfForward
  | BtfFunc
  | BtfFuncProto
  | BtfVar
  | BtfDatasec
  | BtfFloat
  | BtfDeclTag
  | BtfUnknown;
