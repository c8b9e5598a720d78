// Records and types that no compiler makes: a typed error, in bounded time.
import t from 'tap';
import { CoreError } from '../../../src/btf/core/error.ts';
import { CORE_KIND } from '../../../src/btf/core/kinds.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import type { Btf } from '../../../src/btf/btf.ts';
import type { BtfNewType } from '../../../src/btf/index.ts';
import { btfOf, INT, kernel, structOf } from './support.ts';

const { FIELD_BYTE_OFFSET, FIELD_BYTE_SIZE, TYPE_EXISTS, TYPE_SIZE, TYPE_MATCHES, ENUMVAL_VALUE } = CORE_KIND;

const local = btfOf([
  INT,
  structOf('thing', { a: 0 }),
  { kind: 'ENUM', name: 'color', size: 4, signed: false, values: [{ name: 'RED', value: 0n }] },
  { kind: 'FWD', name: 'ahead', target: 'STRUCT' },
  { kind: 'STRUCT', name: '', size: 4, members: [{ name: 'a', typeId: 1, bitOffset: 0, bitSize: 0 }] },
  { kind: 'TYPEDEF', name: 'loop', typeId: 7, attribute: false },
  { kind: 'CONST', name: '', typeId: 6, attribute: false },
]);

t.test('malformed relocation records', async (t) => {
  const bad: readonly [what: string, typeId: number, access: string, kind: number][] = [
    ['empty access', 2, '', FIELD_BYTE_OFFSET],
    ['no number', 2, '0:x', FIELD_BYTE_OFFSET],
    ['negative', 2, '0:-1', FIELD_BYTE_OFFSET],
    ['leading colon', 2, ':0', FIELD_BYTE_OFFSET],
    ['trailing colon', 2, '0:', FIELD_BYTE_OFFSET],
    ['past 31 bits', 2, '0:4294967296', FIELD_BYTE_OFFSET],
    ['no such member', 2, '0:1', FIELD_BYTE_OFFSET],
    ['into an int', 2, '0:0:0', FIELD_BYTE_OFFSET],
    ['too deep', 2, Array.from({ length: 65 }, () => '0').join(':'), FIELD_BYTE_OFFSET],
    ['a field of a forward declaration', 4, '0:0', FIELD_BYTE_OFFSET],
    ['an access for a type', 2, '0:0', TYPE_EXISTS],
    ['no such enumerator', 3, '1', ENUMVAL_VALUE],
    ['two steps of an enum', 3, '0:0', ENUMVAL_VALUE],
    ['an enumerator of a struct', 2, '0', ENUMVAL_VALUE],
    ['an unknown kind', 2, '0', 13],
    ['an anonymous type', 5, '0:0', FIELD_BYTE_OFFSET],
    ['the size of a forward declaration', 4, '0', TYPE_SIZE],
    ['a loop of typedefs', 6, '0:0', FIELD_BYTE_OFFSET],
    ['a type id past the end', 99, '0', TYPE_EXISTS],
  ];
  for (const [what, typeId, access, kind] of bad) {
    const resolver = new CoreResolver(local, kernel(local));
    t.throws(() => resolver.resolve({ insnOffset: 0, typeId, access, kind }), { isRawbpfError: true, code: /^E_(CORE|BTF)_/ }, what);
  }
});

function resolveIn(target: Btf, kind: number, access: string, from: Btf): unknown {
  try {
    return new CoreResolver(from, kernel(target)).resolve({ insnOffset: 0, typeId: 2, access, kind });
  } catch (error) {
    return error;
  }
}

t.test('anonymous members nested into each other', async (t) => {
  // A struct that holds itself twice without a name: libbpf's walk of it is 2^64 steps.
  const members = [0, 1].map((i) => ({ name: '', typeId: 2, bitOffset: i * 32, bitSize: 0 }));
  const target = btfOf([INT, { kind: 'STRUCT', name: 'thing', size: 8, members }]);
  const error = resolveIn(target, FIELD_BYTE_OFFSET, '0:0', local);
  t.type(error, CoreError);
  t.match(error, { code: 'E_CORE_DEPTH' });
});

t.test('wide trees of anonymous members', async (t) => {
  // 40 levels, each holding the next one ten times: no single path is too long, together they are 10^40.
  const levels = 40;
  const types: BtfNewType[] = [INT];
  for (let level = 0; level < levels; level++) {
    const members = Array.from({ length: 10 }, () => ({ name: '', typeId: level + 3, bitOffset: 0, bitSize: 0 }));
    types.push({ kind: 'UNION', name: level === 0 ? '' : 'x', size: 4, members });
  }
  types.push(structOf('end', { other: 0 }));
  types.push({ kind: 'STRUCT', name: 'thing', size: 4, members: [{ name: '', typeId: 2, bitOffset: 0, bitSize: 0 }] });
  t.match(resolveIn(btfOf(types), FIELD_BYTE_OFFSET, '0:0', local), { code: 'E_CORE_TOO_COMPLEX' });
});

t.test('function prototypes that take each other', async (t) => {
  const params = Array.from({ length: 10 }, () => ({ name: '', typeId: 4 }));
  const types: BtfNewType[] = [
    INT,
    { kind: 'TYPEDEF', name: 'thing', typeId: 4, attribute: false },
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 0, params },
    { kind: 'PTR', name: '', typeId: 3, attribute: false },
  ];
  const btf = btfOf(types);
  for (const kind of [TYPE_EXISTS, TYPE_MATCHES]) t.match(resolveIn(btf, kind, '0', btf), { code: /^E_CORE_(DEPTH|TOO_COMPLEX)$/ });
});

t.test('chains of pointers without end', async (t) => {
  const btf = btfOf([
    INT,
    { kind: 'TYPEDEF', name: 'thing', typeId: 3, attribute: false },
    { kind: 'PTR', name: '', typeId: 3, attribute: false },
  ]);
  for (const kind of [TYPE_EXISTS, TYPE_MATCHES]) t.match(resolveIn(btf, kind, '0', btf), { code: 'E_CORE_DEPTH' });
});

t.test('structs that contain themselves match in bounded time', async (t) => {
  const members = Array.from({ length: 8 }, (_, i) => ({ name: `m${i}`, typeId: 2, bitOffset: 0, bitSize: 0 }));
  const btf = btfOf([INT, { kind: 'STRUCT', name: 'thing', size: 8, members }]);
  t.match(resolveIn(btf, TYPE_MATCHES, '0', btf), { code: /^E_CORE_(DEPTH|TOO_COMPLEX)$/ });
});

t.test('arrays whose size passes 32 bits', async (t) => {
  const array = (count: number, typeId: number): BtfNewType => ({ kind: 'ARRAY', name: '', typeId, indexTypeId: 1, count });
  const member = { name: 'a', typeId: 5, bitOffset: 0, bitSize: 0 };
  const btf = btfOf([INT, { kind: 'STRUCT', name: 'thing', size: 8, members: [member] }, INT, array(65536, 1), array(65536, 4)]);
  t.match(resolveIn(btf, FIELD_BYTE_SIZE, '0:0', btf), { code: 'E_CORE_VALUE' });
});

t.test('a bitfield of a type without size', async (t) => {
  const member = { name: 'a', typeId: 3, bitOffset: 0, bitSize: 3 };
  const types: BtfNewType[] = [INT, { kind: 'STRUCT', name: 'thing', size: 8, members: [member] }];
  const btf = btfOf([...types, { kind: 'STRUCT', name: 'none', size: 0, members: [] }]);
  t.match(resolveIn(btf, FIELD_BYTE_SIZE, '0:0', btf), { code: 'E_CORE_VALUE' });
});

t.test('names that are also properties of objects', async (t) => {
  const btf = btfOf([INT, structOf('__proto__', { constructor: 4 })]);
  const found = new CoreResolver(btf, kernel(btf)).resolve({ insnOffset: 0, typeId: 2, access: '0:0', kind: FIELD_BYTE_OFFSET });
  t.equal(found.value, 4n);
  t.equal(found.target, '<byte_off> [2] struct __proto__.constructor (0:0 @ offset 4)');
});

t.test('many relocations that each take many steps', async (t) => {
  const levels = 30;
  const types: BtfNewType[] = [INT];
  for (let level = 0; level < levels; level++) {
    const members = Array.from({ length: 10 }, () => ({ name: '', typeId: level + 3, bitOffset: 0, bitSize: 0 }));
    types.push({ kind: 'UNION', name: 'x', size: 4, members });
  }
  types.push(structOf('end', { other: 0 }));
  types.push({ kind: 'STRUCT', name: 'thing', size: 4, members: [{ name: '', typeId: 2, bitOffset: 0, bitSize: 0 }] });
  const members = Object.fromEntries(Array.from({ length: 3000 }, (_, i) => [`m${i}`, i * 4]));
  const resolver = new CoreResolver(btfOf([INT, structOf('thing', members)]), kernel(btfOf(types)));
  let refused = 0;
  for (let i = 0; i < 3000; i++) {
    try {
      resolver.resolve({ insnOffset: 0, typeId: 2, access: `0:${i}`, kind: FIELD_BYTE_OFFSET });
    } catch (error) {
      if (error instanceof CoreError && error.code === 'E_CORE_TOO_COMPLEX') refused++;
    }
  }
  t.equal(refused, 3000);
});
