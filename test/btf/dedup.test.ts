import t from 'tap';
import {
  Btf,
  BtfBuilder,
  dedupBtf,
  distillBase,
  lineAt,
  parseBtfExt,
  relocateBtf,
  type BtfExt,
  type BtfNewType,
} from '../../src/btf/index.ts';
import { encodeSections } from '../../src/btf/encode.ts';
import { remapBtfExt } from '../../src/btf/ext-remap.ts';
import { TypeTable } from '../../src/btf/table.ts';
import { expectedText } from '../fixture.ts';
import { dumpLikeBpftool, parseBpftool } from './bpftool.ts';
import { idOf, tour } from './tour.ts';
import { concatenated, unit } from './units.ts';

const [one, two, three] = [unit('one'), unit('two'), unit('three')];

function made(...types: BtfNewType[]): Btf {
  const builder = new BtfBuilder();
  for (const type of types) builder.add(type);
  return Btf.parse(builder.encode());
}

function pointerTo(typeId: number): BtfNewType {
  return { kind: 'PTR', name: '', typeId, attribute: false };
}

function dedup(btf: Btf): Btf {
  return Btf.parse(dedupBtf(btf).bytes, btf.base === null ? {} : { base: btf.base });
}

for (const littleEndian of [true, false]) {
  t.test(`units with types in common become one, as libbpf does it, ${littleEndian ? 'little' : 'big'} endian`, (t) => {
    const deduped = dedup(concatenated([one, two, three], { littleEndian }));
    t.equal(deduped.littleEndian, littleEndian);
    t.same(dumpLikeBpftool(deduped), parseBpftool(expectedText('dedup.json')));
    t.same(dumpLikeBpftool(dedup(deduped)), dumpLikeBpftool(deduped), 'a second time there is nothing to do');
    t.end();
  });
}

t.test('declarations become the definitions of another unit, unless two have the name', (t) => {
  const deduped = dedup(concatenated([one, two, three]));
  for (const name of ['half', 'later', 'either']) t.equal(deduped.findByName(name, 'FWD'), null, name);
  t.equal(deduped.findAll('ambiguous').length, 3);
  t.equal(deduped.findAll('only_one').filter((id) => deduped.type(id).kind === 'STRUCT').length, 2);
  t.match(deduped.type(idOf(deduped, 'state', 'ENUM')), { values: [{ name: 'OFF' }, { name: 'ON' }] });
  t.end();
});

t.test('old ids lead to new ones', (t) => {
  const all = concatenated([one, two, three]);
  const { bytes, ids } = dedupBtf(all);
  const deduped = Btf.parse(bytes);
  for (let id = 1; id < all.typeCount; id++) {
    const before = all.type(id);
    const after = deduped.type(ids[id] ?? 0);
    t.equal(after.name, before.name);
    if (before.kind !== 'FWD' && before.kind !== 'ENUM') t.equal(after.kind, before.kind);
  }
  t.end();
});

t.test('split BTF loses what its base has; the base stays as it is', (t) => {
  const base = dedup(concatenated([one, two]));
  t.same(dumpLikeBpftool(base), parseBpftool(expectedText('dedup-base.json')));
  const split = dedup(concatenated([three], { base }));
  t.same(dumpLikeBpftool(split), parseBpftool(expectedText('dedup-split.json')));
  t.end();
});

t.test('the base is distilled and found again in another, as libbpf does it', (t) => {
  const base = dedup(concatenated([one, two]));
  const split = dedup(concatenated([three], { base }));
  const distilled = distillBase(split);
  const newBase = Btf.parse(distilled.base);
  const newSplit = Btf.parse(distilled.split, { base: newBase });
  t.same(dumpLikeBpftool(newBase), parseBpftool(expectedText('distilled-base.json')));
  t.same(dumpLikeBpftool(newSplit), parseBpftool(expectedText('distilled-split.json')));

  const other = dedup(concatenated([two, one]));
  t.same(dumpLikeBpftool(other), parseBpftool(expectedText('dedup-other.json')));
  const relocated = Btf.parse(relocateBtf(newSplit, other), { base: other });
  t.same(dumpLikeBpftool(relocated), parseBpftool(expectedText('relocated.json')));
  t.end();
});

t.test('what cannot be relocated is said', (t) => {
  const base = dedup(concatenated([one, two]));
  const distilled = distillBase(dedup(concatenated([three], { base })));
  const split = Btf.parse(distilled.split, { base: Btf.parse(distilled.base) });
  const other = (...structs: readonly [name: string, size: number][]): Btf => {
    const plain = ['int', 'long', '__ARRAY_SIZE_TYPE__', 'state'].map((name) => base.type(idOf(base, name)) as BtfNewType);
    return made(...plain, ...structs.map(([name, size]): BtfNewType => ({ kind: 'STRUCT', name, size, members: [] })));
  };
  const refused = (to: Btf, name: string, why: RegExp): void => {
    t.throws(() => relocateBtf(split, to), { code: 'E_BTF_RELOCATE', where: { name }, why });
  };
  refused(Btf.parse(new BtfBuilder().encode()), 'int', /no such type/);
  refused(other(['list', 16]), 'half', /no such type/);
  refused(other(['list', 16], ['half', 16], ['half', 16]), 'half', /with the ids/);
  // `list` is held by value, `half` only pointed to.
  refused(other(['list', 24], ['half', 16]), 'list', /no such type/);
  t.ok(relocateBtf(split, other(['list', 16], ['half', 24])).length > 0, 'what is only pointed to may have grown');
  t.ok(relocateBtf(split, other(['list', 16], ['half', 16], ['half', 99])).length > 0, 'of two of a name the size decides');
  t.throws(() => relocateBtf(Btf.parse(distilled.base), base), { code: 'E_BTF_BASE' });
  t.throws(() => distillBase(base), { code: 'E_BTF_BASE' });
  t.end();
});

function move(id: number): number {
  return id === 0 ? 0 : id + 3;
}

/** The tour's BTF and .BTF.ext behind three equal types, so that every id moves when two of them go. */
function behindDuplicates(): { btf: Btf; ext: Uint8Array } {
  const { btf, rawExt } = tour();
  const table = new TypeTable(btf);
  const own = Array.from({ length: btf.typeCount - 1 }, (_, i) => i + 1);
  for (const id of own) table.mapTypes(id, move);
  const float = new BtfBuilder();
  for (let i = 0; i < 3; i++) float.add({ kind: 'FLOAT', name: '', size: 4 });
  const types = new Uint8Array([...float.encode().subarray(24, 24 + 36), ...table.encode(own, true)]);
  const strings = btf.bytes.subarray(btf.header.stringsAt, btf.header.stringsAt + btf.header.stringsLength);
  const bytes = encodeSections({ littleEndian: true, flags: 0, types, strings, layout: new Uint8Array(0) });
  return { btf: Btf.parse(bytes), ext: remapBtfExt(rawExt, (offset) => offset, move) };
}

function namedRelos(ext: BtfExt, btf: Btf): unknown[] {
  return ext.coreRelos.flatMap(({ sectionName, relos }) =>
    relos.map((relo) => [sectionName, relo.access, btf.nameOf(relo.typeId), relo.kind]),
  );
}

t.test('.BTF.ext follows its BTF', (t) => {
  const original = tour();
  const moved = behindDuplicates();
  const result = dedupBtf(moved.btf, { ext: moved.ext });
  const deduped = Btf.parse(result.bytes);
  t.ok(deduped.typeCount <= moved.btf.typeCount - 2);
  if (result.ext === null) throw new Error('no .BTF.ext came back');
  const ext = parseBtfExt(result.ext, deduped);
  t.same(namedRelos(ext, deduped), namedRelos(original.ext, original.btf));
  for (let offset = 0; offset < 0xf8; offset += 8) {
    t.same(lineAt(ext, deduped, '.text', offset), lineAt(original.ext, original.btf, '.text', offset));
  }
  const [functions] = ext.funcInfo;
  t.equal(
    functions && deduped.nameOf(new DataView(functions.bytes.buffer, functions.bytes.byteOffset).getUint32(4, true)),
    'global_subprog',
  );
  t.end();
});

t.test('loops without a struct, ids and kinds that are none', (t) => {
  t.throws(() => dedupBtf(made(pointerTo(2), pointerTo(1))), { code: 'E_BTF_LOOP' });
  const chain = Array.from({ length: 2000 }, (_, i) => pointerTo(i + 2));
  t.throws(() => dedupBtf(made(...chain, pointerTo(0))), { code: 'E_BTF_LOOP' });
  t.throws(() => dedupBtf(made(pointerTo(7))), { code: 'E_BTF_TYPE_ID' });
  const typedef: BtfNewType = { kind: 'TYPEDEF', name: 'self', typeId: 1, attribute: false };
  t.equal(dedup(made(typedef, { ...typedef, typeId: 2 })).typeCount, 2, 'Go makes loops through typedefs');
  t.end();
});
