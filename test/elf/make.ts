// Makes small ELF64 files byte by byte, right ones and wrong ones.

export interface MadeSection {
  name?: string;
  type: number;
  flags?: bigint;
  link?: number;
  info?: number;
  entsize?: number;
  /** What sh_size says, where it is not the length of `data`. */
  size?: bigint;
  /** What sh_offset says, where it is not the place of `data`. */
  offset?: bigint;
  align?: bigint;
  data?: Uint8Array;
}

/** Fields of the file header, by offset and size, to be overwritten. */
export interface HeaderPatch {
  offset: number;
  size: 1 | 2 | 4 | 8;
  value: bigint;
}

export interface MadeElf {
  littleEndian?: boolean;
  sections: readonly MadeSection[];
  /** Index of the section with the names; the one before last given here unless said. */
  shstrndx?: number;
  patches?: readonly HeaderPatch[];
}

/** A file with the null section, the given ones and a section of names after them. */
export function makeElf(made: MadeElf): Uint8Array {
  const littleEndian = made.littleEndian ?? true;
  const names = [''];
  for (const { name } of made.sections) names.push(name ?? '');
  const nameOffsets: number[] = [];
  let strtab = '';
  for (const name of [...names, '.shstrtab']) {
    nameOffsets.push(strtab.length);
    strtab += `${name}\0`;
  }
  const sections: MadeSection[] = [{ type: 0 }, ...made.sections, { type: 3, data: Buffer.from(strtab, 'latin1') }];
  const dataSize = sections.reduce((sum, section) => sum + (section.data?.length ?? 0), 0);
  const shoff = 64 + dataSize;
  const bytes = new Uint8Array(shoff + sections.length * 64);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, littleEndian ? 1 : 2, 1]);
  const put = (offset: number, size: number, value: bigint): void => {
    if (size === 1) view.setUint8(offset, Number(value));
    else if (size === 2) view.setUint16(offset, Number(value), littleEndian);
    else if (size === 4) view.setUint32(offset, Number(value), littleEndian);
    else view.setBigUint64(offset, value, littleEndian);
  };
  put(16, 2, 1n);
  put(18, 2, 247n);
  put(20, 4, 1n);
  put(40, 8, BigInt(shoff));
  put(52, 2, 64n);
  put(58, 2, 64n);
  put(60, 2, BigInt(sections.length));
  put(62, 2, BigInt(made.shstrndx ?? sections.length - 1));
  let at = 64;
  sections.forEach((section, i) => {
    const header = shoff + i * 64;
    const length = section.data?.length ?? 0;
    put(header, 4, BigInt(nameOffsets[i] as number));
    put(header + 4, 4, BigInt(section.type));
    put(header + 8, 8, section.flags ?? 0n);
    put(header + 24, 8, section.offset ?? BigInt(at));
    put(header + 32, 8, section.size ?? BigInt(length));
    put(header + 40, 4, BigInt(section.link ?? 0));
    put(header + 44, 4, BigInt(section.info ?? 0));
    put(header + 48, 8, section.align ?? 1n);
    put(header + 56, 8, BigInt(section.entsize ?? 0));
    if (section.data !== undefined) bytes.set(section.data, at);
    at += length;
  });
  for (const patch of made.patches ?? []) put(patch.offset, patch.size, patch.value);
  return bytes;
}

/** Elf64_Sym records, little endian. */
export function makeSymbols(rows: readonly { name: number; info?: number; shndx?: number; value?: bigint; size?: bigint }[]): Uint8Array {
  const bytes = new Uint8Array(rows.length * 24);
  const view = new DataView(bytes.buffer);
  rows.forEach((row, i) => {
    view.setUint32(i * 24, row.name, true);
    view.setUint8(i * 24 + 4, row.info ?? 0);
    view.setUint16(i * 24 + 6, row.shndx ?? 0, true);
    view.setBigUint64(i * 24 + 8, row.value ?? 0n, true);
    view.setBigUint64(i * 24 + 16, row.size ?? 0n, true);
  });
  return bytes;
}
