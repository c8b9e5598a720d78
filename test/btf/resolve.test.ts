import t from 'tap';
import {
  alignOf,
  Btf,
  BtfBuilder,
  isPacked,
  knownSizeOf,
  resolveArray,
  sizeOf,
  skipModifiers,
  skipModifiersAndTypedefs,
} from '../../src/btf/index.ts';
import { idOf, tour } from './tour.ts';

t.test('sizes are those the compiler gave', (t) => {
  const { btf } = tour();
  const sizes: Record<string, number> = {
    u8: 1,
    u16: 2,
    u32: 4,
    u64: 8,
    u128: 16,
    grid: 96,
    callback: 8,
    color: 4,
    tiny: 1,
    big: 8,
    node: 24,
    bits: 16,
    packed: 13,
  };
  for (const [name, size] of Object.entries(sizes)) t.equal(sizeOf(btf, idOf(btf, name)), size, name);
  t.equal(knownSizeOf(btf, 0), null);
  t.equal(knownSizeOf(btf, idOf(btf, 'undefined_struct')), null);
  t.equal(knownSizeOf(btf, idOf(btf, 'twist', 'FUNC')), null);
  t.throws(() => sizeOf(btf, idOf(btf, 'undefined_union')), { code: 'E_BTF_SIZE', where: { kind: 'FWD' } });
  t.throws(() => sizeOf(btf, 0), { code: 'E_BTF_SIZE' });
  t.end();
});

t.test('alignment is what C gives, packed is seen', (t) => {
  const { btf } = tour();
  // clang's _Alignof of the same types.
  const aligns: Record<string, number> = {
    u8: 1,
    u16: 2,
    u32: 4,
    u64: 8,
    u128: 16,
    float: 4,
    double: 8,
    grid: 8,
    callback: 8,
    tiny: 1,
    big: 8,
    node: 8,
    bits: 8,
    packed: 1,
    everything: 16,
    either: 4,
  };
  for (const [name, align] of Object.entries(aligns)) t.equal(alignOf(btf, idOf(btf, name)), align, name);
  t.equal(isPacked(btf, idOf(btf, 'packed')), true);
  t.equal(isPacked(btf, idOf(btf, 'bits')), false);
  t.equal(isPacked(btf, idOf(btf, 'everything')), false);
  t.throws(() => alignOf(btf, 0), { code: 'E_BTF_SIZE' });
  t.end();
});

t.test('modifiers, typedefs and arrays are seen through', (t) => {
  const { btf } = tour();
  const node = idOf(btf, 'node');
  const type = btf.type(node);
  if (type.kind !== 'STRUCT') throw new Error('node is a struct');
  const prev = type.members[1]?.typeId ?? 0;
  t.equal(btf.type(prev).kind, 'CONST');
  t.equal(btf.type(skipModifiers(btf, prev)).kind, 'PTR');
  t.equal(btf.type(skipModifiersAndTypedefs(btf, idOf(btf, 'u64'))).name, 'unsigned long long');
  t.equal(skipModifiers(btf, idOf(btf, 'u64')), idOf(btf, 'u64'));
  t.same(resolveArray(btf, idOf(btf, 'grid')), { elementTypeId: idOf(btf, 'u64'), counts: [3, 4], total: 12 });
  t.equal(resolveArray(btf, node), null);
  t.end();
});

/** A BTF in which each row's type refers to the id given. */
function loops(): Btf {
  const builder = new BtfBuilder();
  builder.add({ kind: 'CONST', name: '', typeId: 2, attribute: false });
  builder.add({ kind: 'VOLATILE', name: '', typeId: 1, attribute: false });
  builder.add({ kind: 'TYPEDEF', name: 'self', typeId: 3, attribute: false });
  builder.add({ kind: 'ARRAY', name: '', typeId: 4, indexTypeId: 0, count: 1 });
  builder.add({ kind: 'STRUCT', name: 'inside', size: 8, members: [{ name: 'm', typeId: 5, bitOffset: 0, bitSize: 0 }] });
  return Btf.parse(builder.encode());
}

t.test('loops end', (t) => {
  const btf = loops();
  for (const id of [1, 2]) t.throws(() => skipModifiers(btf, id), { code: 'E_BTF_LOOP' });
  for (const id of [1, 2, 3]) t.throws(() => skipModifiersAndTypedefs(btf, id), { code: 'E_BTF_LOOP' });
  for (const id of [1, 3, 4]) t.throws(() => sizeOf(btf, id), { code: 'E_BTF_LOOP' });
  for (const id of [1, 3, 4, 5]) t.throws(() => alignOf(btf, id), { code: 'E_BTF_LOOP' });
  t.throws(() => resolveArray(btf, 4), { code: 'E_BTF_LOOP' });
  t.end();
});

t.test('a tree that doubles at every level is walked once a type', (t) => {
  const builder = new BtfBuilder();
  builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  for (let i = 0; i < 60; i++) {
    const typeId = builder.nextId - 1;
    builder.add({ kind: 'UNION', name: '', size: 4, members: [0, 1].map(() => ({ name: '', typeId, bitOffset: 0, bitSize: 0 })) });
  }
  const btf = Btf.parse(builder.encode());
  t.equal(alignOf(btf, btf.typeCount - 1), 4);
  t.end();
});

t.test('sizes past 32 bits are refused', (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const wide = builder.add({ kind: 'ARRAY', name: '', typeId: int, indexTypeId: int, count: 0xffffffff });
  const wider = builder.add({ kind: 'ARRAY', name: '', typeId: wide, indexTypeId: int, count: 0xffffffff });
  const none = builder.add({ kind: 'ARRAY', name: '', typeId: wide, indexTypeId: int, count: 0 });
  const btf = Btf.parse(builder.encode());
  t.throws(() => sizeOf(btf, wide), { code: 'E_BTF_SIZE' });
  t.throws(() => sizeOf(btf, wider), { code: 'E_BTF_SIZE' });
  t.equal(sizeOf(btf, none), 0);
  t.end();
});
