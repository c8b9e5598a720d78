import { cString, toHex } from '../../bytes/text.ts';
import { PF, PT, SHF, SHT } from '../../elf/constants.ts';
import { FunctionTable } from '../../elf/functions.ts';
import { parseNotes } from '../../elf/note.ts';
import { type ElfOutline, outlineElf, type ReadAt, type SectionOutline } from '../../elf/outline.ts';
import type { ElfSegment } from '../../elf/types.ts';

/** Larger tables are no compiler's: 5 million symbols, 512 MB of names. */
const maxSymbols = 128 << 20;
const maxStrings = 512 << 20;
const maxNotes = 1 << 16;
const ntGnuBuildId = 3;

/** Where a binary says that its symbols are: a file name and the CRC-32 of that file. */
export interface DebugLink {
  readonly name: string;
  readonly crc: number;
}

/** Functions of an executable or library by their offset in the file; no bytes of the file are kept but names. */
export class Binary {
  /** In lower-case hex; null where the file has none. */
  readonly buildId: string | null;
  readonly #segments: readonly ElfSegment[];
  readonly #functions: FunctionTable | null;

  constructor(outline: ElfOutline, buildId: string | null, functions: FunctionTable | null) {
    this.buildId = buildId;
    this.#segments = outline.segments.filter(({ type, flags }) => type === PT.LOAD && (flags & PF.X) !== 0);
    this.#functions = functions;
  }

  /** Bytes that it takes, about. */
  get bytes(): number {
    return 1024 + (this.#functions?.bytes ?? 0);
  }

  /** The function at an offset in the file; null where none is known. */
  nameAt(offset: number): string | null {
    for (const segment of this.#segments) {
      if (offset < segment.offset || offset >= segment.offset + segment.filesz) continue;
      return this.#functions?.nameOf(Number(segment.vaddr) + (offset - segment.offset)) ?? null;
    }
    return null;
  }
}

/** Finds the file with the symbols that a stripped binary lost. */
export type FindDebugFile = (buildId: string | null, link: DebugLink | null) => { readonly read: ReadAt; close(): void } | null;

/**
 * Reads a binary's functions: out of .symtab, else out of the .symtab of its debug file, else out of .dynsym. Null for what is no
 * ELF64 file.
 */
export function readBinary(read: ReadAt, findDebugFile: FindDebugFile): Binary | null {
  try {
    const outline = outlineElf(read);
    const buildId = buildIdOf(outline, read);
    const own = functionsOf(outline, read, SHT.SYMTAB);
    if (own !== null) return new Binary(outline, buildId, own);
    const debug = findDebugFile(buildId, debugLinkOf(outline, read));
    try {
      const functions = debug === null ? null : functionsOf(outlineElf(debug.read), debug.read, SHT.SYMTAB);
      return new Binary(outline, buildId, functions ?? functionsOf(outline, read, SHT.DYNSYM));
    } finally {
      debug?.close();
    }
  } catch {
    // Malformed, or made to be: its addresses have no names.
    return null;
  }
}

/** The build id of an ELF file, out of its sections or, where it has none, its segments. */
export function buildIdOf({ sections, segments, littleEndian }: ElfOutline, read: ReadAt): string | null {
  const inSections = sections.filter(({ type }) => type === SHT.NOTE).map(({ offset, size }) => ({ offset, size }));
  const places =
    inSections.length > 0
      ? inSections
      : segments.filter(({ type }) => type === PT.NOTE).map(({ offset, filesz: size }) => ({ offset, size }));
  for (const { offset, size } of places.slice(0, 16)) {
    if (size > maxNotes) continue;
    try {
      const note = parseNotes(read(offset, size), { littleEndian }).find(({ name, type }) => name === 'GNU' && type === ntGnuBuildId);
      if (note !== undefined && note.desc.length > 0 && note.desc.length <= 64) return toHex(note.desc);
    } catch {
      // Another section may be sound.
    }
  }
  return null;
}

function functionsOf(outline: ElfOutline, read: ReadAt, type: number): FunctionTable | null {
  const { sections, littleEndian } = outline;
  const table = sections.find((section) => section.type === type);
  const strings = sections[table?.link ?? -1];
  if (table === undefined || strings === undefined || strings.type !== SHT.STRTAB) return null;
  if (table.size > maxSymbols || strings.size > maxStrings) return null;
  const functions = new FunctionTable({
    symbols: read(table.offset, table.size),
    strings: read(strings.offset, strings.size),
    littleEndian,
    codeEnd: (index) => codeEnd(sections[index]),
  });
  return functions.size === 0 ? null : functions;
}

function codeEnd(section: SectionOutline | undefined): number {
  return section === undefined || (section.flags & SHF.EXECINSTR) === 0n ? 0 : Number(section.addr) + section.size;
}

/** .gnu_debuglink: a name, NULs up to a multiple of four, a CRC-32. Source: gdb's manual, "Debugging Information in Separate Files". */
function debugLinkOf({ sections, littleEndian }: ElfOutline, read: ReadAt): DebugLink | null {
  const section = sections.find(({ name }) => name === '.gnu_debuglink');
  if (section === undefined || section.size > 4096 || section.size < 8) return null;
  const bytes = read(section.offset, section.size);
  const name = cString(bytes);
  // It names a file in known folders, never a way out of them.
  if (bytes.length < 8 || name === '' || name.includes('/') || name === '..') return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { name, crc: view.getUint32(bytes.length - 4, littleEndian) };
}
