import t from 'tap';
import { CORE_KIND } from '../../../src/btf/core/kinds.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import { btfOf, INT, kernel, structOf } from './support.ts';

const local = btfOf([INT, structOf('thing', { a: 0, b: 4, c: 8 })]);
const A = '0:0';
const B = '0:1';
const C = '0:2';
const offset = (access: string, typeId = 2) => ({ insnOffset: 0, typeId, access, kind: CORE_KIND.FIELD_BYTE_OFFSET });

t.test('two kernel structs of one name are never mixed', async (t) => {
  // The first has a and c, the second b and c: resolved one by one, a would come from the first and b from the second.
  const target = btfOf([INT, structOf('thing', { a: 8, c: 16 }), structOf('thing', { b: 24, c: 32 })]);
  t.test('after a, b is not there and c is the first struct’s', async (t) => {
    const resolver = new CoreResolver(local, kernel(target));
    t.equal(resolver.resolve(offset(A)).value, 8n);
    t.equal(resolver.resolve(offset(B)).poison, true);
    t.equal(resolver.resolve(offset(C)).value, 16n);
  });
  t.test('after b, a is not there and c is the second struct’s', async (t) => {
    const resolver = new CoreResolver(local, kernel(target));
    t.equal(resolver.resolve(offset(B)).value, 24n);
    t.equal(resolver.resolve(offset(A)).poison, true);
    t.equal(resolver.resolve(offset(C)).value, 32n);
  });
  t.test('c alone cannot be told apart', async (t) => {
    const resolver = new CoreResolver(local, kernel(target));
    t.throws(() => resolver.resolve(offset(C)), { code: 'E_CORE_AMBIGUOUS' });
  });
  t.test('an answer given before the list was narrowed is looked at again', async (t) => {
    const both = btfOf([
      INT,
      { kind: 'INT', name: 'long', size: 8, encoding: 0, bitOffset: 0, bits: 64 },
      structOf('thing', { c: 0 }),
      {
        kind: 'STRUCT',
        name: 'thing',
        size: 16,
        members: ['c', 'a'].map((name, i) => ({ name, typeId: 2, bitOffset: i * 64, bitSize: 0 })),
      },
    ]);
    const resolver = new CoreResolver(local, kernel(both));
    t.equal(resolver.resolve(offset(C)).newSize, 4, 'the first candidate’s width');
    t.equal(resolver.resolve(offset(A)).value, 8n, 'only the second has a');
    t.equal(resolver.resolve(offset(C)).newSize, 8, 'the width of the one left');
  });
  t.test('a question that nothing answers leaves the list as it was', async (t) => {
    const resolver = new CoreResolver(local, kernel(btfOf([INT, structOf('thing', { a: 4 })])));
    t.equal(resolver.resolve(offset(B)).poison, true);
    t.equal(resolver.resolve(offset(A)).value, 4n);
  });
});

t.test('modules are looked at only for types that vmlinux has not got', async (t) => {
  const vmlinux = btfOf([INT, structOf('other', { a: 0 })]);
  const module = btfOf([structOf('thing', { a: 40 })], vmlinux);
  let asked = 0;
  const modules = () => {
    asked++;
    return [{ name: 'a_module', btf: module }];
  };
  const found = new CoreResolver(local, kernel(vmlinux, { modules })).resolve(offset(A));
  t.equal(found.value, 40n);
  t.equal(found.targetTypeId, vmlinux.typeCount);
  t.same(
    found.candidates().map(({ source }) => source),
    ['a_module'],
  );
  t.equal(asked, 1);
  const both = btfOf([INT, structOf('thing', { b: 8 })]);
  t.equal(new CoreResolver(local, kernel(both, { modules })).resolve(offset(A)).poison, true);
  t.equal(asked, 1, 'vmlinux has a struct of this name');
});

t.test('layouts of the caller come before the kernel’s', async (t) => {
  const extra = [btfOf([INT, structOf('thing', { a: 20 })])];
  const never = () => t.fail('the kernel is not asked') as never;
  const found = new CoreResolver(local, { ...kernel(null), vmlinux: never, extra }).resolve(offset(A));
  t.equal(found.value, 20n);
  t.equal(found.candidates()[0]?.source, 'extra');
});

t.test('without any BTF only the object’s own ids can be told', async (t) => {
  const resolver = new CoreResolver(local, kernel(null));
  t.throws(() => resolver.resolve(offset(A)), { code: 'E_CORE_NO_BTF' });
  t.equal(resolver.resolve({ insnOffset: 0, typeId: 2, access: '0', kind: CORE_KIND.TYPE_ID_LOCAL }).value, 2n);
});

t.test('a resolution says what was looked at and why it did not fit', async (t) => {
  const target = btfOf([
    INT,
    structOf('thing', { b: 0 }),
    structOf('thing___v2', { a: 12 }),
    { kind: 'PTR', name: '', typeId: 1, attribute: false },
    { kind: 'STRUCT', name: 'thing', size: 8, members: [{ name: 'a', typeId: 4, bitOffset: 0, bitSize: 0 }] },
  ]);
  const found = new CoreResolver(local, kernel(target)).resolve(offset(A));
  t.equal(found.kindName, 'byte_off');
  t.equal(found.path, 'struct thing.a');
  t.equal(found.local, '<byte_off> [2] struct thing.a (0:0 @ offset 0)');
  t.equal(found.target, '<byte_off> [3] struct thing___v2.a (0:0 @ offset 12)');
  t.equal(found.reason, null);
  t.equal(
    new CoreResolver(local, kernel(target)).resolve(offset(C)).reason,
    'struct thing has no member c; struct thing___v2 has no member c',
  );
  t.equal(new CoreResolver(local, kernel(btfOf([INT]))).resolve(offset(A)).reason, 'there is no thing');
  t.same(found.candidates(), [
    { source: 'vmlinux', typeId: 2, name: 'thing', spec: null, why: 'struct thing has no member a' },
    { source: 'vmlinux', typeId: 3, name: 'thing___v2', spec: '<byte_off> [3] struct thing___v2.a (0:0 @ offset 12)', why: null },
    { source: 'vmlinux', typeId: 5, name: 'thing', spec: null, why: 'member a of struct thing has an incompatible type' },
  ]);
});

t.test('equal questions get one answer, made once', async (t) => {
  const resolver = new CoreResolver(local, kernel(btfOf([INT, structOf('thing', { a: 4 })])));
  t.equal(resolver.resolve(offset(A)), resolver.resolve({ ...offset(A), insnOffset: 800 }));
});
