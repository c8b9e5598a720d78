import t from 'tap';
import { EM, parseElf, R_BPF, relocationsOf, sectionNamed, SHF, SHN, SHT, STB, STT, STV, type ElfFile } from '../../src/elf/index.ts';
import { expectedText, fixture } from '../fixture.ts';
import { readelfRelocations, readelfSections, readelfSymbols } from './readelf.ts';

const objects = ['tour.bpf', 'tour.bpfeb', 'nobtf.bpf'];

function nameOf(table: Readonly<Record<string, number>>, value: number): string {
  return Object.entries(table).find(([, number]) => number === value)?.[0] ?? String(value);
}

const flagLetters: readonly (readonly [letter: string, flag: bigint])[] = [
  ['W', SHF.WRITE],
  ['A', SHF.ALLOC],
  ['X', SHF.EXECINSTR],
  ['M', SHF.MERGE],
  ['S', SHF.STRINGS],
  ['I', SHF.INFO_LINK],
  ['E', 0x80000000n],
];

function sectionsAsReadelf(elf: ElfFile): unknown[] {
  return elf.sections.map((section) => ({
    index: section.index,
    name: section.name,
    type: nameOf(SHT, section.type),
    offset: section.offset,
    size: section.size,
    entsize: section.entsize,
    flags: flagLetters.flatMap(([letter, flag]) => (section.flags & flag ? [letter] : [])).join(''),
    link: section.link,
    info: section.info,
    align: section.addralign,
  }));
}

/** readelf prints the name of the section where a section symbol has none of its own. */
function symbolName(elf: ElfFile, index: number): string {
  const symbol = elf.symbols[index];
  if (symbol === undefined) return '';
  return symbol.type === STT.SECTION && symbol.name === '' ? (elf.sections[symbol.sectionIndex]?.name ?? '') : symbol.name;
}

function symbolsAsReadelf(elf: ElfFile): unknown[] {
  return elf.symbols.map((symbol) => ({
    index: symbol.index,
    value: symbol.value,
    size: symbol.size,
    type: nameOf(STT, symbol.type),
    binding: nameOf(STB, symbol.binding),
    visibility: nameOf(STV, symbol.visibility),
    section: symbol.sectionIndex === SHN.UNDEF ? 'UND' : String(symbol.sectionIndex),
    name: symbolName(elf, symbol.index),
  }));
}

for (const object of objects) {
  t.test(`${object}.o is read as llvm-readelf reads it`, (t) => {
    const text = expectedText(`${object}.readelf.txt`);
    const elf = parseElf(fixture(`${object}.o`));
    t.equal(elf.header.machine, EM.BPF);
    t.equal(elf.header.littleEndian, text.includes('little endian'));
    t.same(sectionsAsReadelf(elf), readelfSections(text));
    t.same(symbolsAsReadelf(elf), readelfSymbols(text));
    const relocations = readelfRelocations(text);
    t.ok(relocations.size > 0);
    for (const [name, rows] of relocations) {
      const table = sectionNamed(elf, name);
      if (table === null) throw new Error(`no section ${name}`);
      const ours = relocationsOf(elf, table).map(({ offset, type, symbolIndex }) => ({
        offset,
        info: (BigInt(symbolIndex) << 32n) | BigInt(type),
        type: `R_BPF_${nameOf(R_BPF, type)}`,
        symbol: symbolName(elf, symbolIndex),
      }));
      t.same(ours, rows, name);
      const target = elf.sections[table.info];
      t.same(target && relocationsOf(elf, target), relocationsOf(elf, table), `${name} by its target`);
    }
    t.end();
  });
}

t.test('sections are views of the file, .bss has a size and no bytes', (t) => {
  const bytes = fixture('tour.bpf.o');
  const elf = parseElf(bytes);
  const license = sectionNamed(elf, 'license');
  t.equal(license?.data.buffer, elf.bytes.buffer);
  t.same(license && Buffer.from(license.data).toString(), 'Dual BSD/GPL\0');
  const bss = sectionNamed(elf, '.bss');
  t.equal(bss?.type, SHT.NOBITS);
  t.equal(bss?.size, 0x140);
  t.equal(bss?.data.length, 0);
  t.equal(sectionNamed(elf, '.nothing'), null);
  t.end();
});
