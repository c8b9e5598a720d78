import type { Address, SysArg } from './backend.ts';
import { syscallName, type SyscallArch } from './syscall-table.ts';

/** A buffer that a system call was given, directly or through an address in another buffer. */
export interface CapturedBuffer {
  /** An address that is the same in every run: the buffer's place among the call's buffers. */
  readonly address: Address;
  /** What it held before the call; addresses in it are those of `nested`. */
  readonly before: Uint8Array;
  /** What it held after, null where the call changed nothing. */
  readonly after: Uint8Array | null;
}

/** One system call, in a form that is the same in every run. */
export interface CapturedCall {
  readonly name: string;
  readonly nr: number;
  /** A number is an integer, a bigint an address (of a mapping), an object a buffer. */
  readonly args: readonly (number | bigint | CapturedBuffer | null)[];
  /** Buffers that other buffers point to, in the order in which the pointers were taken. */
  readonly nested: readonly CapturedBuffer[];
  /** The value, or the negative errno. */
  readonly result: number;
}

/** Buffers whose addresses were taken for the next call. */
export class PendingBuffers {
  readonly #byAddress = new Map<Address, Uint8Array>();

  note(address: Address, bytes: Uint8Array): void {
    this.#byAddress.set(address, bytes);
  }

  /** The buffer at an address, from that address to its end. */
  at(address: Address): Uint8Array | null {
    return this.#byAddress.get(address) ?? null;
  }

  /** Those that the arguments lead to, through any number of pointers. */
  reachable(args: readonly SysArg[]): Map<Address, Uint8Array> {
    const found = new Map<Address, Uint8Array>();
    if (this.#byAddress.size === 0) return found;
    const queue = args.filter((arg): arg is Uint8Array => arg instanceof Uint8Array);
    for (let buffer = queue.pop(); buffer !== undefined; buffer = queue.pop()) {
      for (const [, address] of words(buffer)) {
        const bytes = this.#byAddress.get(address);
        if (bytes === undefined || found.has(address)) continue;
        found.set(address, bytes);
        queue.push(bytes);
      }
    }
    return new Map([...this.#byAddress].filter(([address]) => found.has(address)));
  }

  clear(): void {
    this.#byAddress.clear();
  }
}

/** Longer buffers (a verifier log) are not searched for addresses. */
const maxSearched = 1 << 20;

/** The aligned 64-bit words of a buffer. */
function* words(bytes: Uint8Array): Generator<[offset: number, word: bigint]> {
  if (bytes.length > maxSearched) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let offset = 0; offset + 8 <= bytes.length; offset += 8) yield [offset, view.getBigUint64(offset, true)];
}

/** A call being captured: what it was given, and, once it has returned, what it left. */
export class Capture {
  readonly #nr: number;
  readonly #name: string;
  readonly #args: readonly SysArg[];
  readonly #buffers: readonly Uint8Array[];
  readonly #places = new Map<Uint8Array, Address>();
  readonly #renamed = new Map<Address, Address>();
  readonly #before: ReadonlyMap<Uint8Array, Uint8Array>;
  readonly #nested: readonly Uint8Array[];

  constructor(arch: SyscallArch, nr: number, args: readonly SysArg[], pending: PendingBuffers) {
    this.#nr = nr;
    this.#name = syscallName(arch, nr);
    this.#args = args;
    const nested = pending.reachable(args);
    this.#nested = [...nested.values()];
    this.#buffers = [...new Set([...args.filter((arg): arg is Uint8Array => arg instanceof Uint8Array), ...this.#nested])];
    for (const [i, bytes] of this.#buffers.entries()) this.#places.set(bytes, BigInt(i + 1) << 32n);
    for (const [address, bytes] of nested) this.#renamed.set(address, this.#places.get(bytes) ?? 0n);
    this.#before = new Map(this.#buffers.map((bytes) => [bytes, this.#copy(bytes)]));
  }

  /** The call as captured, with its result; call it after the system call. */
  finish(result: number): CapturedCall {
    const captured = new Map(this.#buffers.map((bytes) => [bytes, this.#captured(bytes)]));
    return {
      name: this.#name,
      nr: this.#nr,
      args: this.#args.map((arg) => (arg instanceof Uint8Array ? (captured.get(arg) ?? null) : arg)),
      nested: this.#nested.map((bytes) => captured.get(bytes) ?? this.#captured(bytes)),
      result,
    };
  }

  /** Puts what a recorded call left into the buffers of this one. */
  restore(recorded: CapturedCall): void {
    const byPlace = new Map<Address, CapturedBuffer>();
    for (const item of [...recorded.args, ...recorded.nested]) {
      if (typeof item === 'object' && item !== null) byPlace.set(item.address, item);
    }
    for (const bytes of this.#buffers) {
      const after = byPlace.get(this.#places.get(bytes) ?? 0n)?.after;
      if (after !== undefined && after !== null) this.#write(bytes, after);
    }
  }

  #captured(bytes: Uint8Array): CapturedBuffer {
    const before = this.#before.get(bytes) ?? this.#copy(bytes);
    const after = this.#copy(bytes);
    return { address: this.#places.get(bytes) ?? 0n, before, after: sameBytes(before, after) ? null : after };
  }

  /** A copy whose addresses of nested buffers are the lasting ones. */
  #copy(bytes: Uint8Array): Uint8Array {
    const copy = bytes.slice();
    if (this.#renamed.size === 0) return copy;
    const view = new DataView(copy.buffer);
    for (const [offset, word] of words(copy)) {
      const place = this.#renamed.get(word);
      if (place !== undefined) view.setBigUint64(offset, place, true);
    }
    return copy;
  }

  #write(bytes: Uint8Array, recorded: Uint8Array): void {
    const places = new Map([...this.#renamed].map(([address, place]) => [place, address]));
    const copy = recorded.slice(0, bytes.length);
    const view = new DataView(copy.buffer, copy.byteOffset, copy.byteLength);
    for (const [offset, word] of words(copy)) {
      const address = places.get(word);
      if (address !== undefined) view.setBigUint64(offset, address, true);
    }
    bytes.set(copy);
  }
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
