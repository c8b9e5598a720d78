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
  | { readonly insn: number; readonly kind: 'ksym_btf_fd'; readonly module: string };

/**
 * One program, relocated for one kernel: subprograms joined, CO-RE applied, externs resolved. Only file descriptors are
 * missing, as {@link Fixup}s; those fields are zero in `insns`.
 */
export interface LinkedProgram {
  readonly spec: ProgramSpec;
  /** Little-endian 8-byte slots. */
  readonly insns: Uint8Array;
  readonly fixups: readonly Fixup[];
  /** Records for BPF_PROG_LOAD, offsets rewritten (in slots); empty where the object has none. */
  readonly funcInfo: InfoRecords;
  readonly lineInfo: InfoRecords;
  /** attach_btf_id and the module it lies in ('' for vmlinux); 0 where the type needs none. */
  readonly attachBtfId: number;
  readonly attachBtfModule: string;
  readonly coreRelocations: readonly AppliedCoreRelocation[];
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
  /** True where no candidate fitted and the instruction was replaced by an invalid call. */
  readonly poisoned: boolean;
  readonly value: bigint | null;
}

/** What linking one program came to: programs are tried one by one, so that one failure names one program. */
export type LinkResult =
  | { readonly ok: true; readonly program: LinkedProgram }
  | { readonly ok: false; readonly spec: ProgramSpec; readonly error: RawbpfError };
