import { didYouMean } from '../../../bytes/suggest.ts';
import { ET } from '../../../elf/constants.ts';
import { fileOffsetOf } from '../../../elf/segment.ts';
import { stapsdtNotesOf, type StapsdtNote } from '../../../elf/stapsdt.ts';
import type { ElfFile } from '../../../elf/types.ts';
import { UsageError } from '../../../error.ts';
import type { SyscallArch } from '../../../sys/syscall-table.ts';
import { readBinary, resolveBinary } from '../binary.ts';
import { parseUsdtArgs, type UsdtArg } from './arg.ts';

/** A probe by its names. */
export interface UsdtTarget {
  readonly path: string;
  readonly provider: string;
  readonly name: string;
}

/** One place of a probe in a file. */
export interface UsdtSite {
  /** Offset in the file of the instruction to probe. */
  readonly offset: number;
  /** Virtual address that it is linked at. */
  readonly location: bigint;
  /** Offset in the file of its counter of listeners; 0 where it has none. */
  readonly semaphoreOffset: number;
  readonly text: string;
  /** Read when asked for: a program that reads none need not know them. */
  readonly args: () => readonly UsdtArg[];
}

/** The places of a probe in one file. */
export interface UsdtProbe {
  readonly path: string;
  /** Loaded where it was linked to: not position-independent. */
  readonly fixedAddress: boolean;
  readonly sites: readonly UsdtSite[];
}

/** Parses `path:provider:name`; the path may hold colons. */
export function parseUsdtTarget(text: string): UsdtTarget {
  const match = /^(.+):([^:]+):([^:]+)$/.exec(text);
  if (match === null) {
    throw new UsageError({
      code: 'E_USDT_TARGET',
      what: 'not a USDT probe',
      where: { target: text },
      next: 'write it as path:provider:name',
    });
  }
  const [, path, provider, name] = match as unknown as [string, string, string, string];
  return { path, provider, name };
}

/**
 * The USDT probes that a program or library declares (`libc.so.6`, `/usr/bin/python3`), each place of each.
 *
 * @example
 * import { listUsdtProbes } from 'rawbpf';
 * export function show(): void {
 *   for (const { provider, name } of listUsdtProbes('/usr/bin/python3')) console.log(`${provider}:${name}`);
 * }
 */
export function listUsdtProbes(path: string): StapsdtNote[] {
  return stapsdtNotesOf(readBinary(resolveBinary(path)));
}

/** One byte of no-op and a five-byte one behind it, which newer kernels probe by a system call instead of a trap. */
const nopPair = Uint8Array.of(0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00);

/**
 * Finds a probe's places. `fastNops`: the kernel turns five-byte no-ops into system calls (x86-64).
 *
 * Throws E_BINARY, or E_USDT with suggestions where the file has no such probe.
 */
export function findUsdtProbe(target: UsdtTarget, arch: SyscallArch, fastNops: () => boolean): UsdtProbe {
  const path = resolveBinary(target.path);
  const elf = readBinary(path);
  const notes = stapsdtNotesOf(elf);
  const fitting = notes.filter(({ provider, name }) => provider === target.provider && name === target.name);
  if (fitting.length === 0) throw missing(path, target, notes);
  const sites = fitting.map((note) => siteOf(elf, path, note, arch, fastNops));
  return { path, fixedAddress: elf.header.type === ET.EXEC, sites };
}

function siteOf(elf: ElfFile, path: string, note: StapsdtNote, arch: SyscallArch, fastNops: () => boolean): UsdtSite {
  const offset = fileOffsetOf(elf, note.location);
  const semaphoreOffset = note.semaphore === 0n ? 0 : fileOffsetOf(elf, note.semaphore);
  if (offset === null || semaphoreOffset === null) {
    const what = offset === null ? 'the place' : 'the counter';
    throw new UsageError({
      code: 'E_USDT',
      what: `${what} of a USDT probe is not in the file`,
      where: { path, provider: note.provider, name: note.name },
      why: 'no segment of the file is loaded to its address',
      next: 'the file may have been split from its debug information: give the one that runs',
    });
  }
  const pair = arch === 'x64' && nopPair.every((byte, i) => elf.bytes[offset + i] === byte) && fastNops();
  const context = { arch, location: note.location + (pair ? 1n : 0n), symbol: (name: string) => variable(elf, name) };
  return {
    offset: offset + (pair ? 1 : 0),
    location: context.location,
    semaphoreOffset,
    text: note.args,
    args: () => parseUsdtArgs(note.args, context),
  };
}

function variable(elf: ElfFile, name: string): bigint | null {
  for (const symbols of [elf.symbols, elf.dynamicSymbols]) {
    const found = symbols.find((symbol) => symbol.name === name && symbol.sectionIndex !== 0);
    if (found !== undefined) return found.value;
  }
  return null;
}

function missing(path: string, { provider, name }: UsdtTarget, notes: readonly StapsdtNote[]): UsageError {
  const known = new Set(notes.map((note) => `${note.provider}:${note.name}`));
  const next = didYouMean(`${provider}:${name}`, known);
  return new UsageError({
    code: 'E_USDT',
    what: 'the file has no such USDT probe',
    where: { path, provider, name },
    ...(notes.length === 0 ? { why: 'it declares none: it has no .note.stapsdt' } : {}),
    ...(next === '' ? {} : { next }),
  });
}
