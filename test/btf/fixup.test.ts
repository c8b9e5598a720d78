import t from 'tap';
import { allBtfFeatures, Btf, BtfBuilder, fixupDatasecs, sanitizeBtf, type BtfFeatures } from '../../src/btf/index.ts';
import { parseElf, SHT } from '../../src/elf/index.ts';
import { makeElf, makeSymbols } from '../elf/make.ts';
import { expectedText } from '../fixture.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';
import { idOf, tour } from './tour.ts';

/** The order of the bits in the masks of test/oracle/btf.c. */
const features = ['func', 'globalFunc', 'datasec', 'qmarkDatasec', 'float', 'declTag', 'typeTag', 'enum64', 'layout'] as const;

function without(mask: number): BtfFeatures {
  return Object.fromEntries(features.map((name, bit) => [name, (mask & (1 << bit)) === 0])) as unknown as BtfFeatures;
}

for (const file of ['tour.bpf.o', 'tour.bpfeb.o']) {
  t.test(`${file}: data sections, hidden names and externs as libbpf completes them`, (t) => {
    const { btf, elf } = tour(file);
    const before = Uint8Array.from(btf.bytes);
    const fixed = Btf.parse(fixupDatasecs(btf, elf));
    t.equal(fixed.littleEndian, btf.littleEndian);
    t.same(dumpLikeBpftool(fixed), parseBpftool(expectedText('tour.fixup.json')));
    t.same(btf.bytes, before, 'the object’s own BTF is left alone');
    const again = Btf.parse(fixupDatasecs(Btf.parse(fixupDatasecs(stripExterns(btf), elf)), elf));
    t.same(again.type(idOf(again, '.data', 'DATASEC')), fixed.type(idOf(fixed, '.data', 'DATASEC')), 'a complete section stays as it is');
    t.end();
  });

  for (const mask of [0x1ff, 0x1fc, 0x0f0]) {
    t.test(`${file}: sanitised as libbpf does for a kernel without 0x${mask.toString(16)}`, (t) => {
      const { btf, elf } = tour(file);
      const fixed = Btf.parse(fixupDatasecs(btf, elf));
      const sanitized = Btf.parse(sanitizeBtf(fixed, without(mask)));
      t.same(dumpLikeBpftool(sanitized), parseBpftool(expectedText(`tour.sanitize-0x${mask.toString(16).padStart(3, '0')}.json`)));
      t.end();
    });
  }
}

/** The tour's BTF without its extern sections, which can be laid out only once. */
function stripExterns(btf: Btf): Btf {
  const builder = new BtfBuilder();
  for (let id = 1; id < btf.typeCount; id++) {
    const type = btf.type(id);
    if (type.kind === 'UNKN' || type.kind === 'UNKNOWN') continue;
    const extern = type.kind === 'DATASEC' && (type.name === '.kconfig' || type.name === '.ksyms');
    builder.add(extern ? { kind: 'FLOAT', name: 'float', size: 4 } : type);
  }
  return Btf.parse(builder.encode({ littleEndian: btf.littleEndian }));
}

t.test('a kernel that knows everything gets the same types', (t) => {
  const { btf } = tour();
  t.same(sanitizeBtf(btf, allBtfFeatures), new Uint8Array(btf.bytes));
  t.end();
});

t.test('names of sections: dots and question marks', (t) => {
  const builder = new BtfBuilder();
  builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const variable = builder.add({ kind: 'VAR', name: '?.struct_ops', typeId: 1, linkage: 1 });
  const section = builder.add({ kind: 'DATASEC', name: '?.struct_ops', size: 4, variables: [{ typeId: variable, offset: 0, size: 4 }] });
  const btf = Btf.parse(builder.encode());
  const renamed = Btf.parse(sanitizeBtf(btf, { ...allBtfFeatures, qmarkDatasec: false }));
  t.equal(renamed.nameOf(section), '_.struct_ops');
  t.equal(renamed.nameOf(variable), '?.struct_ops', 'a string shared with another name is not changed under it');
  const struct = Btf.parse(sanitizeBtf(btf, { ...allBtfFeatures, datasec: false }));
  t.same(struct.type(section), {
    id: section,
    kind: 'STRUCT',
    name: '__struct_ops',
    size: 4,
    members: [{ name: '?.struct_ops', typeId: variable, bitOffset: 0, bitSize: 0 }],
  });
  t.same(struct.type(variable), { id: variable, kind: 'INT', name: '?.struct_ops', size: 1, encoding: 0, bitOffset: 0, bits: 8 });
  t.end();
});

t.test('the layout section goes, header and all', (t) => {
  const builder = new BtfBuilder();
  builder.add({ kind: 'FLOAT', name: 'float', size: 4 });
  const btf = Btf.parse(builder.encode({ layout: true }));
  t.equal(Btf.parse(sanitizeBtf(btf, allBtfFeatures)).header.layoutLength, 80);
  t.same(sanitizeBtf(btf, { ...allBtfFeatures, layout: false }), builder.encode());
  t.end();
});

/** BTF of one section with one variable, and an ELF file that has (or has not) what it needs. */
function oneSection(name: string, linkage: number, elfName: string, symbol: string | null): [Btf, ReturnType<typeof parseElf>] {
  const builder = new BtfBuilder();
  builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  builder.add({ kind: 'VAR', name: 'v', typeId: 1, linkage });
  builder.add({ kind: 'DATASEC', name, size: 0, variables: [{ typeId: 2, offset: 0, size: 4 }] });
  const strings = Buffer.from(`\0${symbol ?? ''}\0`, 'latin1');
  const symbols = makeSymbols([{ name: 0 }, { name: 1, info: 0x11, shndx: 1, value: 12n, size: 4n }]);
  const sections = [
    { type: SHT.PROGBITS, name: elfName, data: new Uint8Array(16) },
    { type: SHT.SYMTAB, entsize: 24, data: symbols, link: 3 },
    { type: SHT.STRTAB, data: strings },
  ];
  return [Btf.parse(builder.encode()), parseElf(makeElf({ sections }))];
}

t.test('what is missing is said', (t) => {
  t.match(Btf.parse(fixupDatasecs(...oneSection('.data', 1, '.data', 'v'))).type(3), { size: 16, variables: [{ offset: 12 }] });
  t.match(Btf.parse(fixupDatasecs(...oneSection('.data', 0, '.data', null))).type(3), { size: 16, variables: [{ offset: 0 }] });
  const cases: [what: string, why: RegExp, args: [Btf, ReturnType<typeof parseElf>]][] = [
    ['no section', /0 bytes/, oneSection('.data', 1, '.bss', 'v')],
    ['no symbol', /no symbol/, oneSection('.data', 1, '.data', 'w')],
    ['no extern', /no extern/, oneSection('.ksyms', 2, '.data', 'v')],
    ['no extern', /no extern/, oneSection('.kconfig', 2, '.data', 'v')],
  ];
  for (const [what, why, args] of cases) t.throws(() => fixupDatasecs(...args), { code: 'E_BTF_DATASEC', why }, what);
  t.end();
});
