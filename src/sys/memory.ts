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

interface Range {
  readonly start: Address;
  /** One past the last byte. */
  readonly end: Address;
}

// Ranges at addresses that somebody asked for, closed: never unmapped, for views of them may be left, but free to be mapped again.
// Ascending, none touching another.
let vacated: readonly Range[] = [];

/** A range belongs to nobody any more. */
function vacate(range: Range): void {
  let { start, end } = range;
  const apart = vacated.filter((other) => {
    if (other.end < start || other.start > end) return true;
    start = other.start < start ? other.start : start;
    end = other.end > end ? other.end : end;
    return false;
  });
  vacated = [...apart, { start, end }].toSorted((one, other) => (one.start < other.start ? -1 : 1));
}

/** A range belongs to somebody again. */
function occupy({ start, end }: Range): void {
  vacated = vacated.flatMap((other) => {
    if (other.end <= start || other.start >= end) return [other];
    const left = [
      { start: other.start, end: start },
      { start: end, end: other.end },
    ];
    return left.filter((rest) => rest.start < rest.end);
  });
}

/** What of a range is not vacated. */
function gaps({ start, end }: Range): Range[] {
  const found: Range[] = [];
  let at = start;
  for (const other of vacated) {
    if (other.end <= at || other.start >= end) continue;
    if (other.start > at) found.push({ start: at, end: other.start });
    at = other.end;
  }
  if (at < end) found.push({ start: at, end });
  return found;
}

/**
 * Makes sure that all of a range is ours to map over: vacated, or free and reserved now. Returns what was reserved; null where
 * something else lies there.
 */
function reserve(sys: Sys, range: Range): Range[] | null {
  const flags = MAP.MAP_PRIVATE | MAP.MAP_ANONYMOUS | MAP.MAP_NORESERVE | MAP.MAP_FIXED_NOREPLACE;
  const reserved: Range[] = [];
  for (const gap of gaps(range)) {
    const result = sys.call('mmap', gap.start, Number(gap.end - gap.start), PROT.PROT_READ | PROT.PROT_WRITE, flags, -1, 0);
    // A kernel before 4.17 does not know MAP_FIXED_NOREPLACE and maps where it likes.
    if (result >= 0 && BigInt(result) === gap.start) reserved.push(gap);
    else {
      if (result >= 0) sys.call('munmap', result, Number(gap.end - gap.start));
      release(sys, reserved);
      return null;
    }
  }
  return reserved;
}

function release(sys: Sys, ranges: readonly Range[]): void {
  for (const { start, end } of ranges) sys.call('munmap', start, Number(end - start));
}

/**
 * Mapped memory that is safe to touch for as long as anyone holds a view of it: close() puts private anonymous memory in
 * its place, and the range is unmapped when its ArrayBuffer is collected.
 */
export class Mapping {
  readonly address: Address;
  readonly length: number;
  readonly #sys: Sys;
  /** Whether somebody asked for this very address. */
  readonly #placed: boolean;
  #buffer: ArrayBuffer | null;

  private constructor(sys: Sys, address: number, length: number, placed: boolean) {
    this.#sys = sys;
    this.address = BigInt(address);
    this.length = length;
    try {
      this.#buffer = sys.view(this.address, length);
    } catch (error) {
      sys.call('munmap', this.address, length);
      throw error;
    }
    this.#placed = placed;
    if (sys.real && !placed) {
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
    const { address, length, fd = -1, offset = 0 } = options;
    const range = address === undefined ? null : { start: address, end: address + BigInt(length) };
    const reserved = range === null ? [] : reserve(sys, range);
    // Where something else lies there the kernel is asked all the same: it says EEXIST.
    const fixed = range === null ? 0 : reserved === null ? MAP.MAP_FIXED_NOREPLACE : MAP.MAP_FIXED;
    const result = sys.call('mmap', address ?? 0, length, prot, flags | fixed, fd, offset);
    if (result < 0) release(sys, reserved ?? []);
    const failure = { what: `cannot map ${options.what}`, where: { length, ...(address === undefined ? {} : { address }) } };
    check(result, 'mmap', options.next === undefined ? failure : { ...failure, next: options.next });
    if (range !== null) occupy(range);
    return new Mapping(sys, result, length, range !== null);
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
    if (this.#placed) vacate({ start: this.address, end: this.address + BigInt(this.length) });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
