import { createRequire } from 'node:module';
import { UnsupportedError } from '../error.ts';
import type { Address, FfiBackend, SysArg } from './backend.ts';

/** What this file uses of node:ffi (Node 26.9 and newer); @types/node has no types of it yet. */
interface NodeFfi {
  readonly DynamicLibrary: new (path: string | null) => {
    getFunctions(table: Record<string, { arguments: readonly string[]; return: string }>): Record<string, (...args: bigint[]) => bigint>;
  };
  getInt32(address: bigint): number;
  getRawPointer(bytes: Uint8Array): bigint;
  toArrayBuffer(address: bigint, length: number, copy: boolean): ArrayBuffer;
}

/** A backend over Node's own FFI: no addon of anyone's; it has no poll, so readers look by timer. */
export function nodeFfiBackend(): FfiBackend {
  const ffi = loadNodeFfi();
  const library = new ffi.DynamicLibrary(null);
  const functions = library.getFunctions({
    syscall: { arguments: ['i64', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'], return: 'i64' },
    // glibc and musl both export it.
    __errno_location: { arguments: [], return: 'pointer' },
  });
  const { syscall, __errno_location: errnoLocation } = functions;
  if (syscall === undefined || errnoLocation === undefined) throw unavailable('the C library has no syscall()');
  const errnoAddress = errnoLocation();
  const addressOf = (bytes: Uint8Array): Address => {
    // Touching .buffer moves a small array, which V8 may keep in its moving heap, to memory with a lasting address.
    if (bytes.buffer.byteLength === 0) return 0n;
    return ffi.getRawPointer(bytes);
  };
  const integer = (arg: SysArg | undefined): bigint => {
    if (typeof arg === 'bigint') return BigInt.asIntN(64, arg);
    if (typeof arg === 'number') return BigInt(arg);
    return arg === null || arg === undefined || arg.length === 0 ? 0n : addressOf(arg);
  };
  return {
    name: 'node:ffi',
    syscall(nr, args) {
      const value = syscall(
        BigInt(nr),
        integer(args[0]),
        integer(args[1]),
        integer(args[2]),
        integer(args[3]),
        integer(args[4]),
        integer(args[5]),
      );
      // Nothing may run between the call and this read: errno is the thread's, and Node's own work changes it.
      return value === -1n ? -ffi.getInt32(errnoAddress) : Number(value);
    },
    addressOf,
    view: (address: Address, length: number) => ffi.toArrayBuffer(address, length, false),
  };
}

function loadNodeFfi(): NodeFfi {
  try {
    return createRequire(import.meta.url)('node:ffi') as NodeFfi;
  } catch (cause) {
    throw unavailable(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function unavailable(why: string, cause?: unknown): UnsupportedError {
  return new UnsupportedError({
    code: 'E_FFI_UNAVAILABLE',
    what: 'node:ffi cannot be used',
    where: { node: process.version },
    why,
    next: 'use Node 26.9 or newer (with --allow-ffi under --permission), or unset RAWBPF_FFI to use koffi',
    cause,
  });
}
