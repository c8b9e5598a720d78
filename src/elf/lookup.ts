import type { ElfFile, ElfSection } from './types.ts';

/** The first section of this name, null where there is none. */
export function sectionNamed(elf: ElfFile, name: string): ElfSection | null {
  return elf.sections.find((section) => section.name === name) ?? null;
}
