import t from 'tap';
import { toHex } from '../../../src/bytes/index.ts';
import { LinkSession, linkObjects, openObject } from '../../../src/bpf/object/index.ts';
import { RawbpfError } from '../../../src/error.ts';
import { parseElf, sectionNamed, STB } from '../../../src/elf/index.ts';
import { expected, fixtureBytes, kernel } from './support.ts';

function input(name: string) {
  return { name, bytes: Uint8Array.from(fixtureBytes(`${name}.bpf.o`)) };
}

t.test('two objects linked into one are what libbpf makes of them', async (t) => {
  const want = expected().linked;
  const spec = openObject(linkObjects([input('link_a'), input('link_b')]), { name: 'linked', strict: true });
  t.same(
    spec.maps.map(({ libbpfName, type, keySize, valueSize, maxEntries, flags }) => [
      libbpfName,
      type,
      keySize,
      valueSize,
      maxEntries,
      flags,
    ]),
    want?.maps.map(({ name, type, keySize, valueSize, maxEntries, flags }) => [name, type, keySize, valueSize, maxEntries, flags]),
  );
  const session = new LinkSession(spec, kernel());
  t.same(
    session.programs.map(({ name }) => name),
    want?.programs.map(({ name }) => name),
  );
  for (const program of session.programs) {
    const result = session.link(program);
    if (!result.ok) throw result.error;
    const wanted = want?.programs.find(({ name }) => name === program.name);
    t.equal(toHex(result.program.insns), wanted?.insns, program.name);
    t.equal(result.program.funcInfo.bytes.length * 2, wanted?.funcInfo?.length, `func_info of ${program.name}`);
    t.equal(result.program.lineInfo.bytes.length * 2, wanted?.lineInfo?.length, `line_info of ${program.name}`);
  }
});

t.test('names, values and code of both halves', async (t) => {
  const spec = openObject(linkObjects([input('link_a'), input('link_b')]), { name: 'linked' });
  t.same(
    spec.externs.map(({ name }) => name),
    ['LINUX_KERNEL_VERSION'],
    'externs found each other',
  );
  const data = spec.maps.find(({ name }) => name === '.data')?.data ?? new Uint8Array(0);
  const view = new DataView(data.buffer, data.byteOffset);
  const both = spec.variables.filter(({ name }) => name === 'both').map(({ offset }) => view.getInt32(offset, true));
  t.same(both, [10, 20], 'static variables of one name are two');
  const chosen = [...spec.code.values()].flatMap(({ functions }) => functions).filter(({ name }) => name === 'chosen');
  t.equal(chosen.length, 1, 'the strong function replaced the weak one');
  t.equal(spec.btf?.findAll('map_a').length, 1);
});

t.test('one object linked alone says the same', async (t) => {
  for (const name of ['maps', 'calls', 'sections', 'struct_ops', 'externs']) {
    const before = openObject(fixtureBytes(`${name}.bpf.o`), { name });
    const after = openObject(linkObjects([input(name)]), { name });
    const insns = (spec: typeof before) => {
      const session = new LinkSession(spec, kernel());
      return session.programs.map((program) => {
        const result = session.link(program);
        return [program.name, result.ok ? toHex(result.program.insns) : result.error.code];
      });
    };
    t.same(insns(after), insns(before), name);
    const plain = (spec: typeof before) =>
      spec.maps.map(({ name: map, type, keySize, valueSize, flags, slots }) => ({ map, type, keySize, valueSize, flags, slots }));
    t.same(plain(after), plain(before), `maps of ${name}`);
  }
});

t.test('the output is a well-formed ELF file: local symbols first, their count in sh_info', async (t) => {
  const elf = parseElf(linkObjects([input('link_a'), input('link_b')]));
  const symtab = sectionNamed(elf, '.symtab');
  const locals = elf.symbols.findIndex(({ binding, index }) => index > 0 && binding !== STB.LOCAL);
  t.equal(symtab?.info, locals);
  t.ok(elf.symbols.slice(locals).every(({ binding }) => binding !== STB.LOCAL));
});

t.test('a big-endian object stays one', async (t) => {
  const bytes = Uint8Array.from(fixtureBytes('calls.bpfeb.o'));
  const spec = openObject(linkObjects([{ name: 'calls', bytes }]));
  t.equal(spec.littleEndian, false);
  t.equal(spec.programs.length, 5);
  t.throws(() => linkObjects([input('calls'), { name: 'big', bytes }]), { code: 'E_STATIC_LINK_INPUT', message: /byte order/ });
});

t.test('objects that do not fit are refused with object and symbol', async (t) => {
  t.throws(() => linkObjects([]), { code: 'E_STATIC_LINK_INPUT' });
  t.throws(() => linkObjects([input('calls'), { ...input('calls'), name: 'again' }]), {
    code: 'E_STATIC_LINK_TWICE',
    message: /object again, symbol global_middle/,
  });
  t.throws(() => linkObjects([input('link_a'), input('maps')]), { code: 'E_STATIC_LINK_SECTION', message: /license/ });
  // map_b of link_b with another number of entries: the length of an array in its BTF.
  const other = input('link_b');
  const at = indexOfArray(other.bytes, 4);
  new DataView(other.bytes.buffer).setUint32(at, 5, true);
  t.throws(() => linkObjects([input('link_a'), other]), { code: 'E_STATIC_LINK_TYPE', message: /symbol map_b.*maxEntries is 4 and 5/ });
});

/** Where in the file the length of the first array type of this length stands: __uint(max_entries, 4). */
function indexOfArray(file: Uint8Array, count: number): number {
  const view = new DataView(file.buffer);
  const section = sectionNamed(parseElf(file), '.BTF');
  const start = section?.offset ?? 0;
  for (let at = start; at + 24 <= start + (section?.size ?? 0); at += 4) {
    // ARRAY: no name, kind 3, size 0, element type, index type, count.
    if (view.getUint32(at, true) === 0 && view.getUint32(at + 4, true) === 3 << 24 && view.getUint32(at + 20, true) === count)
      return at + 20;
  }
  throw new Error('no such array');
}

t.test('changed bytes give an object or a typed error', async (t) => {
  const a = input('link_a');
  let linked = 0;
  for (let at = 0; at < a.bytes.length; at += 97) {
    const before = a.bytes[at] as number;
    a.bytes[at] = before ^ 0xff;
    try {
      linkObjects([a, input('link_b')]);
      linked++;
    } catch (error) {
      if (!(error instanceof RawbpfError)) throw error;
    }
    a.bytes[at] = before;
  }
  t.ok(linked > 0);
});
