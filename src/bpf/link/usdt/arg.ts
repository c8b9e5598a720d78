import { FormatError } from '../../../error.ts';
import type { SyscallArch } from '../../../sys/syscall-table.ts';
import { registerOffset } from './registers.ts';

/** Where an argument of a USDT probe is while it fires; registers are byte offsets in struct pt_regs. */
export type UsdtPlace =
  | { readonly kind: 'const'; readonly value: bigint }
  | { readonly kind: 'register'; readonly register: number }
  /** In memory at the register's value plus an offset. */
  | { readonly kind: 'memory'; readonly register: number; readonly offset: bigint }
  /** In memory at register + (index << shift) + offset. */
  | { readonly kind: 'indexed'; readonly register: number; readonly index: number; readonly shift: number; readonly offset: bigint };

/** One argument. */
export interface UsdtArg {
  /** Bytes: 1, 2, 4 or 8. */
  readonly size: number;
  readonly signed: boolean;
  readonly place: UsdtPlace;
}

/** What the operands may refer to besides registers. */
export interface UsdtArgContext {
  readonly arch: SyscallArch;
  /** Address that the probed instruction is linked at: places relative to it are told by names. */
  readonly location?: bigint;
  /** Linked address of a variable of the file, null where there is none. */
  readonly symbol?: (name: string) => bigint | null;
}

/** SIZE[f]@OPERAND; an operand in brackets or parentheses may hold spaces. */
const argPattern = /\s*(-?\d+)(f?)@(\[[^\]]*\]|[^\s(]*\([^)]*\)|\S+)/y;

/**
 * Parses the argument string of a stapsdt note, as assemblers of x86-64 and arm64 write operands: `-4@$-9`, `8@%rax`,
 * `-4@-1204(%rbp)`, `1@8(%rdi,%rax,4)`, `4@counter(%rip)`; `-4@5`, `8@x4`, `4@[sp, 60]`, `8@[x0, x1, lsl 3]`.
 *
 * Throws FormatError E_USDT_ARG, which names the argument.
 */
export function parseUsdtArgs(text: string, context: UsdtArgContext): UsdtArg[] {
  const args: UsdtArg[] = [];
  argPattern.lastIndex = 0;
  const end = text.trimEnd().length;
  while (argPattern.lastIndex < end) {
    const from = argPattern.lastIndex;
    const match = argPattern.exec(text);
    if (match === null) throw bad(text.slice(from).trim(), text, 'it is not SIZE@OPERAND');
    const [whole, size, float, operand] = match as unknown as [string, string, string, string];
    const bytes = Math.abs(Number(size));
    if (![1, 2, 4, 8].includes(bytes)) throw bad(whole.trim(), text, 'its size is not 1, 2, 4 or 8');
    if (float !== '') throw bad(whole.trim(), text, 'floating-point arguments cannot be read by a BPF program');
    const place = context.arch === 'x64' ? placeX64(operand, context) : placeArm64(operand);
    if (typeof place === 'string') throw bad(whole.trim(), text, place);
    args.push({ size: bytes, signed: size.startsWith('-'), place });
  }
  return args;
}

function bad(argument: string, text: string, why: string): FormatError {
  return new FormatError({
    code: 'E_USDT_ARG',
    what: 'an argument of a USDT probe cannot be read',
    where: { argument, arguments: text },
    why,
  });
}

const noRegister = (name: string): string => `there is no register ${name} among those that a probe is given`;

/** The place, or why there is none. */
function placeX64(operand: string, context: UsdtArgContext): UsdtPlace | string {
  if (operand.startsWith('$')) {
    const value = integer(operand.slice(1));
    return value === null ? 'it is not a number' : { kind: 'const', value };
  }
  if (operand.startsWith('%')) {
    const register = registerOffset('x64', operand.slice(1));
    return register === null ? noRegister(operand) : { kind: 'register', register };
  }
  const match = /^([^()]*)\(\s*(%\w+)?\s*(?:,\s*(%\w+)\s*(?:,\s*([1248])\s*)?)?\)$/.exec(operand);
  if (match === null) return 'it is neither a constant, a register nor memory at a register';
  const [, displacement, baseName, indexName, scale] = match as unknown as [string, string, string?, string?, string?];
  const base = baseName === undefined ? null : registerOffset('x64', baseName.slice(1));
  if (baseName === undefined || base === null) return baseName === undefined ? 'it has no base register' : noRegister(baseName);
  const sum = sumOf(displacement, context);
  if (typeof sum === 'string') return sum;
  if (indexName === undefined) {
    if (!sum.absolute) return { kind: 'memory', register: base, offset: sum.value };
    // The assembler writes a variable's address relative to the instruction; the register holds that of the probe.
    if (baseName !== '%rip' || context.location === undefined) return 'a variable can be told by %rip only';
    return { kind: 'memory', register: base, offset: sum.value - context.location };
  }
  const index = registerOffset('x64', indexName.slice(1));
  if (index === null) return noRegister(indexName);
  if (sum.absolute) return 'a variable can be told by %rip only';
  return { kind: 'indexed', register: base, index, shift: Math.log2(Number(scale ?? 1)), offset: sum.value };
}

/** `-16`, `16+8`, `counter+4`; `absolute` where a variable is in it. */
function sumOf(text: string, context: UsdtArgContext): { value: bigint; absolute: boolean } | string {
  let value = 0n;
  let absolute = false;
  for (const [, sign, term] of text.replaceAll(' ', '').matchAll(/([+-]?)([^+-]+)/g) as Iterable<[string, string, string]>) {
    let amount = integer(term);
    if (amount === null) {
      amount = absolute || sign === '-' ? null : (context.symbol?.(term) ?? null);
      if (amount === null) return `the file has no variable ${term}`;
      absolute = true;
    }
    value += sign === '-' ? -amount : amount;
  }
  return { value, absolute };
}

function placeArm64(operand: string): UsdtPlace | string {
  const value = integer(operand.replace(/^#/, ''));
  if (value !== null) return { kind: 'const', value };
  if (!operand.startsWith('[')) {
    if (/^[xw]zr$/i.test(operand)) return { kind: 'const', value: 0n };
    const register = registerOffset('arm64', operand);
    return register === null ? noRegister(operand) : { kind: 'register', register };
  }
  const [baseName = '', second, extend, ...rest] = operand
    .slice(1, -1)
    .split(',')
    .map((part) => part.trim());
  const base = registerOffset('arm64', baseName);
  if (base === null) return noRegister(baseName);
  const offset = second === undefined ? 0n : integer(second.replace(/^#/, ''));
  if (offset !== null && extend === undefined) return { kind: 'memory', register: base, offset };
  const index = second === undefined ? null : registerOffset('arm64', second);
  if (second === undefined || index === null || rest.length > 0) return 'it is not memory at a register';
  // An index of 32 bits would have to be extended first.
  if (!second.startsWith('x')) return 'its index register is not one of 64 bits';
  const shift = extend === undefined ? 0n : integer(/^lsl\s+#?(\d+)$/i.exec(extend)?.[1] ?? '');
  return shift === null || shift > 15n
    ? 'its index is not shifted in a way that is known'
    : { kind: 'indexed', register: base, index, shift: Number(shift), offset: 0n };
}

/** A decimal or hexadecimal integer with an optional sign; null for anything else. */
function integer(text: string): bigint | null {
  const match = /^(-?)(0x[0-9a-f]+|\d+)$/i.exec(text);
  if (match === null) return null;
  const value = BigInt(match[2] as string);
  return match[1] === '-' ? -value : value;
}
