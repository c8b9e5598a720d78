import t from 'tap';
import { linkObject, type LinkResult, LinkSession } from '../../../src/bpf/object/index.ts';
import { InsnSlots } from '../../../src/bpf/insn/index.ts';
import { btfOf, kernel, open } from './support.ts';

const config = new Map([
  ['CONFIG_BPF', 'y'],
  ['CONFIG_IPV6', 'm'],
  ['CONFIG_CHAR', 'n'],
  ['CONFIG_HZ', '250'],
  ['CONFIG_SHORT', '-2'],
  ['CONFIG_BIG', '0xffffffffffffffff'],
  ['CONFIG_CC_VERSION_TEXT', '"gcc (Debian 12.2.0)"'],
]);

const vmlinux = btfOf([
  { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 }, // 1
  { kind: 'VAR', name: 'typed_variable', typeId: 1, linkage: 1 }, // 2
  { kind: 'FUNC_PROTO', name: '', returnTypeId: 1, params: [{ name: 'value', typeId: 1 }] }, // 3
  { kind: 'FUNC', name: 'kernel_function', typeId: 3, linkage: 1 }, // 4
]);
const module = btfOf([{ kind: 'FUNC', name: 'module_function', typeId: 3, linkage: 1 }], vmlinux); // 5

const target = kernel({
  vmlinuxBtf: () => vmlinux,
  moduleBtfs: () => [{ name: 'a_module', btf: module, fd: -1 }],
  kernelSymbol: (name) => (name === 'strong_symbol' ? 0xffffffff81234567n : null),
  kconfig: (name) => config.get(name) ?? null,
});

function program(results: readonly LinkResult[], name: string) {
  const result = results.find((candidate) => (candidate.ok ? candidate.program.spec : candidate.spec).name === name);
  if (result?.ok !== true) throw new Error(`${name} did not link`, { cause: result?.error });
  return result.program;
}

t.test('kconfig externs are laid out by alignment, size and name', async (t) => {
  const kconfig = open('externs').externs.filter(({ kind }) => kind === 'kconfig');
  t.same(
    kconfig.map(({ name, offset, size, kconfigType }) => [name, offset, size, kconfigType]),
    [
      ['CONFIG_BIG', 0, 8, 'int'],
      ['CONFIG_HZ', 8, 4, 'int'],
      ['CONFIG_IPV6', 12, 4, 'tristate'],
      ['LINUX_KERNEL_VERSION', 16, 4, 'int'],
      ['LINUX_UNHEARD_OF', 20, 4, 'int'],
      ['CONFIG_SHORT', 24, 2, 'int'],
      ['CONFIG_ABSENT', 26, 1, 'bool'],
      ['CONFIG_BPF', 27, 1, 'bool'],
      ['CONFIG_CHAR', 28, 1, 'char'],
      ['LINUX_HAS_BPF_COOKIE', 29, 1, 'bool'],
      ['LINUX_HAS_SYSCALL_WRAPPER', 30, 1, 'bool'],
      ['CONFIG_CC_VERSION_TEXT', 31, 12, 'string'],
    ],
  );
});

t.test('kconfig values of every type', async (t) => {
  const spec = open('externs');
  const session = new LinkSession(spec, { ...target, has: (feature) => feature === 'bpf_cookie' });
  t.equal(session.error, null);
  const bytes = session.kconfig ?? new Uint8Array(0);
  const view = new DataView(bytes.buffer);
  t.equal(view.getBigUint64(0, true), 0xffffffffffffffffn);
  t.equal(view.getInt32(8, true), 250);
  t.equal(view.getInt32(12, true), 2, 'TRI_MODULE');
  t.equal(view.getUint32(16, true), (6 << 16) + (12 << 8) + 3);
  t.equal(view.getInt32(20, true), 0);
  t.equal(view.getInt16(24, true), -2);
  t.same([...bytes.subarray(26, 31)], [0, 1, 'n'.charCodeAt(0), 1, 0]);
  t.equal(new TextDecoder().decode(bytes.subarray(31)), 'gcc (Debian\0', 'cut, with a NUL');
  linkObject(spec, target);
  t.equal(spec.maps.find(({ origin }) => origin === 'kconfig')?.data?.[30], 1, 'linking fills the map');
});

t.test('values that do not fit are errors', async (t) => {
  const rows: [string, string, RegExp][] = [
    ['CONFIG_BPF', 'm', /bool/],
    ['CONFIG_BPF', '1', /number/],
    ['CONFIG_HZ', 'y', /int/],
    ['CONFIG_HZ', '4294967296', /fit/],
    ['CONFIG_SHORT', '40000', /fit/],
    ['CONFIG_HZ', '"x"', /string/],
    ['CONFIG_HZ', '12x', /number/],
    ['CONFIG_CC_VERSION_TEXT', '"open', /end/],
    ['CONFIG_CC_VERSION_TEXT', '5', /number/],
  ];
  for (const [name, value, why] of rows) {
    const session = new LinkSession(open('externs'), { ...target, kconfig: (key) => (key === name ? value : (config.get(key) ?? null)) });
    t.match(session.error, { code: 'E_KCONFIG', message: why, where: { extern: name } }, `${name}=${value}`);
  }
});

t.test('addresses and BTF ids of kernel variables', async (t) => {
  const { insns, fixups } = program(linkObject(open('externs'), target), 'symbols');
  const slots = new InsnSlots(insns);
  const loads = [...Array(slots.count).keys()]
    .filter((i) => slots.code(i) === 0x18 && slots.src(i) !== 2)
    .map((i) => [slots.src(i), slots.imm(i) >>> 0, slots.imm(i + 1) >>> 0].join(' '));
  t.same(loads.toSorted(), ['0 0 0', '0 0 0', '0 2166572391 4294967295', '3 2 0'], 'weak ones that are missing are at address 0');
  t.notOk(fixups.some(({ kind }) => kind === 'ksym_btf_fd'));
});

t.test('kernel functions of vmlinux and of modules, weak ones that are not there', async (t) => {
  const spec = open('externs');
  const { insns, fixups } = program(linkObject(spec, target), 'functions');
  const slots = new InsnSlots(insns);
  const calls = [...Array(slots.count).keys()].filter((i) => slots.code(i) === 0x85).map((i) => slots.get(i));
  const poison = 2_002_000_000 + spec.externs.findIndex(({ name }) => name === 'missing_function');
  t.same(
    calls.map(({ src, off, imm }) => [src, off, imm]).toSorted((a, b) => (a[2] ?? 0) - (b[2] ?? 0)),
    [
      [2, 0, 4],
      [2, 0, 4],
      [2, 1, 5],
      [0, 0, poison],
    ],
  );
  t.match(
    fixups.filter(({ kind }) => kind === 'module_btf_fd'),
    [{ module: 'a_module', fdArrayIndex: 1 }],
  );
});

t.test('a strong extern that is missing fails the programs that use it, and in strict mode all', async (t) => {
  const bare = kernel({ kconfig: (name) => config.get(name) ?? null });
  const results = linkObject(open('externs'), bare);
  t.same(
    results.map(({ ok }) => ok),
    [true, false, false],
  );
  t.match(results[1], { error: { code: 'E_EXTERN_MISSING', message: /cannot use extern typed_variable .*insn 5.*no such variable/ } });
  t.same(
    linkObject(open('externs', { strict: true }), bare).map(({ ok }) => ok),
    [false, false, false],
  );
});

t.test('a kernel function with another prototype', async (t) => {
  const other = btfOf([
    { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 },
    { kind: 'FUNC_PROTO', name: '', returnTypeId: 1, params: [] },
    { kind: 'FUNC', name: 'kernel_function', typeId: 2, linkage: 1 },
  ]);
  const results = linkObject(open('externs'), { ...target, vmlinuxBtf: () => other, moduleBtfs: () => [] });
  t.match(results[2], { ok: false, error: { code: 'E_KSYM_TYPE', message: /another prototype/ } });
});

t.test('names of options and symbols that are nearly right', async (t) => {
  const spec = open('externs');
  const names = { kconfig: ['CONFIG_HZ', 'CONFIG_HZ_250', 'CONFIG_BIG_ONE'], ksym: [] };
  const kernel = { ...target, kconfig: () => null, similarNames: (kind: 'kconfig' | 'ksym') => names[kind] };
  const renamed = {
    ...spec,
    externs: spec.externs.map((extern) => (extern.name === 'CONFIG_HZ' ? { ...extern, name: 'CONFIG_HZZ' } : extern)),
  };
  const known = { ...kernel, kconfig: (name: string) => (name === 'CONFIG_BIG' ? '1' : null) };
  t.match(new LinkSession(renamed, known).error, {
    where: { extern: 'CONFIG_HZZ' },
    next: /^did you mean CONFIG_HZ[ ,?]/,
  });
  t.match(
    new LinkSession(spec, known).error,
    { where: { extern: 'CONFIG_HZ' }, next: /^declare it __weak/ },
    'a name that is right gets no suggestion',
  );
});
