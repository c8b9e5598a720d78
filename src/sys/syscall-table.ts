/** Syscall numbers by architecture (asm/unistd_64.h; asm-generic/unistd.h). */
export const SYSCALLS = {
  x64: { close: 3, bpf: 321 },
  arm64: { close: 57, bpf: 280 },
} as const;

export type SyscallArch = keyof typeof SYSCALLS;
export type SyscallName = keyof (typeof SYSCALLS)['x64'];

export function syscallNumber(arch: SyscallArch, name: SyscallName): number {
  return SYSCALLS[arch][name];
}
