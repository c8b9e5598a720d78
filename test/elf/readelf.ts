// Reads the text of `llvm-readelf-19 -W -h -S -s -r`.

export interface ReadelfSection {
  index: number;
  name: string;
  type: string;
  offset: number;
  size: number;
  entsize: number;
  flags: string;
  link: number;
  info: number;
  align: number;
}
export interface ReadelfSymbol {
  index: number;
  value: bigint;
  size: bigint;
  type: string;
  binding: string;
  visibility: string;
  section: string;
  name: string;
}
export interface ReadelfRelocation {
  offset: number;
  info: bigint;
  type: string;
  symbol: string;
}

export function readelfSections(text: string): ReadelfSection[] {
  const row = /^ {2}\[ *(\d+)\] (.*?) +([A-Z_]+) +[0-9a-f]{16} ([0-9a-f]+) ([0-9a-f]+) ([0-9a-f]+) ([ A-Z]{3}) +(\d+) +(\d+) +(\d+)$/gm;
  return [...text.matchAll(row)].map((match) => {
    const [, index, name, type, offset, size, entsize, flags, link, info, align] = match as unknown as string[];
    return {
      index: Number(index),
      name: (name ?? '').trim(),
      type: type ?? '',
      offset: Number.parseInt(offset ?? '', 16),
      size: Number.parseInt(size ?? '', 16),
      entsize: Number.parseInt(entsize ?? '', 16),
      flags: (flags ?? '').trim(),
      link: Number(link),
      info: Number(info),
      align: Number(align),
    };
  });
}

export function readelfSymbols(text: string): ReadelfSymbol[] {
  const row = /^ +(\d+): ([0-9a-f]{16}) +(\d+) (\w+) +(\w+) +(\w+) +(\w+) (.*)$/gm;
  return [...text.matchAll(row)].map((match) => {
    const [, index, value, size, type, binding, visibility, section, name] = match as unknown as string[];
    return {
      index: Number(index),
      value: BigInt(`0x${value}`),
      size: BigInt(size ?? ''),
      type: type ?? '',
      binding: binding ?? '',
      visibility: visibility ?? '',
      section: section ?? '',
      name: name ?? '',
    };
  });
}

/** Relocations by the name of their section. */
export function readelfRelocations(text: string): Map<string, ReadelfRelocation[]> {
  const sections = new Map<string, ReadelfRelocation[]>();
  for (const part of text.split("Relocation section '").slice(1)) {
    const rows = [...part.matchAll(/^([0-9a-f]{16}) +([0-9a-f]{16}) (\w+) +[0-9a-f]{16} (.*)$/gm)];
    const relocations = rows.map((match) => {
      const [, offset, info, type, symbol] = match as unknown as string[];
      return { offset: Number.parseInt(offset ?? '', 16), info: BigInt(`0x${info}`), type: type ?? '', symbol: symbol ?? '' };
    });
    sections.set(part.slice(0, part.indexOf("'")), relocations);
  }
  return sections;
}
