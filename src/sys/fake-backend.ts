import { UsageError } from '../error.ts';
import type { Address, FfiBackend, SysArg, Watch } from './backend.ts';
import { PendingBuffers } from './captured-call.ts';
import { syscallName, type SyscallArch } from './syscall-table.ts';

/** Addresses and memory without a machine: addresses are handed out in order, so that every run has the same. */
export class FakeMemory {
  readonly #mapped = new Map<Address, ArrayBuffer>();
  readonly #addresses = new WeakMap<Uint8Array, Address>();
  #next = 0x10_0000_0000n;

  addressOf(bytes: Uint8Array): Address {
    let address = this.#addresses.get(bytes);
    if (address === undefined) {
      address = this.#next;
      this.#next += BigInt(Math.ceil((bytes.length + 1) / 4096) * 4096);
      this.#addresses.set(bytes, address);
    }
    return address;
  }

  /** Puts memory at an address, for view() to find. */
  map(address: Address, memory: ArrayBuffer): void {
    this.#mapped.set(address, memory);
  }

  view(address: Address, length: number): ArrayBuffer {
    const memory = this.#mapped.get(address);
    if (memory === undefined) {
      const zeroes = new ArrayBuffer(length);
      this.#mapped.set(address, zeroes);
      return zeroes;
    }
    if (memory.byteLength < length) {
      throw new UsageError({ code: 'E_FAKE_MEMORY', what: 'fake memory is too short', where: { address, length, has: memory.byteLength } });
    }
    return memory.byteLength === length ? memory : memory.slice(0, length);
  }
}

/** A call that a {@link FakeBackend} answers. */
export interface FakeCall {
  readonly name: string;
  readonly nr: number;
  readonly args: readonly SysArg[];
  /** The buffer at an address that stands in one of the arguments; null where that is none of ours. */
  buffer(address: Address): Uint8Array | null;
}

/**
 * A backend without a kernel: a function answers every call, addresses are the same in every run. Where it answers
 * `undefined`, calls that make descriptors get the next free number and all others 0.
 */
export class FakeBackend implements FfiBackend {
  readonly name = 'fake';
  readonly fake = true;
  readonly memory: FakeMemory = new FakeMemory();
  /** Watches by descriptor, for a test to fire. */
  readonly watched: Map<number, () => void> = new Map();
  readonly #arch: SyscallArch;
  readonly #answer: (call: FakeCall) => number | undefined;
  readonly #pending = new PendingBuffers();
  #nextFd = 3;

  constructor(arch: SyscallArch, answer: (call: FakeCall) => number | undefined = () => undefined) {
    this.#arch = arch;
    this.#answer = answer;
  }

  syscall(nr: number, args: readonly SysArg[]): number {
    const name = syscallName(this.#arch, nr);
    const answer = this.#answer({ name, nr, args, buffer: (address) => this.#pending.at(address) });
    this.#pending.clear();
    return answer ?? (makesFd(name, args) ? this.#nextFd++ : 0);
  }

  addressOf(bytes: Uint8Array): Address {
    const address = this.memory.addressOf(bytes);
    this.#pending.note(address, bytes);
    return address;
  }

  view(address: Address, length: number): ArrayBuffer {
    return this.memory.view(address, length);
  }

  watch(fd: number, onReadable: () => void): Watch {
    const watched = this.watched;
    watched.set(fd, onReadable);
    return { stop: nothing, start: nothing, ref: nothing, unref: nothing, close: () => void watched.delete(fd) };
  }
}

function nothing(): void {}

const fdCalls = new Set([
  'openat',
  'perf_event_open',
  'epoll_create1',
  'fsopen',
  'fsmount',
  'socket',
  'eventfd2',
  'memfd_create',
  'fcntl',
  'pidfd_open',
]);
/** Commands of bpf(2) that answer with a descriptor. */
const fdCommands = new Set([0, 5, 7, 13, 14, 17, 18, 19, 28, 30, 32, 33, 36]);

function makesFd(name: string, args: readonly SysArg[]): boolean {
  return name === 'bpf' ? fdCommands.has(Number(args[0])) : fdCalls.has(name);
}
