import type { Address, FfiBackend, SysArg, Watch } from './backend.ts';
import { syscallNumber, type SyscallArch, type SyscallName } from './syscall-table.ts';

/**
 * The one seam to the kernel: every syscall of rawbpf goes through a `Sys`, by name, and comes back as a value or a
 * negative errno. Tests and explain mode put another backend behind it.
 */
export class Sys {
  readonly backend: FfiBackend;
  readonly arch: SyscallArch;
  /** A BPF token that goes with calls that take one; null for none. */
  readonly tokenFd: number | null;

  constructor(backend: FfiBackend, arch: SyscallArch, tokenFd: number | null = null) {
    this.backend = backend;
    this.arch = arch;
    this.tokenFd = tokenFd;
  }

  /** Whether a kernel answers, not a script or a recording. */
  get real(): boolean {
    return this.backend.fake !== true;
  }

  /** Makes a syscall; returns its value, or the negative errno (`-2` for ENOENT). Never throws for an errno. */
  call(name: SyscallName, ...args: readonly SysArg[]): number {
    return this.backend.syscall(syscallNumber(this.arch, name), args);
  }

  /** Makes a syscall on another thread; null where the backend cannot. The promise gives null for a call that failed, never rejects. */
  offload(name: SyscallName, ...args: readonly SysArg[]): Promise<number | null> | null {
    return this.backend.offload?.(syscallNumber(this.arch, name), args) ?? null;
  }

  addressOf(bytes: Uint8Array): Address {
    return this.backend.addressOf(bytes);
  }

  view(address: Address, length: number): ArrayBuffer {
    return this.backend.view(address, length);
  }

  /** Watches a descriptor for readability, or null where the backend has no poll: use a timer then. */
  watch(fd: number, onReadable: () => void): Watch | null {
    return this.backend.watch?.(fd, onReadable) ?? null;
  }
}
