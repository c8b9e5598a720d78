import t from 'tap';
import { Btf, BtfBuilder, swapBtf, swapBtfExt, parseBtfExt, type BtfNewType } from '../../src/btf/index.ts';
import { parseElf, sectionNamed } from '../../src/elf/index.ts';
import { expectedText, fixture } from '../fixture.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';
import { idOf, tour } from './tour.ts';

/** One of every kind, with the values that are easy to get wrong. */
const everyKind: readonly BtfNewType[] = [
  { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 },
  { kind: 'INT', name: 'odd', size: 4, encoding: 2, bitOffset: 3, bits: 7 },
  { kind: 'PTR', name: '', typeId: 0, attribute: false },
  { kind: 'ARRAY', name: '', typeId: 1, indexTypeId: 1, count: 0xffffffff },
  { kind: 'STRUCT', name: 's', size: 8, members: [{ name: 'late', typeId: 19, bitOffset: 0xffffff, bitSize: 0 }] },
  {
    kind: 'STRUCT',
    name: 'bits',
    size: 8,
    members: [
      { name: 'b', typeId: 1, bitOffset: 31, bitSize: 1 },
      { name: '', typeId: 1, bitOffset: 32, bitSize: 0 },
    ],
  },
  { kind: 'UNION', name: 'u', size: 0xffffffff, members: [] },
  { kind: 'ENUM', name: 'e', size: 4, signed: true, values: [{ name: 'MINUS', value: -2147483648n }] },
  { kind: 'ENUM', name: 'f', size: 4, signed: false, values: [{ name: 'MAX', value: 4294967295n }] },
  { kind: 'FWD', name: 'fwd', target: 'UNION' },
  { kind: 'TYPEDEF', name: 'td', typeId: 5, attribute: false },
  { kind: 'VOLATILE', name: '', typeId: 1, attribute: false },
  { kind: 'CONST', name: '', typeId: 1, attribute: false },
  { kind: 'RESTRICT', name: '', typeId: 3, attribute: false },
  {
    kind: 'FUNC_PROTO',
    name: '',
    returnTypeId: 1,
    params: [
      { name: 'a', typeId: 1 },
      { name: '', typeId: 0 },
    ],
  },
  { kind: 'FUNC', name: 'fn', typeId: 15, linkage: 2 },
  { kind: 'VAR', name: 'v', typeId: 1, linkage: 1 },
  { kind: 'DATASEC', name: '.data', size: 4, variables: [{ typeId: 17, offset: 0, size: 4 }] },
  { kind: 'FLOAT', name: 'double', size: 8 },
  { kind: 'DECL_TAG', name: 'tag', typeId: 5, componentIndex: -1, attribute: false },
  { kind: 'DECL_TAG', name: 'attr', typeId: 5, componentIndex: 0, attribute: true },
  { kind: 'TYPE_TAG', name: 'user', typeId: 1, attribute: false },
  { kind: 'TYPE_TAG', name: 'attr', typeId: 1, attribute: true },
  {
    kind: 'ENUM64',
    name: 'e64',
    size: 8,
    signed: true,
    values: [
      { name: 'LOW', value: -(1n << 63n) },
      { name: 'M1', value: -1n },
    ],
  },
  { kind: 'ENUM64', name: 'u64', size: 8, signed: false, values: [{ name: 'HIGH', value: (1n << 64n) - 1n }] },
];

for (const littleEndian of [true, false]) {
  t.test(`every kind comes back as it was added, ${littleEndian ? 'little' : 'big'} endian`, (t) => {
    const builder = new BtfBuilder();
    everyKind.forEach((type, i) => t.equal(builder.add(type), i + 1));
    const btf = Btf.parse(builder.encode({ littleEndian }));
    t.equal(btf.littleEndian, littleEndian);
    t.same(
      everyKind.map((_, i) => btf.type(i + 1)),
      everyKind.map((type, i) => ({ id: i + 1, ...type })),
    );
    t.end();
  });
}

t.test('types rebuilt from their objects are the types', (t) => {
  const { btf } = tour();
  const builder = new BtfBuilder();
  for (let id = 1; id < btf.typeCount; id++) {
    const type = btf.type(id);
    if (type.kind !== 'UNKN' && type.kind !== 'UNKNOWN') builder.add(type);
  }
  t.same(dumpLikeBpftool(Btf.parse(builder.encode())), parseBpftool(expectedText('tour.btf.json')));
  t.end();
});

t.test('copying brings along all that a type refers to, once', (t) => {
  const { btf } = tour();
  const builder = new BtfBuilder();
  const first = builder.copy(btf, idOf(btf, 'everything'));
  const count = builder.nextId;
  t.equal(builder.copy(btf, idOf(btf, 'everything')), first);
  t.equal(builder.nextId, count, 'nothing is copied twice');
  builder.copy(btf, idOf(btf, 'twist', 'FUNC'));
  const copy = Btf.parse(builder.encode({ littleEndian: false }));
  t.equal(copy.findByName('on_getpid'), null);
  t.same(shape(copy, idOf(copy, 'everything')), shape(btf, idOf(btf, 'everything')));
  t.same(shape(copy, idOf(copy, 'twist')), shape(btf, idOf(btf, 'twist')));
  // A struct that points to itself.
  t.match(copy.type(idOf(copy, 'node')), { members: [{ name: 'next' }, { name: 'prev' }, { name: 'value' }] });
  t.end();
});

/** A type as text, references spelled out one level for named types and in full for others. */
function shape(btf: Btf, id: number, depth = 0): unknown {
  const type = btf.type(id);
  if (depth > 0 && type.name !== '') return `${type.kind} ${type.name}`;
  return JSON.parse(
    JSON.stringify(type, (key: string, value: unknown) => {
      if (key === 'id') return undefined;
      if (typeof value === 'bigint') return String(value);
      return /typeId$/i.test(key) && typeof value === 'number' ? shape(btf, value, depth + 1) : value;
    }),
  );
}

t.test('split BTF shares the types and strings of its base', (t) => {
  const { btf } = tour();
  const builder = new BtfBuilder({ base: btf });
  t.equal(builder.copy(btf, idOf(btf, 'node')), idOf(btf, 'node'), 'what is in the base is not copied');
  const own = builder.add({ kind: 'TYPEDEF', name: 'everything', typeId: idOf(btf, 'everything'), attribute: false });
  const split = Btf.parse(builder.encode(), { base: btf });
  t.equal(split.header.stringsLength, 0, 'all its strings are the base’s');
  t.equal(split.findByName('everything'), own);
  const second = new BtfBuilder({ base: btf });
  t.equal(second.copy(split, own), btf.typeCount);
  t.same(Btf.parse(second.encode(), { base: btf }).type(btf.typeCount), split.type(own));
  t.end();
});

t.test('values that BTF cannot hold are refused', (t) => {
  const builder = new BtfBuilder();
  const bad: BtfNewType[] = [
    { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 256 },
    { kind: 'INT', name: 'int', size: -1, encoding: 1, bitOffset: 0, bits: 8 },
    { kind: 'FLOAT', name: 'f', size: 2 ** 32 },
    { kind: 'STRUCT', name: 's', size: 8, members: [{ name: 'm', typeId: 1, bitOffset: 0x1000000, bitSize: 1 }] },
    { kind: 'ENUM', name: 'e', size: 4, signed: false, values: [{ name: 'x', value: -1n }] },
    { kind: 'ENUM', name: 'e', size: 4, signed: true, values: [{ name: 'x', value: 0x80000000n }] },
    { kind: 'ENUM64', name: 'e', size: 8, signed: false, values: [{ name: 'x', value: 1n << 64n }] },
    { kind: 'ARRAY', name: '', typeId: 1, indexTypeId: 1, count: 0.5 },
    { kind: 'PTR', name: 'a\0b', typeId: 1, attribute: false },
  ];
  for (const type of bad) t.throws(() => builder.add(type), { code: 'E_BTF_BUILD' }, JSON.stringify({ ...type, values: [] }));
  t.end();
});

t.test('the byte order is changed and changed back', (t) => {
  const little = tour();
  const big = tour('tour.bpfeb.o');
  t.same(dumpLikeBpftool(Btf.parse(swapBtf(little.raw))), dumpLikeBpftool(little.btf));
  t.equal(Btf.parse(swapBtf(little.raw)).littleEndian, false);
  t.same(swapBtf(swapBtf(little.raw)), new Uint8Array(little.raw));
  t.same(swapBtf(swapBtf(big.raw)), new Uint8Array(big.raw));
  // The two objects differ in string offsets only where clang orders them differently: it does not.
  t.same(swapBtf(big.raw), new Uint8Array(little.raw));
  t.same(swapBtfExt(big.rawExt), new Uint8Array(little.rawExt));
  t.same(parseBtfExt(swapBtfExt(big.rawExt), little.btf).coreRelos, little.ext.coreRelos);
  const withLayout = new BtfBuilder();
  withLayout.add({ kind: 'FLOAT', name: 'float', size: 4 });
  const bytes = withLayout.encode({ layout: true });
  t.same(swapBtf(bytes), withLayout.encode({ layout: true, littleEndian: false }));
  t.end();
});

t.test('an encoded blob is what is in the object', (t) => {
  const elf = parseElf(fixture('tour.bpf.o'));
  const { btf } = tour();
  t.same(btf.bytes, new Uint8Array(sectionNamed(elf, '.BTF')?.data ?? []));
  t.end();
});
