import { readFileSync } from 'node:fs';
import type { Address } from './backend.ts';
import type { Sys } from './sys.ts';

/** A mapping of this process whose pages are the same as in its file. */
export interface ProgramPages {
  readonly start: Address;
  /** Bytes. */
  readonly length: number;
  /** Bytes of it that are resident. */
  readonly resident: number;
  readonly file: string;
}

// include/uapi/asm-generic/mman-common.h
const MADV_DONTNEED = 4;
const heading = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ [1-9]\d*\s+(\/.*)$/;

/**
 * Finds in the text of /proc/PID/smaps (proc(5)) what can be let go of and read again from the file: private mappings of files
 * that cannot be written to, and of which no page was written (relocations, breakpoints), swapped out or locked.
 */
export function programPages(smaps: string): ProgramPages[] {
  const found: ProgramPages[] = [];
  // Each mapping ends with its VmFlags.
  for (const mapping of smaps.split(/^VmFlags:.*\n/m)) {
    const [, start, end, file] = heading.exec(mapping.slice(0, mapping.indexOf('\n'))) ?? [];
    if (start === undefined || end === undefined || file === undefined) continue;
    const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(mapping)?.[1] ?? Number.NaN);
    // What is not told counts as written.
    if (kib('Anonymous') !== 0 || kib('Private_Dirty') !== 0 || kib('Swap') !== 0 || kib('Locked') !== 0) continue;
    const resident = kib('Rss') * 1024;
    if (!(resident > 0)) continue;
    const from = BigInt(`0x${start}`);
    found.push({ start: from, length: Number(BigInt(`0x${end}`) - from), resident, file });
  }
  return found;
}

/**
 * Lets go of the pages of Node's and its libraries' programs that this process has mapped: those that are wanted again come back from the
 * page cache, one minor fault for 16 of them, and those that only the start needed do not. Returns the bytes let go of; 0 where
 * /proc does not tell. A breakpoint that a tracer puts there between the look and the call, a few milliseconds, is lost to this process
 * alone; earlier ones are written pages, which stay.
 */
export function releaseProgramPages(sys: Sys): number {
  if (!sys.real) return 0;
  let smaps: string;
  try {
    smaps = readFileSync('/proc/self/smaps', 'latin1');
  } catch {
    return 0;
  }
  let released = 0;
  for (const { start, length, resident } of programPages(smaps)) {
    if (sys.call('madvise', start, length, MADV_DONTNEED) === 0) released += resident;
  }
  return released;
}
