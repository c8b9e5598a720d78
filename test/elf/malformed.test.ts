import t from 'tap';
import { fromHex, notesOf, parseElf, parseNotes, relocationsOf, SHF, SHT, toUtf8, type ElfFile } from '../../src/elf/index.ts';
import type { RawbpfError } from '../../src/error.ts';
import { fixture } from '../fixture.ts';
import { checkSurvey, cpuMs, flips, mutations, prefixes, survey } from '../hostile.ts';
import { makeElf, makeSymbols, type HeaderPatch } from './make.ts';

const plain = (patches: readonly HeaderPatch[]): Uint8Array =>
  makeElf({ sections: [{ type: SHT.PROGBITS, name: 'x', data: Uint8Array.of(1, 2, 3) }], patches });

/** Reads everything there is to read. */
function readAll(elf: ElfFile): void {
  for (const section of elf.sections) {
    relocationsOf(elf, section);
    if (section.type === SHT.NOTE) notesOf(elf, section);
  }
  if (elf.symbols.length + elf.dynamicSymbols.length < 0) throw new Error('unreachable');
}

const broken: readonly (readonly [what: string, bytes: Uint8Array, code: string, where: Record<string, unknown>])[] = [
  ['nothing at all', new Uint8Array(0), 'E_ELF_TRUNCATED', { offset: 0 }],
  ['another file', toUtf8('#!/bin/sh\n'), 'E_ELF_MAGIC', { offset: 0 }],
  ['ELF32', plain([{ offset: 4, size: 1, value: 1n }]), 'E_ELF_CLASS', { field: 'EI_CLASS' }],
  ['a class that is none', plain([{ offset: 4, size: 1, value: 9n }]), 'E_ELF_CLASS', { field: 'EI_CLASS' }],
  ['a byte order that is none', plain([{ offset: 5, size: 1, value: 3n }]), 'E_ELF_HEADER', { field: 'EI_DATA', offset: 5 }],
  ['a header cut short', plain([]).subarray(0, 60), 'E_ELF_TRUNCATED', { offset: 60 }],
  ['e_version 2', plain([{ offset: 20, size: 4, value: 2n }]), 'E_ELF_HEADER', { field: 'e_version' }],
  ['a short e_ehsize', plain([{ offset: 52, size: 2, value: 52n }]), 'E_ELF_HEADER', { field: 'e_ehsize' }],
  ['an e_shentsize that lies', plain([{ offset: 58, size: 2, value: 40n }]), 'E_ELF_SECTION', { field: 'e_shentsize' }],
  ['more section headers than there is file', plain([{ offset: 60, size: 2, value: 0xfff0n }]), 'E_ELF_SECTION', {}],
  ['section headers past the end', plain([{ offset: 40, size: 8, value: 1n << 40n }]), 'E_ELF_SECTION', {}],
  ['section headers past 2^53', plain([{ offset: 40, size: 8, value: (1n << 64n) - 1n }]), 'E_ELF_TRUNCATED', { offset: 40 }],
  ['a section of names that is none', plain([{ offset: 62, size: 2, value: 1n }]), 'E_ELF_SECTION', { field: 'e_shstrndx' }],
  ['a section of names past the last', plain([{ offset: 62, size: 2, value: 77n }]), 'E_ELF_SECTION', { field: 'e_shstrndx', value: 77 }],
  [
    'program headers past the end',
    plain([
      { offset: 56, size: 2, value: 9n },
      { offset: 54, size: 2, value: 56n },
      { offset: 32, size: 8, value: 64n },
    ]),
    'E_ELF_SEGMENT',
    {},
  ],
  ['an e_phentsize that lies', plain([{ offset: 56, size: 2, value: 1n }]), 'E_ELF_SEGMENT', { field: 'e_phentsize' }],
  [
    'a section past the end',
    makeElf({ sections: [{ type: SHT.PROGBITS, data: Uint8Array.of(1), size: 1n << 33n }] }),
    'E_ELF_SECTION',
    { section: 1, field: 'sh_offset' },
  ],
  [
    'a section whose end wraps',
    makeElf({ sections: [{ type: SHT.PROGBITS, offset: (1n << 64n) - 1n, size: 2n }] }),
    'E_ELF_SECTION',
    { section: 1 },
  ],
  [
    'a compressed section without its head',
    makeElf({ sections: [{ type: SHT.PROGBITS, flags: SHF.COMPRESSED, data: Uint8Array.of(1) }] }),
    'E_ELF_SECTION',
    {},
  ],
  [
    'symbols of 16 bytes',
    makeElf({ sections: [{ type: SHT.SYMTAB, entsize: 16, data: new Uint8Array(48), link: 2 }] }),
    'E_ELF_SYMBOL',
    { section: 1 },
  ],
  [
    'half a symbol',
    makeElf({ sections: [{ type: SHT.SYMTAB, entsize: 24, data: new Uint8Array(36), link: 2 }] }),
    'E_ELF_SYMBOL',
    { section: 1 },
  ],
  [
    'symbols without names',
    makeElf({ sections: [{ type: SHT.SYMTAB, entsize: 24, data: new Uint8Array(24), link: 9 }] }),
    'E_ELF_SYMBOL',
    { section: 1 },
  ],
  [
    'a symbol name past the table',
    makeElf({ sections: [{ type: SHT.SYMTAB, entsize: 24, data: makeSymbols([{ name: 99 }]), link: 2 }] }),
    'E_ELF_STRING',
    { symbol: 0, field: 'st_name' },
  ],
  [
    'a string table without NUL',
    makeElf({
      sections: [
        { type: SHT.SYMTAB, entsize: 24, data: makeSymbols([{ name: 1 }]), link: 2 },
        { type: SHT.STRTAB, data: toUtf8('\0abc') },
      ],
    }),
    'E_ELF_STRING',
    { symbol: 0 },
  ],
  [
    'SHN_XINDEX without the table',
    makeElf({ sections: [{ type: SHT.SYMTAB, entsize: 24, data: makeSymbols([{ name: 0, shndx: 0xffff }]), link: 2 }] }),
    'E_ELF_SYMBOL',
    { symbol: 0 },
  ],
  [
    'SHN_XINDEX past its table',
    makeElf({
      sections: [
        { type: SHT.SYMTAB, entsize: 24, data: makeSymbols([{ name: 0, shndx: 0xffff }]), link: 3 },
        { type: SHT.SYMTAB_SHNDX, link: 1 },
      ],
    }),
    'E_ELF_SYMBOL',
    { symbol: 0 },
  ],
  [
    'relocations of 8 bytes',
    makeElf({ sections: [{ type: SHT.REL, entsize: 8, data: new Uint8Array(8) }] }),
    'E_ELF_RELOCATION',
    { section: 1 },
  ],
  [
    'half a relocation',
    makeElf({ sections: [{ type: SHT.RELA, entsize: 24, data: new Uint8Array(25) }] }),
    'E_ELF_RELOCATION',
    { section: 1 },
  ],
  [
    'a relocation by a symbol that is not',
    makeElf({ sections: [{ type: SHT.REL, entsize: 16, data: fromHex('0000000000000000 01000000 05000000') }] }),
    'E_ELF_RELOCATION',
    { relocation: 0 },
  ],
  [
    'a note past the end',
    makeElf({ sections: [{ type: SHT.NOTE, data: fromHex('04000000 ffffffff 03000000 474e5500') }] }),
    'E_ELF_NOTE',
    {},
  ],
];

for (const [what, bytes, code, where] of broken) {
  t.test(`refused: ${what}`, (t) => {
    const error = t.throws(() => readAll(parseElf(bytes))) as unknown as RawbpfError;
    t.match({ code: error.code, where: error.where }, { code, where });
    t.equal(error.isRawbpfError, true);
    t.end();
  });
}

t.test('extended section numbering: counts and indices that overflow into section 0', (t) => {
  const sections = [
    { type: SHT.SYMTAB, name: 'syms', entsize: 24, data: makeSymbols([{ name: 0 }, { name: 0, shndx: 0xffff }]), link: 3 },
    { type: SHT.SYMTAB_SHNDX, link: 1, data: fromHex('00000000 02000000') },
  ];
  const bytes = makeElf({ sections });
  const view = new DataView(bytes.buffer);
  const shoff = Number(view.getBigUint64(40, true));
  view.setUint16(60, 0, true); // e_shnum
  view.setUint16(62, 0xffff, true); // e_shstrndx
  view.setUint16(56, 0xffff, true); // e_phnum
  view.setUint16(54, 56, true); // e_phentsize
  view.setBigUint64(32, 0n, true); // e_phoff: the file's own first bytes serve as program header
  view.setBigUint64(shoff + 32, 4n, true); // sh_size: the count
  view.setUint32(shoff + 40, 3, true); // sh_link: the names
  view.setUint32(shoff + 44, 1, true); // sh_info: program headers
  const elf = parseElf(bytes);
  t.same(
    elf.sections.map((section) => section.name),
    ['', 'syms', '', '.shstrtab'],
  );
  t.equal(elf.symbols[1]?.sectionIndex, 2);
  t.equal(elf.segments.length, 1);
  t.end();
});

t.test('a compressed section says so and gives no bytes', (t) => {
  const data = fromHex('01000000 00000000 0010000000000000 0800000000000000 789c');
  const elf = parseElf(makeElf({ sections: [{ type: SHT.PROGBITS, name: '.BTF', flags: SHF.COMPRESSED, data }] }));
  t.same(elf.sections[1]?.compression, { type: 1, size: 4096, addralign: 8 });
  t.equal(elf.sections[1]?.data.length, 0);
  t.equal(elf.sections[1]?.size, data.length);
  t.end();
});

t.test('notes: names and descriptors are padded, the last need not be', (t) => {
  const notes = parseNotes(fromHex('04000000 02000000 03000000 474e5500 abcd0000 08000000 01000000 01000000 7374617073647400 7f'));
  t.same(
    notes.map((note) => [note.name, note.type, [...note.desc]]),
    [
      ['GNU', 3, [0xab, 0xcd]],
      ['stapsdt', 1, [0x7f]],
    ],
  );
  const big = parseNotes(fromHex('00000004 00000001 00000005 474e5500 99'), { littleEndian: false });
  t.same([big[0]?.name, big[0]?.type, big[0]?.desc[0]], ['GNU', 5, 0x99]);
  t.end();
});

t.test('hostile names are plain strings', (t) => {
  const elf = parseElf(makeElf({ sections: ['__proto__', '../../x', 'constructor'].map((name) => ({ type: SHT.PROGBITS, name })) }));
  t.same(
    elf.sections.map((section) => section.name),
    ['', '__proto__', '../../x', 'constructor', '.shstrtab'],
  );
  t.equal(({} as Record<string, unknown>)['x'], undefined);
  t.end();
});

t.test('thousands of names that are tails of one long string are not all decoded', (t) => {
  const count = 20_000;
  const strings = new Uint8Array(count + 2).fill(0x61);
  strings[count + 1] = 0;
  const data = makeSymbols(Array.from({ length: count }, (_, i) => ({ name: i })));
  const elf = parseElf(
    makeElf({
      sections: [
        { type: SHT.SYMTAB, entsize: 24, data, link: 2 },
        { type: SHT.STRTAB, data: strings },
      ],
    }),
  );
  const start = cpuMs();
  t.throws(() => elf.symbols, { code: 'E_ELF_STRING' });
  t.ok(cpuMs() - start < 1000);
  t.end();
});

t.test('thousands of sections over the same bytes are refused', (t) => {
  const data = new Uint8Array(100_000);
  const again = { type: SHT.PROGBITS, offset: 64n, size: 100_000n };
  const bytes = makeElf({ sections: [{ type: SHT.PROGBITS, data }, ...Array.from({ length: 60 }, () => again)] });
  t.throws(() => parseElf(bytes), { code: 'E_ELF_SECTION' });
  t.equal(parseElf(makeElf({ sections: [{ type: SHT.PROGBITS, data }, again, again] })).sections.length, 5, 'a few may overlap');
  t.end();
});

function read(bytes: Uint8Array): void {
  readAll(parseElf(bytes));
}

t.test('damaged files give a value or a typed error', (t) => {
  for (const name of ['tour.bpf.o', 'tour.bpfeb.o']) {
    const bytes = fixture(name);
    checkSurvey(t, `${name} prefixes`, survey(prefixes(bytes, 13), read));
    // The file header, and the section headers with the symbols before them.
    checkSurvey(t, `${name} flips`, survey(flips(bytes, 0, 64), read));
    checkSurvey(t, `${name} flips at the end`, survey(flips(bytes, bytes.length - 21 * 64, bytes.length, 5), read));
    checkSurvey(t, `${name} mutations`, survey(mutations(bytes, 600, 1), read));
  }
  const small = fixture('nobtf.bpf.o');
  checkSurvey(t, 'nobtf.bpf.o prefixes', survey(prefixes(small), read));
  checkSurvey(t, 'nobtf.bpf.o flips', survey(flips(small), read));
  t.end();
});
