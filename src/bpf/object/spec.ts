import type { Btf } from '../../btf/btf.ts';
import type { BtfExt } from '../../btf/ext.ts';

/** How a map came into the object. */
export type MapOrigin = 'btf' | 'legacy' | 'data' | 'rodata' | 'bss' | 'kconfig' | 'struct_ops' | 'arena' | 'jumptables';

/** A slot of a map that the object itself fills: an inner map or, in a prog array, a program. */
export interface MapSlot {
  readonly index: number;
  readonly kind: 'map' | 'program';
  readonly name: string;
}

/** A struct_ops variable: a struct of data and of pointers to programs. */
export interface StructOpsSpec {
  /** BTF id of the struct in the object. */
  readonly typeId: number;
  /** Members that point to programs, by the member's index; the last one for an index counts. */
  readonly programs: readonly { readonly member: number; readonly program: string }[];
}

/** A map as the object declares it; writable fields may be changed between opening and loading. */
export interface MapSpec {
  /** The name in the object: the variable's, or the section's for data maps (`.rodata`, `.data.custom`). */
  readonly name: string;
  /** What libbpf's bpf_map__name() answers: for internal maps the object's name (cut) and the section. */
  readonly libbpfName: string;
  readonly origin: MapOrigin;
  readonly sectionName: string;
  readonly sectionIndex: number;
  /** Offset of the variable within its section; 0 for data maps. */
  readonly sectionOffset: number;
  /** BPF_MAP_TYPE_* number. */
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
  numaNode: number;
  mapExtra: bigint;
  /** LIBBPF_PIN_NONE 0 or LIBBPF_PIN_BY_NAME 1. */
  pinning: number;
  /** BTF ids in the object's BTF, 0 where there is none. */
  readonly keyTypeId: number;
  readonly valueTypeId: number;
  /** For map-in-map: the template of the inner map. */
  readonly inner: MapSpec | null;
  readonly slots: readonly MapSlot[];
  /** Contents of a data map (`.bss`: zeroes), writable until the object is loaded; null for other maps. */
  data: Uint8Array | null;
  /** For struct_ops maps: which programs the struct points to; `data` holds its bytes, pointers zero. */
  structOps: StructOpsSpec | null;
  /** Whether loading creates it: `?` sections and maps nothing refers to may be left out. */
  autocreate: boolean;
  /** Decl tags of the map variable. */
  readonly tags: readonly string[];
}

/** What a relocation of an instruction refers to. */
export type RelocationTarget =
  | { readonly kind: 'map'; readonly map: string }
  /** A variable: `offset` within the data map. */
  | { readonly kind: 'map_value'; readonly map: string; readonly offset: number }
  /** A bpf-to-bpf call of code at a byte offset of a section. */
  | { readonly kind: 'call'; readonly sectionIndex: number; readonly offset: number; readonly symbol: string }
  /** The address of a subprogram (a callback). */
  | { readonly kind: 'func'; readonly sectionIndex: number; readonly offset: number; readonly symbol: string }
  /** An extern variable (.kconfig or .ksyms) loaded by ldimm64. */
  | { readonly kind: 'extern_var'; readonly extern: string }
  /** A kfunc call. */
  | { readonly kind: 'extern_call'; readonly extern: string }
  /** A symbol that is declared nowhere: the program that uses it cannot be linked. */
  | { readonly kind: 'undefined'; readonly symbol: string }
  /** A jump table (gotox): `size` bytes of .jumptables. */
  | { readonly kind: 'insn_array'; readonly offset: number; readonly size: number };

/** One relocation of a program's instructions, `insn` counted in 8-byte slots from the start of its section. */
export interface InsnRelocation {
  readonly insn: number;
  readonly target: RelocationTarget;
}

/** A program as the object declares it: everything that follows from the file alone. */
export interface ProgramSpec {
  /** The function's name. */
  readonly name: string;
  /** Name of the section as written, `?` included. */
  readonly sectionName: string;
  readonly sectionIndex: number;
  /** First instruction, in slots from the start of its section. */
  readonly sectionInsn: number;
  /** The program's own instructions (subprograms not joined yet), in little-endian slots whatever the object's byte order. */
  readonly insns: Uint8Array;
  /** BPF_PROG_TYPE_* number; 0 where no section rule matches. */
  type: number;
  /** BPF_* attach type number; null where the section sets none. */
  expectedAttachType: number | null;
  /** BPF_F_* of BPF_PROG_LOAD that the section implies (sleepable, xdp frags). */
  flags: number;
  /** What the section says after its slash, for attaching: `syscalls/sys_enter_execve`; null for a bare name. */
  attachTo: string | null;
  /** The entry of the section table that matched, null where none did. */
  readonly section: SectionRule | null;
  autoload: boolean;
  autoattach: boolean;
}

/** How a program of a section is attached without being told more. */
export type AttachKind =
  | 'kprobe'
  | 'kprobe_multi'
  | 'ksyscall'
  | 'uprobe'
  | 'uprobe_multi'
  | 'usdt'
  | 'tracepoint'
  | 'raw_tracepoint'
  | 'tracing'
  | 'tracing_multi'
  | 'lsm'
  | 'iter'
  | 'none';

/** One row of the section table (libbpf's section_defs): see {@link findSectionRule}. */
export interface SectionRule {
  /** The pattern: `kprobe+` is the bare name or anything after a slash; without `+` the whole name. */
  readonly pattern: string;
  readonly programType: number;
  readonly attachType: number | null;
  readonly attach: AttachKind;
  readonly sleepable: boolean;
  /** expected_attach_type may be zeroed on kernels without the field. */
  readonly attachTypeOptional: boolean;
  /** attach_btf_id has to be resolved before load. */
  readonly needsBtfTarget: boolean;
  readonly xdpFrags: boolean;
}

/** A global variable in a data map. */
export interface VariableSpec {
  readonly name: string;
  /** The data map it lies in: `.rodata`. */
  readonly map: string;
  readonly offset: number;
  readonly size: number;
  /** BTF type id of the variable's type (not of the VAR), 0 without BTF. */
  readonly typeId: number;
  readonly linkage: 'static' | 'global';
}

/** What a kconfig extern's C type is: it decides which values of the option fit. */
export type KconfigType = 'bool' | 'tristate' | 'char' | 'int' | 'string';

/** An extern: a kernel config value, a kernel symbol or a kernel function. */
export interface ExternSpec {
  readonly name: string;
  readonly kind: 'kconfig' | 'ksym' | 'ksym_typed' | 'kfunc';
  readonly weak: boolean;
  /** BTF type id in the object, qualifiers and typedefs left off for kernel symbols; 0 for untyped. */
  readonly typeId: number;
  /** For kconfig: offset and size in the .kconfig map. */
  readonly offset: number;
  readonly size: number;
  readonly kconfigType: KconfigType | null;
  /** For kconfig integers. */
  readonly signed: boolean;
}

/**
 * Everything a compiled BPF object says, without a kernel: deterministic, the same on any machine.
 * It can be changed before loading: resize a map, set a variable, drop a program.
 */
export interface ObjectSpec {
  /** Name for messages and internal map names: the file's name up to its first dot. */
  readonly name: string;
  readonly littleEndian: boolean;
  readonly license: string;
  /** The `version` section, 0 where there is none. */
  readonly kernVersion: number;
  readonly btf: Btf | null;
  readonly btfExt: BtfExt | null;
  readonly maps: readonly MapSpec[];
  readonly programs: readonly ProgramSpec[];
  readonly variables: readonly VariableSpec[];
  readonly externs: readonly ExternSpec[];
  /** Code sections by ELF section index: instructions and their relocations, for joining subprograms. */
  readonly code: ReadonlyMap<number, CodeSection>;
  /** Index of .text, the section of subprograms; 0 where there is none. */
  readonly textIndex: number;
  /** The .jumptables section, null where there is none. */
  readonly jumpTables: Uint8Array | null;
  /** Whether the object was opened as libbpf would: what libbpf refuses is refused. */
  readonly strict: boolean;
}

/** An executable section. */
export interface CodeSection {
  readonly index: number;
  readonly name: string;
  /** Little-endian slots. */
  readonly insns: Uint8Array;
  /** Sorted by `insn`. */
  readonly relocations: readonly InsnRelocation[];
  /** STT_FUNC symbols of the section, sorted by offset, in slots. */
  readonly functions: readonly FunctionSymbol[];
}

export interface FunctionSymbol {
  readonly name: string;
  readonly insn: number;
  readonly insnCount: number;
  readonly binding: number;
  readonly visibility: number;
}
