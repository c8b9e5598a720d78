import { UsageError } from '../error.ts';
import type { Address, FfiBackend } from './backend.ts';
import { MAP, PROT } from './constants.ts';
import { check } from './errno.ts';
import type { Sys } from './sys.ts';
import { syscallNumber, type SyscallArch } from './syscall-table.ts';

/** How {@link Mapping.map} maps. */
export interface MappingOptions {
  /** The file to map; absent for anonymous memory. */
  readonly fd?: number;
  /** Offset in the file, a multiple of the page size. */
  readonly offset?: number;
  /** Where it has to lie; anywhere unless said. Fails with EEXIST where something lies there already. */
  readonly address?: Address;
  /** Bytes, a multiple of the page size. */
  readonly length: number;
  /** Whether the pages can be written; writing to others kills the process. */
  readonly writable: boolean;
  /** Maps a file privately instead of shared: some that can only be read want it so. */
  readonly isPrivate?: boolean;
  /** What it is, for the error message: `the ring buffer's producer pages`. */
  readonly what: string;
  /** What the reader of the error message can do. */
  readonly next?: string;
}

interface Region {
  readonly backend: FfiBackend;
  readonly arch: SyscallArch;
  readonly address: number;
  readonly length: number;
}

// The pages go when the last view of them has gone, whether or not anybody called close().
const regions = new FinalizationRegistry<Region>(({ backend, arch, address, length }) => {
  backend.syscall(syscallNumber(arch, 'munmap'), [address, length]);
});

// Ranges at addresses that somebody asked for, closed: never unmapped, for views of them may be left, but free to be mapped again.
const vacated = new Map<Address, number>();

/** How to map at a given address: over a vacated range, made as long as needed where what follows it is free. */
function placement(sys: Sys, address: Address, length: number): { readonly flags: number; readonly reserved: number } {
  const free = vacated.get(address) ?? 0;
  if (free >= length) return { flags: MAP.MAP_FIXED, reserved: free };
  const anonymous = MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS | MAP.MAP_NORESERVE | MAP.MAP_FIXED_NOREPLACE;
  const rest = address + BigInt(free);
  const extended = free > 0 && sys.call('mmap', rest, length - free, PROT.PROT_READ | PROT.PROT_WRITE, anonymous, -1, 0) >= 0;
  return { flags: extended ? MAP.MAP_FIXED : MAP.MAP_FIXED_NOREPLACE, reserved: length };
}

/**
 * Mapped memory that is safe to touch for as long as anyone holds a view of it: close() puts private anonymous memory in
 * its place, and the range is unmapped when its ArrayBuffer is collected.
 */
export class Mapping {
  readonly address: Address;
  readonly length: number;
  readonly #sys: Sys;
  /** Of a range at an address that was asked for: its length, else 0. */
  readonly #reserved: number;
  #buffer: ArrayBuffer | null;

  private constructor(sys: Sys, address: number, length: number, reserved: number) {
    this.#sys = sys;
    this.address = BigInt(address);
    this.length = length;
    try {
      this.#buffer = sys.view(this.address, length);
    } catch (error) {
      sys.call('munmap', this.address, length);
      throw error;
    }
    this.#reserved = reserved;
    if (sys.real && reserved === 0) {
      // Past any recorder: collection happens at no time a recording could repeat.
      let backend = sys.backend;
      while (backend.inner !== undefined) backend = backend.inner;
      regions.register(this.#buffer, { backend, arch: sys.arch, address, length });
    }
  }

  /** Maps a file (shared) or anonymous memory (private); throws a SyscallError where the kernel refuses. */
  static map(sys: Sys, options: MappingOptions): Mapping {
    const prot = options.writable ? PROT.PROT_READ | PROT.PROT_WRITE : PROT.PROT_READ;
    const kind = options.isPrivate === true ? MAP.MAP_PRIVATE : MAP.MAP_SHARED;
    const flags = options.fd === undefined ? MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS : kind;
    const { flags: fixed, reserved } =
      options.address === undefined ? { flags: 0, reserved: 0 } : placement(sys, options.address, options.length);
    const result = sys.call('mmap', options.address ?? 0, options.length, prot, flags | fixed, options.fd ?? -1, options.offset ?? 0);
    const failure = { what: `cannot map ${options.what}`, where: { length: options.length } };
    const address = check(result, 'mmap', options.next === undefined ? failure : { ...failure, next: options.next });
    if (options.address !== undefined) vacated.delete(options.address);
    return new Mapping(sys, address, options.length, reserved);
  }

  /** The memory; throws after close(). Make views of it, never keep one longer than the mapping is needed. */
  get buffer(): ArrayBuffer {
    if (this.#buffer === null) throw new UsageError({ code: 'E_CLOSED', what: 'this mapping is closed' });
    return this.#buffer;
  }

  get closed(): boolean {
    return this.#buffer === null;
  }

  /** Lets go of what was mapped; views made before read zeroes from now on, and writing to them harms nobody. */
  close(): void {
    if (this.#buffer === null) return;
    this.#buffer = null;
    const flags = MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS | MAP.MAP_FIXED | MAP.MAP_NORESERVE;
    this.#sys.call('mmap', this.address, this.length, PROT.PROT_READ | PROT.PROT_WRITE, flags, -1, 0);
    if (this.#reserved > 0) vacated.set(this.address, this.#reserved);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
