// Objects as others write them, which libbpf 1.8 refuses (test/oracle/relocate.c says of this one: opened false, EOPNOTSUPP).
import t from 'tap';
import { Kernel, loadCollection } from '../../../src/bpf/index.ts';
import { tryPrograms } from '../../../src/bpf/collection/check.ts';
import { openObject, type ObjectSpec } from '../../../src/bpf/object/index.ts';
import { fixture } from '../../fixture.ts';

const kernel = new Kernel();
t.teardown(() => kernel.close());
const open = (strict: boolean): ObjectSpec => openObject(fixture('object/wild.bpf.o'), { name: 'wild', strict });

t.test('a static function in the section of the program that calls it', async (t) => {
  t.throws(() => open(true), { code: 'E_STATIC_PROGRAM', where: { section: 'classifier/ingress/drop', symbol: 'is_long' } });
  const { programs } = tryPrograms(kernel, open(false));
  t.match(
    programs.map(({ name, type, loaded }) => [name, type, loaded]),
    [
      ['first_socket', 'BPF_PROG_TYPE_SOCKET_FILTER', true],
      ['drop', 'BPF_PROG_TYPE_SCHED_CLS', true],
      ['profile', 'BPF_PROG_TYPE_PERF_EVENT', true],
    ],
  );
});

t.test('maps that the user sizes: a check gives them a size, loading wants one', async (t) => {
  t.equal(tryPrograms(kernel, open(false)).loaded, true);
  t.throws(() => loadCollection(kernel, open(false)), { code: 'E_SYSCALL', message: /map sized_later.*max_entries is 0/ });
  const spec = open(false);
  const maps = spec.maps.map((map) => (map.name === 'stacks' ? { ...map, valueSize: 8 * 16 } : map));
  const collection = loadCollection(kernel, { ...spec, maps }, { mapSizes: { sized_later: 8, stacks: 2 } });
  t.match(collection.map('sized_later').info(), { maxEntries: 8, valueSize: 8 });
  t.match(collection.map('stacks').info(), { maxEntries: 2, keySize: 4, valueSize: 128 });
  t.equal(collection.program('drop').testRun({ data: new Uint8Array(200) }).returnValue, 2, 'its function is called');
  t.equal(collection.program('drop').testRun({ data: new Uint8Array(64) }).returnValue, 0);
  collection.close();
});

t.test('a ring buffer that names the type of its records', async (t) => {
  const spec = open(false);
  const events = spec.maps.find(({ name }) => name === 'events');
  t.match(events, { keySize: 0, valueSize: 0, maxEntries: 4096 });
  t.equal(spec.btf?.nameOf(events?.valueTypeId ?? 0), 'event', 'whose type is still known');
  const collection = loadCollection(kernel, spec, {
    programs: ['first_socket'],
    mapSizes: { sized_later: 8, stacks: 2 },
    sizeUnsized: true,
  });
  t.equal(collection.map('events').info().valueSize, 0);
  t.equal(collection.program('first_socket').testRun({ data: new Uint8Array(64) }).returnValue, 1, 'and the program writes to it');
  collection.close();
});
