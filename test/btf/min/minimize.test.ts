import t from 'tap';
import { Btf } from '../../../src/btf/btf.ts';
import { CORE_KIND } from '../../../src/btf/core/kinds.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import type { BtfExt, CoreRelo } from '../../../src/btf/ext.ts';
import { minimizeBtf } from '../../../src/btf/min/minimize.ts';
import type { BtfNewType } from '../../../src/btf/index.ts';
import { btfOf, fixtureBtf, fixtureObject, INT, kernel, programOf, relocate, structOf } from '../core/support.ts';
import { toHex } from '../../../src/bytes/text.ts';
import { RawbpfError } from '../../../src/error.ts';

const object = fixtureObject('cases.bpf.o');

function outcome(run: () => Uint8Array): string {
  try {
    return toHex(run());
  } catch (error) {
    if (error instanceof RawbpfError) return error.code;
    throw error;
  }
}

for (const target of ['target.o', 'cases.bpf.o']) {
  t.test(`cases relocated against the part of ${target} they need come out the same`, async (t) => {
    const whole = fixtureBtf(target);
    const bytes = minimizeBtf(whole, [object]);
    t.ok(bytes.length < whole.bytes.length, `${bytes.length} of ${whole.bytes.length} bytes`);
    const part = Btf.parse(bytes);
    const programs = object.elf.symbols.filter((symbol) => object.elf.sections[symbol.sectionIndex]?.name === 'socket' && symbol.size > 0n);
    t.ok(programs.length > 150);
    for (const { name } of programs) {
      // Type ids are the one thing that cannot be the same.
      if (programOf(object, name).relos.some((relo) => relo.kind === CORE_KIND.TYPE_ID_TARGET)) continue;
      const wanted = outcome(() => relocate(object, name, kernel(whole)));
      t.equal(
        outcome(() => relocate(object, name, kernel(part))),
        wanted,
        name,
      );
    }
  });
}

function extOf(relos: readonly CoreRelo[]): BtfExt {
  return { littleEndian: true, funcInfo: [], lineInfo: [], coreRelos: [{ sectionName: '.text', relos }] };
}

const field = (typeId: number, access: string, kind: number = CORE_KIND.FIELD_BYTE_OFFSET): CoreRelo => ({
  insnOffset: 0,
  typeId,
  access,
  kind,
});

t.test('only what is asked for is kept', async (t) => {
  const local = btfOf([INT, structOf('thing', { b: 0 })]);
  const whole = btfOf([INT, structOf('other', { a: 0 }), structOf('thing', { a: 0, b: 4, c: 8 })]);
  const part = Btf.parse(minimizeBtf(whole, [{ btf: local, ext: extOf([field(2, '0:0')]) }]));
  t.equal(part.typeCount, 3);
  const thing = part.type(part.findByName('thing', 'STRUCT') ?? 0);
  t.match(thing, { size: 12, members: [{ name: 'b', bitOffset: 32, typeId: part.findByName('int') }] });
});

t.test('candidates that a later relocation may choose are all kept', async (t) => {
  const local = btfOf([INT, structOf('thing', { common: 0, second: 4 })]);
  const whole = btfOf([INT, structOf('thing', { common: 8 }), structOf('thing', { second: 0, pad: 4, common: 8 })]);
  const relos = [field(2, '0:0'), field(2, '0:1')];
  const part = Btf.parse(minimizeBtf(whole, [{ btf: local, ext: extOf(relos) }]));
  for (const btf of [whole, part]) {
    const resolver = new CoreResolver(local, kernel(btf));
    t.same(
      relos.map((relo) => resolver.resolve(relo).value),
      [8n, 0n],
    );
    t.equal(resolver.resolve(field(2, '0:1')).poison, false);
  }
});

t.test('an empty array in the middle does not become one that may be indexed', async (t) => {
  const array: BtfNewType = { kind: 'ARRAY', name: '', typeId: 1, indexTypeId: 1, count: 0 };
  const member = (name: string, typeId: number) => ({ name, typeId, bitOffset: 0, bitSize: 0 });
  const local = btfOf([INT, { ...array, count: 4 }, { kind: 'STRUCT', name: 'thing', size: 16, members: [member('data', 2)] }]);
  const members = [member('data', 2), member('after', 1)];
  const whole = btfOf([INT, array, { kind: 'STRUCT', name: 'thing', size: 4, members }]);
  const relos = [field(3, '0:0'), field(3, '0:0:2', CORE_KIND.FIELD_EXISTS)];
  const part = Btf.parse(minimizeBtf(whole, [{ btf: local, ext: extOf(relos) }]));
  for (const btf of [whole, part])
    t.equal(new CoreResolver(local, kernel(btf)).resolve(field(3, '0:0:2', CORE_KIND.FIELD_EXISTS)).value, 0n);
});

t.test('a void pointer stays apart from others', async (t) => {
  const local = btfOf([
    INT,
    { kind: 'TYPEDEF', name: 'handle', typeId: 3, attribute: false },
    { kind: 'PTR', name: '', typeId: 0, attribute: false },
  ]);
  const whole = btfOf([
    INT,
    { kind: 'TYPEDEF', name: 'handle', typeId: 3, attribute: false },
    { kind: 'PTR', name: '', typeId: 4, attribute: false },
    structOf('thing', { a: 0 }),
    { kind: 'STRUCT', name: 'user', size: 8, members: [{ name: 'h', typeId: 2, bitOffset: 0, bitSize: 0 }] },
  ]);
  const user = btfOf([
    { kind: 'PTR', name: '', typeId: 0, attribute: false },
    { kind: 'STRUCT', name: 'user', size: 8, members: [{ name: 'h', typeId: 1, bitOffset: 0, bitSize: 0 }] },
  ]);
  const objects = [
    { btf: local, ext: extOf([field(2, '0', CORE_KIND.TYPE_EXISTS)]) },
    { btf: user, ext: extOf([field(2, '0:0')]) },
  ];
  const part = Btf.parse(minimizeBtf(whole, objects));
  for (const btf of [whole, part]) t.equal(new CoreResolver(local, kernel(btf)).resolve(field(2, '0', CORE_KIND.TYPE_EXISTS)).value, 0n);
});

t.test('the pointer size of a 32-bit kernel is kept', async (t) => {
  const pointer: BtfNewType = { kind: 'PTR', name: '', typeId: 0, attribute: false };
  const holder = (size: number): BtfNewType => ({
    kind: 'STRUCT',
    name: 'thing',
    size,
    members: [{ name: 'p', typeId: 2, bitOffset: 0, bitSize: 0 }],
  });
  const local = btfOf([INT, pointer, holder(8)]);
  const whole = btfOf([{ kind: 'INT', name: 'long int', size: 4, encoding: 1, bitOffset: 0, bits: 32 }, pointer, holder(4)]);
  const part = Btf.parse(minimizeBtf(whole, [{ btf: local, ext: extOf([field(3, '0:0')]) }]));
  t.equal(part.pointerSize, 4);
  t.equal(new CoreResolver(local, kernel(part)).resolve(field(3, '0:0', CORE_KIND.FIELD_BYTE_SIZE)).value, 4n);
});
