export * from '../bytes/index.ts';
export { ELFCOMPRESS, EM, ET, PF, PT, R_BPF, SHF, SHN, SHT, STB, STT, STV } from './constants.ts';
export { parseElf } from './file.ts';
export { sectionNamed } from './lookup.ts';
export { notesOf, parseNotes, type NoteOptions } from './note.ts';
export { relocationSectionsOf, relocationsOf } from './relocation.ts';
export { fileOffsetOf } from './segment.ts';
export { stapsdtNotesOf, type StapsdtNote } from './stapsdt.ts';
export type { ElfCompression, ElfFile, ElfHeader, ElfNote, ElfRelocation, ElfSection, ElfSegment, ElfSymbol } from './types.ts';
