import { Cursor } from '../bytes/cursor.ts';
import { sectionNamed } from './lookup.ts';
import { notesOf } from './note.ts';
import type { ElfFile } from './types.ts';

/** A user-space probe that a program or library declares in its notes: the macros of <sys/sdt.h> make them. */
export interface StapsdtNote {
  readonly provider: string;
  readonly name: string;
  /** Virtual address of the probe's no-op, as the file is linked now. */
  readonly location: bigint;
  /** Virtual address of the counter that tells whether anybody listens; 0 where it has none. */
  readonly semaphore: bigint;
  /** Where its arguments are: `-4@%ebx 8@-16(%rbp)`. */
  readonly args: string;
}

/** NT_STAPSDT: version 3 of the format, the only one in use. */
const NT_STAPSDT = 3;

/**
 * The user-space probes (USDT) that an ELF file declares in `.note.stapsdt`, in the file's order; a probe that was inlined
 * is there once for each place. Notes of other versions are left out. Source: systemtap, "UserSpaceProbeImplementation".
 *
 * @example
 * import { parseElf, stapsdtNotesOf } from 'rawbpf/elf';
 * import { readFileSync } from 'node:fs';
 * export function probesOf(path: string): string[] {
 *   return stapsdtNotesOf(parseElf(readFileSync(path))).map(({ provider, name, args }) => `${provider}:${name} ${args}`);
 * }
 */
export function stapsdtNotesOf(elf: ElfFile): StapsdtNote[] {
  const section = sectionNamed(elf, '.note.stapsdt');
  if (section === null) return [];
  // What moved the file after it was linked (prelink) moved this section too, and left the notes as they were.
  const base = sectionNamed(elf, '.stapsdt.base')?.addr ?? null;
  const probes: StapsdtNote[] = [];
  for (const note of notesOf(elf, section)) {
    if (note.name !== 'stapsdt' || note.type !== NT_STAPSDT) continue;
    const cursor = new Cursor(note.desc, { littleEndian: elf.header.littleEndian, structure: 'stapsdt note', code: 'E_ELF_NOTE' });
    const location = cursor.u64();
    const linkedBase = cursor.u64();
    const semaphore = cursor.u64();
    const [provider, name, args] = [cursor, cursor, cursor].map(text) as [string, string, string];
    const moved = base === null || linkedBase === 0n ? 0n : base - linkedBase;
    probes.push({
      provider,
      name,
      location: BigInt.asUintN(64, location + moved),
      semaphore: semaphore === 0n ? 0n : BigInt.asUintN(64, semaphore + moved),
      args,
    });
  }
  return probes;
}

/** The next NUL-terminated text. */
function text(cursor: Cursor): string {
  const end = cursor.bytes.indexOf(0, cursor.offset);
  if (end < 0) cursor.fail('its text has no end');
  const bytes = cursor.take(end - cursor.offset);
  cursor.skip(1);
  return new TextDecoder().decode(bytes);
}
