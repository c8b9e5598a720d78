// Names in objects that are nearly right: the error says which name was meant, as the running kernel has it.
import t from 'tap';
import { Kernel, loadCollection } from '../../src/bpf/index.ts';
import { hasMapType } from '../../src/bpf/features/map-types.ts';
import { nearFunctions } from '../../src/bpf/link/kprobe.ts';
import { Kallsyms } from '../../src/bpf/kernel/kallsyms.ts';
import { openObject } from '../../src/bpf/object/index.ts';
import { fixture } from '../fixture.ts';

const kernel = new Kernel();
t.teardown(() => kernel.close());

/** A fixture with one name in it changed for another of the same length. */
function misspelt(file: string, from: string, to: string): Uint8Array {
  if (from.length !== to.length) throw new Error(`${from} and ${to} differ in length`);
  const text = Buffer.from(fixture(file)).toString('latin1');
  if (!text.includes(from)) throw new Error(`${file} has no ${from}`);
  return Buffer.from(text.replaceAll(from, to), 'latin1');
}

const hasConfig = kernel.config().names().length > 0;
const symbols = kernel.kallsyms();
const releasesTasks = kernel.target().vmlinuxBtf()?.findByName('bpf_task_release', 'FUNC') ?? null;

interface Row {
  readonly what: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly program: string;
  readonly code: string;
  readonly message: RegExp;
  /** Why this kernel cannot tell; false where it can. */
  readonly skip?: string | false;
}

const rows: readonly Row[] = [
  {
    what: 'a section',
    file: 'attach/tracing.bpf.o',
    from: 'raw_tp/sys_enter',
    to: 'raw_pt/sys_enter',
    program: 'on_raw_tp',
    code: 'E_PROGRAM_TYPE',
    message: /section raw_pt\/sys_enter.*did you mean raw_tp\/sys_enter\b/s,
  },
  {
    what: 'a kernel function to trace',
    file: 'attach/tracing.bpf.o',
    from: 'fentry/__x64_sys_getpgid',
    to: 'fentry/__x64_sys_getpgit',
    program: 'on_fentry',
    code: 'E_ATTACH_TARGET',
    message: /no function __x64_sys_getpgit.*did you mean __x64_sys_getpgid\b/s,
    skip: process.arch === 'x64' ? false : 'the fixture names functions of x86-64',
  },
  {
    what: 'a BTF tracepoint',
    file: 'attach/tracing.bpf.o',
    from: 'tp_btf/sys_enter',
    to: 'tp_btf/sys_entar',
    program: 'on_tp_btf',
    code: 'E_ATTACH_TARGET',
    message: /no raw tracepoint sys_entar.*did you mean .*sys_enter\b/s,
  },
  {
    what: 'an option of the kernel configuration',
    file: 'object/externs.bpf.o',
    from: 'CONFIG_BPF',
    to: 'CONFIG_BPG',
    program: 'configured',
    code: 'E_EXTERN_MISSING',
    message: /extern CONFIG_BPG\b.*did you mean .*CONFIG_BPF\b/s,
    skip: hasConfig ? false : 'the configuration of this kernel cannot be read',
  },
  {
    what: 'a kernel symbol',
    file: 'object/externs.bpf.o',
    from: 'strong_symbol',
    to: 'do_group_exti',
    program: 'symbols',
    code: 'E_EXTERN_MISSING',
    message: /extern do_group_exti\b.*did you mean .*do_group_exit\b/s,
    skip: symbols.address('do_group_exit') === null ? 'this kernel shows no symbol do_group_exit' : false,
  },
  {
    what: 'a kernel function to call',
    file: 'object/externs.bpf.o',
    from: 'kernel_function',
    to: 'bpf_task_relase',
    program: 'functions',
    code: 'E_EXTERN_MISSING',
    message: /extern bpf_task_relase\b.*did you mean .*bpf_task_release\b/s,
    skip: releasesTasks === null ? 'this kernel has no bpf_task_release' : false,
  },
];

for (const { what, file, from, to, program, code, message, skip = false } of rows) {
  t.test(`what was meant: ${what}`, { skip }, async (test) => {
    const spec = openObject(misspelt(file, from, to), { name: 'misspelt' });
    const name = spec.programs.find((each) => each.name === program)?.name ?? '';
    test.equal(name, program, 'the fixture has it');
    test.throws(() => loadCollection(kernel, spec, { programs: [name] }).close(), { code, message });
  });
}

t.test('what was meant: a function to probe', async (test) => {
  const text = ['1 T do_unlinkat', '2 t split.isra.0', '3 t split.constprop.0', '4 d do_unlinkatt'].join('\n');
  const known = new Kallsyms(Buffer.from(text));
  test.same(nearFunctions(known, 'do_unlinkatt'), ['do_unlinkat'], 'data is no function');
  test.same(nearFunctions(known, 'split'), ['split.isra.0', 'split.constprop.0'], 'what compilers made of it');
  test.same(nearFunctions(known, 'do_unlinkat'), ['do_unlinkat'], 'it is there');
  test.same(nearFunctions(known, 'nothing_like_it'), []);
});

t.test('a program that replaces a function of another says that it wants one', async (test) => {
  const spec = openObject(fixture('attach/tracing.bpf.o'), { name: 'tracing' });
  const replaces = spec.programs.find(({ sectionName }) => sectionName.startsWith('freplace'));
  test.ok(replaces !== undefined);
  test.throws(() => loadCollection(kernel, spec, { programs: [replaces?.name ?? ''] }).close(), {
    code: 'E_ATTACH_TARGET',
    message: /none is given.*attachPrograms/s,
  });
});

const hasAll = hasMapType(kernel, 'BPF_MAP_TYPE_BLOOM_FILTER') ? false : 'this kernel has not every type of map in the fixture';

t.test('a map that was not created is named where a program uses it', { skip: hasAll }, async (test) => {
  const spec = openObject(fixture('object/maps.bpf.o'), { name: 'maps' });
  const maps = spec.maps.map((map) => (map.name === 'typed' ? { ...map, autocreate: false } : map));
  test.throws(() => loadCollection(kernel, { ...spec, maps }, { programs: ['use_all'], sizeUnsized: true, pinRoot: null }).close(), {
    code: 'E_MAP_NOT_CREATED',
    message: /map typed was not created/,
  });
});
