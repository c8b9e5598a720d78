/** One CO-RE relocation record of .BTF.ext. */
export interface CoreRelo {
  /** Byte offset of the instruction in its section. */
  readonly insnOffset: number;
  readonly typeId: number;
  /** The access string: `0:1:2`, or an enumerator's index. */
  readonly access: string;
  /** enum bpf_core_relo_kind. */
  readonly kind: number;
}

/** func_info or line_info of one section, raw: records of `recordSize` bytes whose first u32 is the byte offset of the instruction. */
export interface BtfExtSection {
  readonly sectionName: string;
  readonly recordSize: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** Parsed .BTF.ext. */
export interface BtfExt {
  readonly funcInfo: readonly BtfExtSection[];
  readonly lineInfo: readonly BtfExtSection[];
  /** CO-RE relocations by section name, in file order. */
  readonly coreRelos: readonly { readonly sectionName: string; readonly relos: readonly CoreRelo[] }[];
}
