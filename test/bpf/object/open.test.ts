import t from 'tap';
import { openObject } from '../../../src/bpf/object/index.ts';
import { parseElf, sectionNamed, STB, STT } from '../../../src/elf/index.ts';
import { fixtureBytes, open } from './support.ts';

t.test('maps: names, types, tags, contents', async (t) => {
  const spec = open('maps');
  t.equal(spec.license, 'Dual BSD/GPL');
  t.equal(spec.kernVersion, 0x060102);
  const map = (name: string) => spec.maps.find((candidate) => candidate.name === name);
  t.same(map('typed')?.tags, ['first', 'second']);
  t.equal(spec.btf?.nameOf(map('typed')?.keyTypeId ?? 0), 'key');
  t.equal(spec.btf?.nameOf(map('typed')?.valueTypeId ?? 0), 'value_t');
  t.equal(map('sized')?.pinning, 1);
  t.equal(map('bloom')?.mapExtra, 3n);
  t.equal(map('ring')?.maxEntries, 8192, '5000 bytes become two pages');
  t.same(map('outer')?.slots, [
    { index: 1, kind: 'map', name: 'inner_a' },
    { index: 3, kind: 'map', name: 'inner_b' },
  ]);
  t.match(map('outer')?.inner, { name: 'outer.inner', type: 2, maxEntries: 2, valueSize: 24 });
  t.match(map('hash_of_rings')?.inner, { type: 27, maxEntries: 4096 });
  t.same(map('jumps')?.slots, [{ index: 2, kind: 'program', name: 'tail' }]);
  t.equal(map('.rodata')?.libbpfName, 'maps.rodata');
  t.equal(map('.data.custom')?.libbpfName, '.data.custom');
  t.same([...(map('.data.custom')?.data ?? [])], [9, 0, 0, 0]);
});

t.test("the object's name ends at the first dot", async (t) => {
  for (const [name, map] of [
    ['maps.bpf', 'maps.rodata'],
    ['a_long_name.bpf.o', 'a_long_n.rodata'],
    ['odd-name', 'odd_name.rodata'],
  ] as const) {
    const spec = openObject(fixtureBytes('maps.bpf.o'), { name });
    t.equal(spec.maps.find(({ origin }) => origin === 'rodata')?.libbpfName, map);
  }
});

t.test('a ring buffer is rounded to pages of the kernel at hand', async (t) => {
  const ring = open('maps', { pageSize: 65536 }).maps.find(({ name }) => name === 'ring');
  t.equal(ring?.maxEntries, 65536);
});

t.test('merged strings are a read-only map of their own, with BTF or without', async (t) => {
  // Neither has a DATASEC for it: it has no types.
  for (const file of ['../nobtf.bpf.o', '../../gadgets/trace_exec/program.bpf.o']) {
    const bytes = fixtureBytes(file);
    const section = sectionNamed(parseElf(bytes), '.rodata.str1.1');
    const map = openObject(bytes, { name: 'program' }).maps.find(({ name }) => name === '.rodata.str1.1');
    const BPF_F_RDONLY_PROG = 0x80;
    t.match(map, { origin: 'rodata', type: 2, keySize: 4, maxEntries: 1, valueTypeId: 0, valueSize: section?.size }, file);
    t.equal((map?.flags ?? 0) & BPF_F_RDONLY_PROG, BPF_F_RDONLY_PROG);
    t.same(map?.data, section?.data, 'what the section holds');
  }
});

t.test('old compilers left the machine zero', async (t) => {
  const bytes = Uint8Array.from(fixtureBytes('calls.bpf.o'));
  new DataView(bytes.buffer).setUint16(18, 0, true);
  t.same(
    openObject(bytes).programs.map(({ name, insns }) => [name, insns]),
    open('calls').programs.map(({ name, insns }) => [name, insns]),
  );
});

t.test('variables: place, size, type, linkage', async (t) => {
  const spec = open('maps');
  const variable = (name: string) => spec.variables.find((candidate) => candidate.name === name);
  t.match(variable('limit'), { map: '.rodata', size: 4, linkage: 'global' });
  t.match(variable('greeting'), { map: '.rodata', size: 6 });
  t.match(variable('hidden_global'), { map: '.data', linkage: 'static' });
  t.match(variable('hidden_static'), { map: '.data', linkage: 'static' });
  t.match(variable('zeroes'), { map: '.bss', size: 24 });
  t.match(variable('custom_zero'), { map: '.bss.custom', size: 4 });
  t.match(variable('weak_value'), { map: '.data', linkage: 'global' });
  const data = spec.maps.find(({ name }) => name === '.data')?.data ?? new Uint8Array(0);
  const read = (name: string) => new DataView(data.buffer, data.byteOffset).getInt32(variable(name)?.offset ?? 0, true);
  t.same([read('visible'), read('hidden_static'), read('hidden_global'), read('weak_value')], [7, 3, 8, 11]);
});

t.test('variables of an object without BTF come from its symbols', async (t) => {
  const spec = openObject(fixtureBytes('../nobtf.bpf.o'), { name: 'nobtf' });
  t.equal(spec.btf, null);
  t.ok(spec.variables.length > 0);
  t.ok(spec.variables.every(({ typeId, size }) => typeId === 0 && size > 0));
});

t.test('old map sections', async (t) => {
  const spec = open('legacy');
  t.match(spec.maps, [
    { name: 'first', origin: 'legacy', type: 1, keySize: 4, valueSize: 8, maxEntries: 100, flags: 1 },
    { name: 'second', type: 2, valueSize: 16, maxEntries: 3 },
    { name: 'inner', type: 2, sectionName: 'maps/iproute2' },
    { name: 'outer', type: 12, maxEntries: 2, inner: { name: 'inner', valueSize: 4 } },
  ]);
  t.match(spec.programs, [{ name: 'use', type: 3, attachTo: 'ingress/legacy' }]);
  t.throws(() => open('legacy', { strict: true }), { code: 'E_LEGACY_MAPS' });
});

t.test('opening is deterministic and does not touch the bytes', async (t) => {
  const bytes = Uint8Array.from(fixtureBytes('maps.bpf.o'));
  const copy = bytes.slice();
  const first = openObject(bytes);
  const data = first.maps.find(({ name }) => name === '.data')?.data;
  data?.fill(0xff);
  t.same(bytes, copy);
  t.not(openObject(bytes).maps.find(({ name }) => name === '.data')?.data?.[0], 0xff);
});

t.test('what is no BPF object is refused by name', async (t) => {
  t.throws(() => openObject(new Uint8Array(10)), { code: 'E_ELF_MAGIC' });
  const bytes = Uint8Array.from(fixtureBytes('calls.bpf.o'));
  bytes[18] = 62;
  t.throws(() => openObject(bytes), { code: 'E_NOT_BPF', message: /machine 62/ });
});

t.test('old compilers gave functions neither type nor size', async (t) => {
  const bytes = Uint8Array.from(fixtureBytes('sections.bpf.o'));
  const symtab = sectionNamed(parseElf(bytes), '.symtab');
  if (symtab === null) throw new Error('no .symtab');
  for (let at = symtab.offset; at < symtab.offset + symtab.size; at += 24) {
    // st_info: GLOBAL FUNC becomes GLOBAL NOTYPE, st_size 0.
    if (bytes[at + 4] !== ((STB.GLOBAL << 4) | STT.FUNC)) continue;
    bytes[at + 4] = STB.GLOBAL << 4;
    bytes.fill(0, at + 16, at + 24);
  }
  const plain = open('sections').programs.map(({ name, insns, type }) => [name, insns.length, type]);
  t.same(
    openObject(bytes).programs.map(({ name, insns, type }) => [name, insns.length, type]),
    plain,
  );
  t.same(openObject(bytes, { strict: true }).programs, [], 'libbpf finds none');
});
