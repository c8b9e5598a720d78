import { Btf, btfExtFromElf, btfFromElf, type BtfExt } from '../../src/btf/index.ts';
import { parseElf, sectionNamed, type ElfFile } from '../../src/elf/index.ts';
import { fixture } from '../fixture.ts';

/** The tour fixture, of either byte order. */
export interface Tour {
  readonly elf: ElfFile;
  readonly btf: Btf;
  readonly ext: BtfExt;
  /** Contents of .BTF and .BTF.ext. */
  readonly raw: Uint8Array;
  readonly rawExt: Uint8Array;
}

export function tour(file = 'tour.bpf.o'): Tour {
  const elf = parseElf(fixture(file));
  const btf = btfFromElf(elf);
  const ext = btf && btfExtFromElf(elf, btf);
  const raw = sectionNamed(elf, '.BTF')?.data;
  const rawExt = sectionNamed(elf, '.BTF.ext')?.data;
  if (btf === null || ext === null || raw === undefined || rawExt === undefined) throw new Error(`${file} has no BTF`);
  return { elf, btf, ext, raw, rawExt };
}

/** The id of a type that must be there. */
export function idOf(btf: Btf, name: string, kind?: Parameters<Btf['findByName']>[1]): number {
  const id = btf.findByName(name, kind);
  if (id === null) throw new Error(`no type ${name}`);
  return id;
}
