import { Cursor } from '../bytes/cursor.ts';
import { cString } from '../bytes/text.ts';
import type { ElfFile, ElfNote, ElfSection, ElfSegment } from './types.ts';

/** How {@link parseNotes} reads: byte order, and the alignment of names and descriptors (4, or 8 where the section says so). */
export interface NoteOptions {
  readonly littleEndian?: boolean;
  readonly align?: number;
  /** Offset of the bytes in the file, for error messages. */
  readonly base?: number;
}

/**
 * Parses the notes of a SHT_NOTE section or a PT_NOTE segment; throws a {@link FormatError} `E_ELF_NOTE` where one runs
 * past the end. Source: System V gABI, "Note Section".
 *
 * @example
 * import { parseNotes, fromHex } from 'rawbpf/elf';
 * const notes = parseNotes(fromHex('04000000 02000000 03000000 474e5500 abcd0000'));
 * console.log(notes[0]?.name, notes[0]?.type, notes[0]?.desc.length); // GNU 3 2
 */
export function parseNotes(bytes: Uint8Array, options: NoteOptions = {}): ElfNote[] {
  const align = options.align === 8 ? 8 : 4;
  const cursor = new Cursor(bytes, {
    littleEndian: options.littleEndian ?? true,
    structure: 'ELF note',
    code: 'E_ELF_NOTE',
    base: options.base ?? 0,
  });
  const notes: ElfNote[] = [];
  while (cursor.remaining > 0) {
    const nameSize = cursor.u32();
    const descSize = cursor.u32();
    const type = cursor.u32();
    const name = cString(cursor.take(nameSize));
    skipPadding(cursor, align);
    const desc = cursor.take(descSize);
    skipPadding(cursor, align);
    notes.push({ name, type, desc });
  }
  return notes;
}

/** The notes of one section or segment of a file. */
export function notesOf(elf: ElfFile, part: ElfSection | ElfSegment): ElfNote[] {
  const { littleEndian } = elf.header;
  if ('data' in part) return parseNotes(part.data, { littleEndian, align: part.addralign, base: part.offset });
  const bytes = new Cursor(elf.bytes, { structure: 'ELF note segment', code: 'E_ELF_NOTE' }).seek(Math.min(part.offset, elf.bytes.length));
  return parseNotes(bytes.take(part.filesz), { littleEndian, align: Number(part.align), base: part.offset });
}

/** The last note of a section is often not padded. */
function skipPadding(cursor: Cursor, align: number): void {
  cursor.skip(Math.min((align - (cursor.offset % align)) % align, cursor.remaining));
}
