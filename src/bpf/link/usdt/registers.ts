import type { SyscallArch } from '../../../sys/syscall-table.ts';

/** Registers of struct pt_regs (arch/x86/include/asm/ptrace.h) in its order, 8 bytes each. */
const x64Order = 'r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss'.split(' ');

const x64 = new Map<string, number>();
for (const [index, name] of x64Order.entries()) x64.set(name, index * 8);
for (const letter of 'abcd') {
  const at = x64.get(`r${letter}x`) as number;
  for (const part of [`e${letter}x`, `${letter}x`, `${letter}l`]) x64.set(part, at);
  // Bits 8 to 15: one byte on.
  x64.set(`${letter}h`, at + 1);
}
for (const name of ['si', 'di', 'bp', 'sp'])
  for (const part of [`e${name}`, name, `${name}l`]) x64.set(part, x64.get(`r${name}`) as number);
for (let n = 8; n < 16; n++) for (const suffix of ['d', 'w', 'b']) x64.set(`r${n}${suffix}`, x64.get(`r${n}`) as number);

/** struct user_pt_regs (arch/arm64/include/uapi/asm/ptrace.h): 31 registers, then sp and pc. */
const arm64 = new Map<string, number>([
  ['sp', 31 * 8],
  ['pc', 32 * 8],
  ['lr', 30 * 8],
  ['fp', 29 * 8],
]);
for (let n = 0; n < 31; n++) for (const size of 'xw') arm64.set(`${size}${n}`, n * 8);

/** Byte offset of a register in the struct pt_regs that a probe is given; null for one that is not in it (a vector register). */
export function registerOffset(arch: SyscallArch, name: string): number | null {
  return (arch === 'x64' ? x64 : arm64).get(name.toLowerCase()) ?? null;
}
