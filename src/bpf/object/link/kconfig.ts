import { toUtf8 } from '../../../bytes/text.ts';
import type { RawbpfError } from '../../../error.ts';
import type { ExternSpec } from '../spec.ts';
import type { TargetKernel } from '../target.ts';
import { LinkError } from './error.ts';

/** enum libbpf_tristate. */
const tristate = { n: 0n, y: 1n, m: 2n } as const;

/**
 * The bytes of one kconfig extern on a kernel, in the byte order of the object; null where the option is not set (a weak
 * extern is then zero). Throws {@link LinkError} where the value does not fit the extern's type.
 */
export function kconfigValue(extern: ExternSpec, target: TargetKernel, littleEndian: boolean): Uint8Array | null {
  const { name } = extern;
  if (!name.startsWith('CONFIG_')) return numberBytes(extern, virtualValue(extern, target), littleEndian);
  const text = target.kconfig(name);
  if (text === null) return null;
  switch (text[0]) {
    case 'y':
    case 'n':
    case 'm':
      return triBytes(extern, text[0], littleEndian);
    case '"':
      return stringBytes(extern, text);
    default: {
      const value = parseInteger(text);
      if (value === null) throw kconfigError(extern, `${text} is not a number`);
      if (extern.kconfigType !== 'int' && extern.kconfigType !== 'char')
        throw kconfigError(extern, `${text} is a number, the extern is a ${extern.kconfigType}`);
      return numberBytes(extern, value, littleEndian);
    }
  }
}

/** Externs that loaders fill in without a look at the kernel's configuration. */
function virtualValue(extern: ExternSpec, target: TargetKernel): bigint {
  switch (extern.name) {
    case 'LINUX_KERNEL_VERSION':
      return BigInt(target.version);
    case 'LINUX_HAS_BPF_COOKIE':
      return target.has('bpf_cookie') ? 1n : 0n;
    case 'LINUX_HAS_SYSCALL_WRAPPER':
      return target.has('syscall_wrapper') ? 1n : 0n;
    default:
      if (extern.name.startsWith('LINUX_') && extern.weak) return 0n;
      throw kconfigError(
        extern,
        'only CONFIG_ options and LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE, LINUX_HAS_SYSCALL_WRAPPER can be asked for',
      );
  }
}

function triBytes(extern: ExternSpec, value: 'y' | 'n' | 'm', littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(extern.size);
  switch (extern.kconfigType) {
    case 'bool':
      if (value === 'm') throw kconfigError(extern, 'the option is a module (m), the extern is a bool');
      bytes[0] = value === 'y' ? 1 : 0;
      return bytes;
    case 'tristate':
      return littleEndianBytes(tristate[value], extern.size, littleEndian);
    case 'char':
      bytes[0] = value.charCodeAt(0);
      return bytes;
    default:
      throw kconfigError(extern, `the option is ${value}, the extern is a ${extern.kconfigType}`);
  }
}

function stringBytes(extern: ExternSpec, text: string): Uint8Array {
  if (extern.kconfigType !== 'string')
    throw kconfigError(extern, `the option is the string ${text}, the extern is a ${extern.kconfigType}`);
  if (text.length < 2 || !text.endsWith('"')) throw kconfigError(extern, `the string ${text} does not end`);
  const bytes = new Uint8Array(extern.size);
  // A longer one is cut: there is always a NUL.
  bytes.set(toUtf8(text.slice(1, -1)).subarray(0, extern.size - 1));
  return bytes;
}

function numberBytes(extern: ExternSpec, value: bigint, littleEndian: boolean): Uint8Array {
  const { kconfigType, size, signed } = extern;
  if (kconfigType !== 'int' && kconfigType !== 'char' && kconfigType !== 'bool')
    throw kconfigError(extern, `the value is ${value}, the extern is a ${kconfigType}`);
  if (kconfigType === 'bool' && value > 1n) throw kconfigError(extern, `the value is ${value}, the extern is a bool`);
  const bits = size * 8;
  const fits = size === 8 || (signed ? BigInt.asIntN(bits, value) === BigInt.asIntN(64, value) : BigInt.asUintN(bits, value) === value);
  if (!fits) throw kconfigError(extern, `${value} does not fit in ${size} bytes`);
  return littleEndianBytes(value, size, littleEndian);
}

function littleEndianBytes(value: bigint, size: number, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = 0; i < size; i++) bytes[littleEndian ? i : size - 1 - i] = Number(BigInt.asUintN(8, value >> BigInt(i * 8)));
  return bytes;
}

/** As strtoull() with base 0: decimal, 0x hex, 0 octal, a sign; the result is 64 bits. */
function parseInteger(text: string): bigint | null {
  const match = /^\s*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)$/.exec(text);
  const digits = match?.[2];
  if (digits === undefined) return null;
  const value = BigInt(/^0[0-7]+$/.test(digits) ? `0o${digits.slice(1)}` : digits);
  if (value >= 1n << 64n) return null;
  return BigInt.asUintN(64, match?.[1] === '-' ? -value : value);
}

function kconfigError(extern: ExternSpec, why: string): RawbpfError {
  return new LinkError({ code: 'E_KCONFIG', what: 'cannot fill a kconfig extern', where: { extern: extern.name }, why });
}
