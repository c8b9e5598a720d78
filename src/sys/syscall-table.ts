import { SYSCALLS_ARM64, SYSCALLS_X64 } from './syscalls.gen.ts';

/** Syscall numbers by architecture; the keys are the names that Node's `process.arch` has. */
export const SYSCALLS: { readonly x64: typeof SYSCALLS_X64; readonly arm64: typeof SYSCALLS_ARM64 } = {
  x64: SYSCALLS_X64,
  arm64: SYSCALLS_ARM64,
};

export type SyscallArch = keyof typeof SYSCALLS;
/** A syscall that exists on every supported architecture: `openat`, not `open`. */
export type SyscallName = keyof typeof SYSCALLS_X64 & keyof typeof SYSCALLS_ARM64;

export function syscallNumber(arch: SyscallArch, name: SyscallName): number {
  return SYSCALLS[arch][name];
}

const names = new Map<SyscallArch, ReadonlyMap<number, string>>();

/** The name of a syscall number, `syscall_N` where there is none. */
export function syscallName(arch: SyscallArch, nr: number): string {
  let table = names.get(arch);
  if (table === undefined) {
    table = new Map(Object.entries(SYSCALLS[arch]).map(([name, value]) => [value, name]));
    names.set(arch, table);
  }
  return table.get(nr) ?? `syscall_${nr}`;
}
