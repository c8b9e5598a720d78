/** The ELF file header's fields that matter for BPF objects and for symbol look-up in binaries. */
export interface ElfHeader {
  readonly littleEndian: boolean;
  /** e_type: ET_REL 1, ET_EXEC 2, ET_DYN 3. */
  readonly type: number;
  /** e_machine: EM_BPF 247; EM_NONE 0 is what old LLVM wrote. */
  readonly machine: number;
  readonly entry: bigint;
  readonly flags: number;
}

/** One section header with its name and a view of its bytes. */
export interface ElfSection {
  readonly index: number;
  readonly name: string;
  /** sh_type, one of {@link SHT}. */
  readonly type: number;
  /** sh_flags; flags beyond 2^32 are never used by BPF objects. */
  readonly flags: bigint;
  readonly addr: bigint;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
  readonly info: number;
  readonly addralign: number;
  readonly entsize: number;
  /** The section's bytes, a view into the file; empty for SHT_NOBITS and for a compressed section. */
  readonly data: Uint8Array;
  /** What a SHF_COMPRESSED section says of itself (its bytes are not inflated); null for all others. */
  readonly compression: ElfCompression | null;
}

/** Elf64_Chdr: the head of a SHF_COMPRESSED section. */
export interface ElfCompression {
  /** ELFCOMPRESS_ZLIB 1 or ELFCOMPRESS_ZSTD 2. */
  readonly type: number;
  /** Bytes once inflated. */
  readonly size: number;
  readonly addralign: number;
}

/** One symbol. */
export interface ElfSymbol {
  readonly index: number;
  readonly name: string;
  readonly value: bigint;
  readonly size: bigint;
  /** STT_*. */
  readonly type: number;
  /** STB_*. */
  readonly binding: number;
  /** STV_*. */
  readonly visibility: number;
  /** st_shndx: a section index (SHN_XINDEX is looked up already), or SHN_UNDEF, SHN_ABS, SHN_COMMON. */
  readonly sectionIndex: number;
}

/** One relocation; `addend` is null for SHT_REL, whose addend lies in the relocated bytes. */
export interface ElfRelocation {
  readonly offset: number;
  readonly type: number;
  readonly symbolIndex: number;
  readonly addend: bigint | null;
}

/** One program header. */
export interface ElfSegment {
  readonly type: number;
  readonly flags: number;
  readonly offset: number;
  readonly vaddr: bigint;
  readonly filesz: number;
  readonly memsz: bigint;
  readonly align: bigint;
}

/** One note of a SHT_NOTE section or a PT_NOTE segment. */
export interface ElfNote {
  /** The owner: `GNU`, `stapsdt`, `Linux`. */
  readonly name: string;
  readonly type: number;
  readonly desc: Uint8Array;
}

/** A parsed ELF64 file: tables of plain data over one blob; the symbol tables are read when first asked for. */
export interface ElfFile {
  readonly bytes: Uint8Array;
  readonly header: ElfHeader;
  readonly sections: readonly ElfSection[];
  readonly segments: readonly ElfSegment[];
  /** .symtab, in file order; index 0 is the null symbol; empty where the file has none. */
  readonly symbols: readonly ElfSymbol[];
  /** .dynsym, likewise. */
  readonly dynamicSymbols: readonly ElfSymbol[];
}
