import type { RawbpfError } from '../../error.ts';
import type { ProgramSpec } from './spec.ts';

/** A place in linked instructions that has to be given a file descriptor (or value) when it is loaded. */
export type Fixup =
  | { readonly insn: number; readonly kind: 'map_fd'; readonly map: string }
  /** imm of the first slot: the map's fd; of the second: the offset, already in place. */
  | { readonly insn: number; readonly kind: 'map_value_fd'; readonly map: string }
  /** A kfunc in a module: off is the index in fd_array. */
  | { readonly insn: number; readonly kind: 'module_btf_fd'; readonly module: string; readonly fdArrayIndex: number }
  /** A typed ksym of a module: the second slot's imm. */
  | { readonly insn: number; readonly kind: 'ksym_btf_fd'; readonly module: string }
  /** A jump table: imm of the first slot is the fd of a map made from {@link LinkedProgram.jumpTables}. */
  | { readonly insn: number; readonly kind: 'jump_table_fd'; readonly table: number };

/**
 * One program, relocated for one kernel: subprograms joined, CO-RE applied, externs resolved. Only file descriptors are
 * missing, as {@link Fixup}s; those fields are zero in `insns`.
 */
export interface LinkedProgram {
  readonly spec: ProgramSpec;
  /** Little-endian 8-byte slots. */
  readonly insns: Uint8Array;
  readonly fixups: readonly Fixup[];
  /** Records for BPF_PROG_LOAD, offsets rewritten (in slots), ids those of {@link LinkSession.btf}; empty where the object has none. */
  readonly funcInfo: InfoRecords;
  readonly lineInfo: InfoRecords;
  /** attach_btf_id and the module it lies in ('' for vmlinux); 0 where the type needs none. */
  readonly attachBtfId: number;
  readonly attachBtfModule: string;
  /** Why the attach target was not found, null where it was or none is needed: such a program is linked, and can't be loaded. */
  readonly attachError: RawbpfError | null;
  /** expected_attach_type to load with: the spec's, for struct_ops the index of the kernel's member; 0 where there is none. */
  readonly expectedAttachType: number;
  readonly coreRelocations: readonly AppliedCoreRelocation[];
  /**
   * Jump tables of this program, to be made BPF_MAP_TYPE_INSN_ARRAY maps (struct bpf_insn_array_value, orig_off set) and frozen before
   * it is loaded: slots of this program to jump to.
   */
  readonly jumpTables: readonly Uint32Array[];
  /** The functions joined: the program's own first, then subprograms in order. */
  readonly functions: readonly LinkedFunction[];
}

/** A function within a linked program. */
export interface LinkedFunction {
  readonly name: string;
  readonly sectionName: string;
  /** First slot in the linked program, and in its section. */
  readonly insn: number;
  readonly sectionInsn: number;
  readonly insnCount: number;
}

/** A struct_ops map as one kernel wants it. */
export interface LinkedStructOps {
  /** Name of the {@link MapSpec}. */
  readonly map: string;
  /** Size and BTF id of the kernel's struct bpf_struct_ops_NAME: value_size and btf_vmlinux_value_type_id of the map. */
  readonly valueSize: number;
  readonly valueTypeId: number;
  /** The module that has the type, '' for vmlinux: its BTF fd goes into value_type_btf_obj_fd, with BPF_F_VTYPE_BTF_OBJ_FD. */
  readonly module: string;
  /** The value to write, its program pointers still zero. */
  readonly data: Uint8Array;
  /** Where the file descriptors of programs go, as u64. */
  readonly programs: readonly { readonly offset: number; readonly program: string }[];
}

export interface InfoRecords {
  readonly recordSize: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** What CO-RE did at one instruction, for error messages, inspect and explain. */
export interface AppliedCoreRelocation {
  /** Slot in the linked program. */
  readonly insn: number;
  /** libbpf's name of the kind: `byte_off`, `enumval_exists`... */
  readonly kind: string;
  /** As libbpf prints it: `struct task_struct.nsproxy (0:143 @ offset 2840)`. */
  readonly local: string;
  readonly target: string | null;
  /**
   * True where the instruction was replaced by an invalid call: no candidate fitted, or (with a `target`) the field has a size there
   * that a load or store cannot follow.
   */
  readonly poisoned: boolean;
  readonly value: bigint | null;
  /** Why the target has not got it: `struct sock has no member sk_uid`; null where it has. */
  readonly reason: string | null;
}

/** What linking one program came to: programs are tried one by one, so that one failure names one program. */
export type LinkResult =
  | { readonly ok: true; readonly program: LinkedProgram }
  | { readonly ok: false; readonly spec: ProgramSpec; readonly error: RawbpfError };
