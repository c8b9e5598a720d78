import t from 'tap';
import { Btf, BtfBuilder, btfFromElf, type BtfNewType } from '../../src/btf/index.ts';
import { essentialNameLength } from '../../src/btf/names.ts';
import { fromHex, parseElf, toUtf8 } from '../../src/elf/index.ts';
import type { RawbpfError } from '../../src/error.ts';
import { expectedText, fixture } from '../fixture.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';
import { idOf, tour } from './tour.ts';

const int: BtfNewType = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 };

for (const file of ['tour.bpf.o', 'tour.bpfeb.o']) {
  t.test(`${file}: every type is what bpftool says`, (t) => {
    const { btf } = tour(file);
    const expected = parseBpftool(expectedText('tour.btf.json'));
    t.equal(btf.littleEndian, file === 'tour.bpf.o');
    t.equal(btf.typeCount, expected.length + 1);
    t.same(dumpLikeBpftool(btf), expected);
    t.equal(btf.pointerSize, 8);
    t.end();
  });
}

t.test('an object without BTF has none', (t) => {
  t.equal(btfFromElf(parseElf(fixture('nobtf.bpf.o'))), null);
  t.end();
});

t.test('a blob that does not lie on a word boundary, and a name offset that no string has', async (t) => {
  const builder = new BtfBuilder();
  const struct = builder.add({ kind: 'STRUCT', name: 'thing', size: 0, members: [] });
  const lost = builder.add({ kind: 'STRUCT', name: 'lost', size: 0, members: [] });
  const blob = builder.encode();
  for (let shift = 0; shift < 4; shift++) {
    const room = new Uint8Array(blob.length + shift);
    room.set(blob, shift);
    const btf = Btf.parse(room.subarray(shift));
    t.same([btf.findByName('thing', 'STRUCT'), btf.findByName('lost', 'STRUCT')], [struct, lost], `shifted by ${shift}`);
  }
  const btf = Btf.parse(blob);
  for (const offset of [0x80000000, 0xffffffff, btf.stringsEnd]) {
    const broken = blob.slice();
    new DataView(broken.buffer).setUint32(btf.offsetOf(lost), offset, true);
    const found = Btf.parse(broken);
    t.same([found.findByName('thing', 'STRUCT'), found.findByName('lost', 'STRUCT')], [struct, null], `name at ${offset}`);
  }
});

t.test('names: by kind, all of one name, flavours', (t) => {
  const builder = new BtfBuilder();
  const first = builder.add(int);
  const struct = builder.add({ kind: 'STRUCT', name: 'thing', size: 0, members: [] });
  const typedef = builder.add({ kind: 'TYPEDEF', name: 'thing', typeId: struct, attribute: false });
  const flavour = builder.add({ kind: 'STRUCT', name: 'thing___old', size: 0, members: [] });
  const twice = builder.add({ kind: 'STRUCT', name: 'thing___old___er', size: 0, members: [] });
  const under = builder.add({ kind: 'STRUCT', name: 'thing____x', size: 0, members: [] });
  builder.add({ kind: 'STRUCT', name: '', size: 0, members: [] });
  const proto = builder.add({ kind: 'STRUCT', name: '__proto__', size: 0, members: [] });
  const utf8 = builder.add({ kind: 'STRUCT', name: 'naïve_ß', size: 0, members: [] });
  const btf = Btf.parse(builder.encode());
  t.equal(btf.findByName('int'), first);
  t.equal(btf.findByName('thing'), struct);
  t.equal(btf.findByName('thing', 'TYPEDEF'), typedef);
  t.equal(btf.findByName('thing', 'UNION'), null);
  t.equal(btf.findByName('thin'), null);
  t.equal(btf.findByName(''), null);
  t.same(btf.findAll('thing'), [struct, typedef]);
  t.same(btf.findAll('thing___old'), [flavour]);
  t.same(btf.findByEssentialName('thing'), [struct, typedef, flavour]);
  t.same(btf.findByEssentialName('thing___old'), [twice], 'only the last suffix is a flavour');
  t.same(btf.findByEssentialName('thing____x'), [under], 'four underscores are no flavour');
  t.equal(btf.findByName('__proto__'), proto);
  t.same(btf.findByEssentialName('__proto__'), [proto]);
  t.equal(btf.findByName('toString'), null);
  t.equal(btf.findByName('naïve_ß'), utf8);
  t.equal(btf.nameOf(utf8), 'naïve_ß');
  t.equal(btf.findByName('x'.repeat(5000)), null);
  t.same(
    ['a___b', 'a___b___c', 'a____b', '___a', 'a___', 'a', '', 'a_b___c_d', 'x___y____z'].map((name) =>
      name.slice(0, essentialNameLength(toUtf8(name))),
    ),
    // libbpf's bpf_core_essential_name_len on the same names.
    ['a', 'a___b', 'a____b', '___a', 'a___', 'a', '', 'a_b', 'x'],
  );
  t.end();
});

t.test('names looked for in a pass of their own are those of the index', (t) => {
  const builder = new BtfBuilder();
  builder.add(int);
  const names = ['abc', 'abc___x', 'abc___x___y', 'abcd', 'ab', 'abc____x', 'xabc', 'abc_', '___abc', 'abc__', 'zbc', 'é___abc', '😀'];
  for (const name of names) {
    const struct = builder.add({ kind: 'STRUCT', name, size: 0, members: [] });
    builder.add({ kind: 'TYPEDEF', name, typeId: struct, attribute: false });
    const proto = builder.add({ kind: 'FUNC_PROTO', name: '', returnTypeId: 0, params: [] });
    builder.add({ kind: 'FUNC', name, typeId: proto, linkage: 1 });
  }
  const bytes = builder.encode();
  const indexed = Btf.parse(bytes);
  // Whoever asks often gets an index.
  for (let i = 0; i < 20; i++) indexed.findAll(`none${i}`);
  for (const name of [...names, 'abc___', 'missing']) {
    t.same(Btf.parse(bytes).findByEssentialName(name), indexed.findByEssentialName(name), `past flavours: ${name}`);
    t.same(Btf.parse(bytes).findByEssentialName(name, names), indexed.findByEssentialName(name), `with others: ${name}`);
    t.same(Btf.parse(bytes).findAll(name), indexed.findAll(name), `all: ${name}`);
    t.equal(Btf.parse(bytes).findByName(name, 'FUNC'), indexed.findByName(name, 'FUNC'), `a function: ${name}`);
  }
  t.end();
});

t.test('type objects: shared, frozen, made by id', (t) => {
  const { btf } = tour();
  const id = idOf(btf, 'everything', 'STRUCT');
  const type = btf.type(id);
  t.equal(btf.type(id), type);
  t.ok(Object.isFrozen(type));
  t.same(btf.type(0), { id: 0, kind: 'UNKN', name: '' });
  t.equal(btf.kindOf(0), 0);
  t.equal(btf.nameOf(0), '');
  for (const bad of [btf.typeCount, -1, 1.5, Number.NaN, 2 ** 32, 2 ** 32 + 1]) {
    t.throws(() => btf.type(bad), { code: 'E_BTF_TYPE_ID' }, String(bad));
    t.throws(() => btf.kindOf(bad), { code: 'E_BTF_TYPE_ID' }, String(bad));
  }
  t.throws(() => btf.string(btf.stringsEnd), { code: 'E_BTF_STRING' });
  t.throws(() => btf.string(-1), { code: 'E_BTF_STRING' });
  t.end();
});

t.test('split BTF: ids and strings go on where the base ends', (t) => {
  const base = new BtfBuilder();
  const intId = base.add(int);
  base.add({ kind: 'STRUCT', name: 'shared', size: 4, members: [] });
  const baseBtf = Btf.parse(base.encode());
  const builder = new BtfBuilder({ base: baseBtf });
  const own = builder.add({ kind: 'STRUCT', name: 'own', size: 4, members: [{ name: 'shared', typeId: intId, bitOffset: 0, bitSize: 0 }] });
  const again = builder.add({ kind: 'UNION', name: 'shared', size: 4, members: [] });
  const bytes = builder.encode();
  const split = Btf.parse(bytes, { base: baseBtf, name: 'module' });
  t.equal(own, 3);
  t.equal(split.firstId, 3);
  t.equal(split.typeCount, 5);
  t.equal(split.base, baseBtf);
  t.match(split.type(own), { members: [{ name: 'shared', typeId: intId }] });
  t.equal(split.type(intId), baseBtf.type(intId));
  t.equal(split.findByName('int'), intId);
  t.equal(split.findByName('shared'), again, 'own types come first');
  t.equal(split.findByName('shared', 'STRUCT'), 2);
  t.same(split.findAll('int'), []);
  t.ok(split.nameOffsetOf(again) < baseBtf.stringsEnd, 'strings of the base are not repeated');
  t.throws(() => Btf.parse(bytes), { code: 'E_BTF_STRING', why: /split BTF, which needs its base/ });
  t.throws(() => split.type(99), { code: 'E_BTF_TYPE_ID', where: { btf: 'module', id: 99 } });
  t.end();
});

t.test('the layout section lets unknown kinds be skipped', (t) => {
  const builder = new BtfBuilder();
  builder.add(int);
  builder.add({ kind: 'STRUCT', name: 'after', size: 4, members: [] });
  const known = builder.encode({ layout: true });
  const withLayout = Btf.parse(known);
  t.equal(withLayout.header.length, 32);
  t.equal(withLayout.header.layoutLength, 20 * 4);
  t.same(withLayout.type(1), { id: 1, ...int });

  // Kind 20 with one word of its own and two for each element, between the two types.
  const types = fromHex(
    '01000000 00000001 04000000 20000001  00000000 02000014 00000000 aaaaaaaa bbbbbbbb bbbbbbbb cccccccc cccccccc  05000000 00000004 04000000',
  );
  const strings = Buffer.from('\0int\0after\0', 'latin1');
  const layout = new Uint8Array(21 * 4);
  layout.set([4, 8], 20 * 4);
  const make = (layoutBytes: Uint8Array): Uint8Array => {
    const head = new Uint8Array(32);
    const view = new DataView(head.buffer);
    view.setUint16(0, 0xeb9f, true);
    view.setUint8(2, 1);
    [32, 0, types.length, types.length + layoutBytes.length, strings.length, types.length, layoutBytes.length].forEach((word, i) =>
      view.setUint32(4 + i * 4, word, true),
    );
    return new Uint8Array([...head, ...types, ...layoutBytes, ...strings]);
  };
  const btf = Btf.parse(make(layout));
  t.equal(btf.typeCount, 4);
  t.same(btf.type(2), { id: 2, kind: 'UNKNOWN', name: '', kindNumber: 20 });
  t.equal(btf.findByName('after'), 3);
  t.throws(() => Btf.parse(make(new Uint8Array(0))), { code: 'E_BTF_TYPE', where: { id: 2, offset: 48 } });
  layout[20 * 4] = 3;
  t.throws(() => Btf.parse(make(layout)), { code: 'E_BTF_TYPE' }, 'sizes that are no words');
  t.end();
});

function pointerSizeWith(name: string, size: number): number {
  const builder = new BtfBuilder();
  const add = (text: string, bytes: number): number =>
    builder.add({ kind: 'INT', name: text, size: bytes, encoding: 0, bitOffset: 0, bits: bytes * 8 });
  add('long long unsigned int', 8);
  add(name, size);
  return Btf.parse(builder.encode()).pointerSize;
}

t.test('pointer size follows the type named long', (t) => {
  t.equal(pointerSizeWith('long unsigned int', 4), 4);
  t.equal(pointerSizeWith('unsigned long', 8), 8);
  t.equal(pointerSizeWith('long', 4), 4);
  t.equal(pointerSizeWith('long long', 4), 8);
  t.equal(pointerSizeWith('longer', 4), 8);
  t.end();
});

const good = (): { bytes: Uint8Array; view: DataView } => {
  const builder = new BtfBuilder();
  builder.add(int);
  builder.add({ kind: 'PTR', name: '', typeId: 1, attribute: false });
  const bytes = builder.encode();
  return { bytes, view: new DataView(bytes.buffer) };
};
/** What is done to a good blob, and what comes of it. */
const broken: readonly (readonly [what: string, code: string, damage: (view: DataView, bytes: Uint8Array) => Uint8Array | void])[] = [
  ['no bytes', 'E_BTF_MAGIC', () => new Uint8Array(0)],
  ['another magic', 'E_BTF_MAGIC', (view) => view.setUint16(0, 0x9feb - 1, true)],
  ['a header cut short', 'E_BTF_HEADER', (_, bytes) => bytes.subarray(0, 23)],
  ['version 2', 'E_BTF_VERSION', (view) => view.setUint8(2, 2)],
  ['hdr_len too small', 'E_BTF_HEADER', (view) => view.setUint32(4, 20, true)],
  ['hdr_len past the end', 'E_BTF_HEADER', (view) => view.setUint32(4, 0xffffffff, true)],
  ['types past the end', 'E_BTF_HEADER', (view) => view.setUint32(12, 0xfffffff0, true)],
  ['types that are not aligned', 'E_BTF_HEADER', (view) => view.setUint32(8, 2, true)],
  ['strings past the end', 'E_BTF_HEADER', (view) => view.setUint32(20, 0xffffffff, true)],
  ['strings without NUL', 'E_BTF_STRING', (_, bytes) => bytes.subarray(0, bytes.length - 1)],
  ['no strings', 'E_BTF_STRING', (view) => view.setUint32(20, 0, true)],
  ['a first string that is not empty', 'E_BTF_STRING', (view, bytes) => view.setUint8(bytes.length - 5, 0x41)],
  ['an unknown kind', 'E_BTF_TYPE', (view) => view.setUint32(28, 0x1f000000, true)],
  ['kind 0', 'E_BTF_TYPE', (view) => view.setUint32(28, 0, true)],
  ['elements past the end', 'E_BTF_TYPE', (view) => view.setUint32(28, 0x04ffffff, true)],
  ['half a type at the end', 'E_BTF_TYPE', (view) => view.setUint32(12, 24, true)],
  ['a name past the strings', 'E_BTF_STRING', (view) => view.setUint32(24, 0x1000, true)],
];
for (const [what, code, damage] of broken) {
  t.test(`refused: ${what}`, (t) => {
    const { bytes, view } = good();
    let damaged = damage(view, bytes) ?? bytes;
    // The strings' length follows where bytes were cut off the end.
    if (what === 'strings without NUL') {
      damaged = Uint8Array.from(damaged);
      new DataView(damaged.buffer).setUint32(20, view.getUint32(20, true) - 1, true);
    }
    const error = t.throws(() => Btf.parse(damaged).type(1)) as unknown as RawbpfError;
    t.equal(error.code, code);
    t.ok(error.message.length > 20);
    t.end();
  });
}
