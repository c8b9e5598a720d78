import { toUtf8 } from '../../../bytes/text.ts';
import { EM, ET, SHT, STB } from '../../../elf/constants.ts';
import type { OutputSection } from './output.ts';
import type { OutputSymbol } from './symbols.ts';

/** Elf64_Ehdr after e_ident, Elf64_Shdr, Elf64_Sym and Elf64_Rel (System V gABI), in the file's byte order. */
type Field = readonly [size: 1 | 2 | 4 | 8, value: number | bigint];

/** What an output file is made of. */
export interface ElfContents {
  readonly littleEndian: boolean;
  /** In the order of their indices, which begin at 3: 1 is .strtab, 2 .symtab. */
  readonly sections: readonly OutputSection[];
  readonly symbols: readonly OutputSymbol[];
  /** .BTF and .BTF.ext. */
  readonly extra: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

/** Index of the first section after .strtab and .symtab. */
export const firstSectionIndex = 3;

interface Placed {
  readonly header: readonly Field[];
  readonly bytes: Uint8Array;
  readonly align: number;
}

/** Writes a relocatable ELF64 file for BPF. */
export function writeElf(contents: ElfContents): Uint8Array {
  const { littleEndian, sections, extra } = contents;
  const names = new Names();
  // Local symbols come first, as the ELF specification wants them.
  const order = [...contents.symbols.keys()].toSorted(
    (a, b) => Number(isGlobal(contents.symbols[a])) - Number(isGlobal(contents.symbols[b])),
  );
  const symbolIndex = new Map(order.map((from, to) => [from, to + 1]));
  const locals = order.filter((index) => !isGlobal(contents.symbols[index])).length;

  const symtab = encode(
    [...zeroes(24), ...order.flatMap((index) => symbolFields(contents.symbols[index] as OutputSymbol, names))],
    littleEndian,
  );
  const placed: Placed[] = [];
  const add = (
    name: string,
    type: number,
    flags: bigint,
    bytes: Uint8Array,
    rest: { size?: number; link?: number; info?: number; align?: number; entsize?: number } = {},
  ): void => {
    const align = rest.align ?? 1;
    const header: Field[] = [
      [4, names.add(name)],
      [4, type],
      [8, flags],
      [8, 0],
      [8, 0],
      [8, rest.size ?? bytes.length],
      [4, rest.link ?? 0],
      [4, rest.info ?? 0],
      [8, align],
      [8, rest.entsize ?? 0],
    ];
    placed.push({ header, bytes, align });
  };
  add('.symtab', SHT.SYMTAB, 0n, symtab, { link: 1, info: locals + 1, align: 8, entsize: 24 });
  for (const section of sections) {
    if (section.type === SHT.REL) {
      const fields = section.relocations.flatMap(({ offset, type, symbol }): Field[] => [
        [8, offset],
        [8, (BigInt(symbolIndex.get(symbol) ?? 0) << 32n) | BigInt(type)],
      ]);
      add(section.name, SHT.REL, section.flags, encode(fields, littleEndian), {
        link: 2,
        info: section.relocates?.index ?? 0,
        align: 8,
        entsize: 16,
      });
    } else {
      add(section.name, section.type, section.flags, section.bytes(), {
        size: section.size,
        align: section.align,
        entsize: section.entsize,
      });
    }
  }
  for (const { name, bytes } of extra) add(name, SHT.PROGBITS, 0n, bytes, { align: 8 });
  // Last, when all names are known; its header is the first.
  add('.strtab', SHT.STRTAB, 0n, new Uint8Array(0));
  const strtab = placed.pop() as Placed;
  placed.unshift({ ...strtab, bytes: names.bytes() });
  return layOut(placed, littleEndian);
}

function layOut(placed: readonly Placed[], littleEndian: boolean): Uint8Array {
  let at = 64;
  const offsets = placed.map(({ bytes, align }) => {
    at = Math.ceil(at / align) * align;
    const offset = at;
    at += bytes.length;
    return offset;
  });
  const shoff = Math.ceil(at / 8) * 8;
  const file = new Uint8Array(shoff + (placed.length + 1) * 64);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, littleEndian ? 1 : 2, 1]);
  const header: Field[] = [
    [2, ET.REL],
    [2, EM.BPF],
    [4, 1],
    [8, 0],
    [8, 0],
    [8, shoff],
    [4, 0],
    [2, 64],
    [2, 0],
    [2, 0],
    [2, 64],
    [2, placed.length + 1],
    [2, 1],
  ];
  file.set(encode(header, littleEndian), 16);
  placed.forEach(({ header: fields, bytes }, i) => {
    const offset = offsets[i] as number;
    file.set(bytes, offset);
    // sh_offset is field 4, sh_size of .strtab was not known.
    const complete = fields.map((field, f): Field => (f === 4 ? [8, offset] : f === 5 && i === 0 ? [8, bytes.length] : field));
    file.set(encode(complete, littleEndian), shoff + (i + 1) * 64);
  });
  return file;
}

function symbolFields(symbol: OutputSymbol, names: Names): Field[] {
  return [
    [4, names.add(symbol.name)],
    [1, (symbol.binding << 4) | symbol.type],
    [1, symbol.visibility],
    [2, symbol.section?.index ?? symbol.special],
    [8, symbol.value],
    [8, symbol.size],
  ];
}

function isGlobal(symbol: OutputSymbol | undefined): boolean {
  return symbol !== undefined && symbol.binding !== STB.LOCAL;
}

function zeroes(size: number): Field[] {
  return Array.from({ length: size / 8 }, (): Field => [8, 0]);
}

function encode(fields: readonly Field[], littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(fields.reduce((sum, [size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [size, value] of fields) {
    if (size === 1) view.setUint8(at, Number(value));
    else if (size === 2) view.setUint16(at, Number(value), littleEndian);
    else if (size === 4) view.setUint32(at, Number(value), littleEndian);
    else view.setBigUint64(at, BigInt(value), littleEndian);
    at += size;
  }
  return bytes;
}

/** A string table, each name once. */
class Names {
  readonly #offsets = new Map<string, number>([['', 0]]);
  readonly #parts: Uint8Array[] = [Uint8Array.of(0)];
  #end = 1;

  add(name: string): number {
    const known = this.#offsets.get(name);
    if (known !== undefined) return known;
    const offset = this.#end;
    const bytes = toUtf8(`${name}\0`);
    this.#offsets.set(name, offset);
    this.#parts.push(bytes);
    this.#end += bytes.length;
    return offset;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#end);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
  }
}
