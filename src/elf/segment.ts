import { Cursor } from '../bytes/cursor.ts';
import { FormatError } from '../error.ts';
import { PT } from './constants.ts';
import type { ElfFile, ElfSegment } from './types.ts';

/** Bytes of an Elf64_Phdr. */
const phdrSize = 56;

/** The fields of the file header that say where the program headers are. */
export interface SegmentTablePlace {
  readonly littleEndian: boolean;
  readonly phoff: number;
  readonly phentsize: number;
  readonly phnum: number;
}

export function parseSegments(bytes: Uint8Array, place: SegmentTablePlace): readonly ElfSegment[] {
  if (place.phnum === 0) return [];
  if (place.phentsize !== phdrSize) {
    const where = { field: 'e_phentsize', offset: 54 };
    const why = `it is ${place.phentsize}, an Elf64_Phdr has ${phdrSize}`;
    throw new FormatError({ code: 'E_ELF_SEGMENT', what: 'malformed ELF program header table', where, why });
  }
  const cursor = new Cursor(bytes, { littleEndian: place.littleEndian, structure: 'ELF program header', code: 'E_ELF_SEGMENT' });
  cursor.seek(place.phoff).ensure(place.phnum, phdrSize, 'e_phnum');
  const segments: ElfSegment[] = [];
  for (let index = 0; index < place.phnum; index++) {
    const type = cursor.u32();
    const flags = cursor.u32();
    const offset = cursor.size64();
    const vaddr = cursor.u64();
    cursor.skip(8); // p_paddr
    const filesz = cursor.size64();
    const memsz = cursor.u64();
    segments.push({ type, flags, offset, vaddr, filesz, memsz, align: cursor.u64() });
  }
  return segments;
}

/**
 * The file offset of a virtual address, by the PT_LOAD segment that holds it: what uprobes are attached by.
 * Null where no segment has bytes of the file there.
 */
export function fileOffsetOf(elf: ElfFile, address: bigint): number | null {
  for (const segment of elf.segments) {
    if (segment.type !== PT.LOAD || address < segment.vaddr || address >= segment.vaddr + BigInt(segment.filesz)) continue;
    return segment.offset + Number(address - segment.vaddr);
  }
  return null;
}
