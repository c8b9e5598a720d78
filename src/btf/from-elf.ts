import { FormatError, UnsupportedError } from '../error.ts';
import { sectionNamed } from '../elf/lookup.ts';
import { SHT } from '../elf/constants.ts';
import type { ElfFile, ElfSection } from '../elf/types.ts';
import { Btf, type BtfOptions } from './btf.ts';
import { parseBtfExt, type BtfExt } from './ext.ts';
import { relocateBtf } from './relocate.ts';

/**
 * The BTF of an ELF file's .BTF section, null where it has none. A file with a .BTF.base section (distilled base, as
 * kernel modules carry) is split over that one; where `base` is given, it is relocated to it.
 */
export function btfFromElf(elf: ElfFile, options: BtfOptions = {}): Btf | null {
  const section = sectionNamed(elf, '.BTF');
  if (section === null || section.type === SHT.NOBITS) return null;
  const distilled = sectionNamed(elf, '.BTF.base');
  if (distilled === null) return Btf.parse(bytesOf(section), options);
  const split = Btf.parse(bytesOf(section), { ...options, base: Btf.parse(bytesOf(distilled), { name: '.BTF.base' }) });
  return options.base === undefined ? split : Btf.parse(relocateBtf(split, options.base), options);
}

/** The .BTF.ext of an ELF file, null where it has none; `btf` is what {@link btfFromElf} gave. */
export function btfExtFromElf(elf: ElfFile, btf: Btf): BtfExt | null {
  const section = sectionNamed(elf, '.BTF.ext');
  if (section === null || section.type === SHT.NOBITS) return null;
  const ext = parseBtfExt(bytesOf(section), btf);
  if (ext.littleEndian === btf.littleEndian) return ext;
  throw new FormatError({
    code: 'E_BTF_EXT',
    what: 'malformed .BTF.ext',
    where: { section: section.index },
    why: 'its byte order is not that of .BTF',
  });
}

function bytesOf(section: ElfSection): Uint8Array {
  if (section.compression === null) return section.data;
  throw new UnsupportedError({
    code: 'E_ELF_COMPRESSED',
    what: 'compressed sections are not read',
    where: { section: section.name },
    next: 'objcopy --decompress-debug-sections inflates them',
  });
}
