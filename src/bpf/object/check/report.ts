/** How an object fares on a kernel: `may break` where only the attach target could not be found. */
export type KernelVerdict = 'ok' | 'may break' | 'breaks';

/** One thing that is wrong with a program on a kernel. */
export interface KernelProblem {
  readonly verdict: Exclude<KernelVerdict, 'ok'>;
  readonly kind: 'relocation' | 'extern' | 'helper' | 'map' | 'program type' | 'attach' | 'link';
  /** `struct task_struct.loginuid`, `bpf_ringbuf_output`, `BPF_MAP_TYPE_ARENA`... */
  readonly what: string;
  readonly why: string;
  /** Slot in the linked program, null where it is not about an instruction. */
  readonly insn: number | null;
  /** `program.bpf.c:42`, null where the object does not say. */
  readonly source: string | null;
}

/** One program on one kernel. */
export interface KernelsCell {
  readonly verdict: KernelVerdict;
  readonly problems: readonly KernelProblem[];
  /** Relocations that this kernel has no answer to, in code that it never runs: what the object is prepared for. */
  readonly guarded: number;
}

/** One program: a cell for each kernel, in their order. */
export interface KernelsRow {
  readonly object: string;
  readonly program: string;
  readonly section: string;
  readonly autoload: boolean;
  readonly cells: readonly KernelsCell[];
}

/** What would break where: a table of programs and kernels. */
export interface KernelsReport {
  readonly kernels: readonly string[];
  readonly rows: readonly KernelsRow[];
  /** What BTF files cannot tell, and was taken for given: sentences without a full stop. */
  readonly unchecked: readonly string[];
}
