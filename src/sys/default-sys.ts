import { UnsupportedError, UsageError } from '../error.ts';
import type { FfiBackend } from './backend.ts';
import { koffiBackend } from './koffi-backend.ts';
import { nodeFfiBackend } from './node-ffi-backend.ts';
import { Sys } from './sys.ts';
import { SYSCALLS, type SyscallArch } from './syscall-table.ts';

/** The foreign function interfaces that ship with rawbpf: `koffi`, or `node` for node:ffi. */
export type BackendName = 'koffi' | 'node';

/**
 * Makes a backend: the one named, or the one that the environment variable RAWBPF_FFI names, or koffi, or where koffi is
 * not installed node:ffi.
 */
export function createBackend(name?: BackendName): FfiBackend {
  const wanted = name ?? process.env['RAWBPF_FFI'];
  if (wanted === 'koffi') return koffiBackend();
  if (wanted === 'node') return nodeFfiBackend();
  if (wanted !== undefined && wanted !== '') {
    throw new UsageError({
      code: 'E_FFI_NAME',
      what: `unknown FFI backend ${wanted}`,
      where: { variable: 'RAWBPF_FFI' },
      next: 'use koffi or node',
    });
  }
  try {
    return koffiBackend();
  } catch (error) {
    try {
      return nodeFfiBackend();
    } catch {
      // koffi is what most people have: its message says what to do about both.
      throw error;
    }
  }
}

let shared: Sys | null = null;

/** The `Sys` of this process and kernel, made at the first call. */
export function defaultSys(): Sys {
  shared ??= new Sys(createBackend(), hostArch());
  return shared;
}

/** The architecture of this process; throws an {@link UnsupportedError} where rawbpf can make no syscalls. */
export function hostArch(): SyscallArch {
  if (process.platform !== 'linux' || !Object.hasOwn(SYSCALLS, process.arch)) {
    throw new UnsupportedError({
      code: 'E_PLATFORM',
      what: 'system calls can be made on Linux on x86-64 and arm64 only',
      where: { platform: process.platform, arch: process.arch },
      next: 'parsing (rawbpf/elf, rawbpf/btf, rawbpf/insn, rawbpf/object) works anywhere',
    });
  }
  return process.arch as SyscallArch;
}
