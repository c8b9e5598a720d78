import type { Btf } from '../../btf/btf.ts';

/** A kernel module's BTF, split over vmlinux's. */
export interface ModuleBtf {
  readonly name: string;
  readonly btf: Btf;
  /** fd of the BTF object, for fd_array and attach_btf_obj_fd; -1 when linking without a kernel. */
  readonly fd: number;
}

/**
 * What linking needs to know of the kernel the programs are for. Everything is asked lazily, so that an object without
 * CO-RE, externs or attach targets costs none of it; the bpf layer makes one for the running kernel, tests make their own.
 */
export interface TargetKernel {
  /** LINUX_VERSION_CODE form: (major << 16) + (minor << 8) + min(patch, 255). */
  readonly version: number;
  readonly arch: 'x86' | 'arm64';
  /** vmlinux BTF, null where there is none: for attach targets, externs, and CO-RE. */
  vmlinuxBtf(): Btf | null;
  /** The BTF the user gave for CO-RE to look into instead of vmlinux's and the modules'; null (or absent) where none was. */
  coreBtf?(): Btf | null;
  /** BTF of loaded modules; broken ones are left out. */
  moduleBtfs(): readonly ModuleBtf[];
  /** Candidate types that come before the kernel's: layouts made for the purpose. */
  readonly extraBtfs: readonly Btf[];
  /** Address of a kernel symbol from kallsyms; null where there is none. */
  kernelSymbol(name: string): bigint | null;
  /** The text of a CONFIG_ option (`y`, `m`, `"str"`, `42`); null where it is not set; throws where no config can be read. */
  kconfig(name: string): string | null;
  /** Names that a kernel symbol or an option might have been meant by; asked only for error messages. */
  similarNames?(kind: 'ksym' | 'kconfig', name: string): Iterable<string>;
  /** Whether the kernel has a feature that changes linking, such as the helper bpf_probe_read_kernel. */
  has(feature: LinkFeature): boolean;
  /**
   * The ring buffer decision: false makes every CO-RE question about ring buffers answer no (values of enum bpf_func_id
   * named BPF_FUNC_ringbuf_*, BPF_MAP_TYPE_RINGBUF, struct bpf_ringbuf), whatever the kernel's BTF says.
   */
  readonly ringbuf: boolean;
}

export type LinkFeature =
  | 'bpf_cookie'
  | 'syscall_wrapper'
  | 'probe_read_kernel'
  | 'ldimm64_full_range_off'
  | 'uprobe_multi'
  | 'arg_ctx_tag';
