import { readFileSync } from 'node:fs';
import t from 'tap';
import { checkKernels } from '../../../../src/bpf/object/check/check-kernels.ts';
import { offlineKernel } from '../../../../src/bpf/object/check/offline-kernel.ts';
import { openObject } from '../../../../src/bpf/object/index.ts';
import { fixtureBtf } from '../../../btf/core/support.ts';

const object = openObject(readFileSync(new URL('../../../../../fixtures/core/guarded.bpf.o', import.meta.url)), { name: 'guarded' });
const old = fixtureBtf('kernel-old.o');
const kernels = [
  offlineKernel('5.4.0-1-amd64', old),
  offlineKernel('6.1.0', old),
  offlineKernel('old', old, { config: 'CONFIG_HZ=250\n# CONFIG_PREEMPT is not set\n' }),
  offlineKernel('6.12.95', fixtureBtf('kernel-new.o')),
];
const report = checkKernels([object], kernels);

// One letter a kernel: ok, may break, breaks.
const expected: Readonly<Record<string, string>> = {
  always: 'oooo',
  unguarded: 'bbbo',
  guarded: 'oooo',
  by_version: 'obmo',
  by_config: 'mmoo',
  by_rodata: 'mmmo',
  helper: 'bbbo',
  kfunc_guarded: 'oooo',
  kfunc_unguarded: 'bbbo',
  map_old: 'oooo',
  map_new: 'bbbo',
  subprogram: 'bbbo',
  program_type: 'bbbo',
  on_function: 'oooo',
  on_no_function: 'mmmm',
  on_tracepoint: 'oooo',
  on_btf_tracepoint: 'bbbo',
};

t.test('each program on each kernel', async (t) => {
  t.same(report.kernels, ['5.4.0-1-amd64', '6.1.0', 'old', '6.12.95']);
  const found = report.rows.map(({ program, cells }) => [program, cells.map(({ verdict }) => verdict[0]).join('')]);
  t.same(Object.fromEntries(found), expected);
});

t.test('what breaks is named, with its line', async (t) => {
  const problems = (program: string, kernel: number) => report.rows.find((row) => row.program === program)?.cells[kernel]?.problems ?? [];
  const lineOf = (text: string): number => {
    const source = readFileSync(new URL('../../../../../fixtures/core/guarded.bpf.c', import.meta.url), 'utf8');
    return source.split('\n').findIndex((line) => line.includes(text)) + 1;
  };
  t.match(problems('unguarded', 0), [
    { verdict: 'breaks', kind: 'relocation', what: 'struct guarded.lately', source: `guarded.bpf.c:${lineOf(' unguarded(')}` },
  ]);
  t.match(problems('subprogram', 0), [{ kind: 'relocation', source: `guarded.bpf.c:${lineOf(' below(')}` }]);
  t.match(problems('by_version', 1), [
    { kind: 'relocation', what: 'struct guarded.lately' },
    { kind: 'helper', what: 'bpf_ktime_get_tai_ns' },
  ]);
  t.match(problems('kfunc_unguarded', 0), [{ kind: 'extern', what: 'new_kfunc' }]);
  t.match(problems('map_new', 0), [{ kind: 'map', what: 'new_map (BPF_MAP_TYPE_BLOOM_FILTER)' }]);
  t.match(problems('program_type', 0), [{ kind: 'program type', what: 'BPF_PROG_TYPE_SK_LOOKUP' }, { what: 'BPF_SK_LOOKUP' }]);
  t.match(problems('on_no_function', 3), [{ verdict: 'may break', kind: 'attach', what: 'gone_function' }]);
  t.match(problems('on_btf_tracepoint', 0), [{ kind: 'attach', why: /lately_happens/ }]);
});

t.test('what the object is prepared for is counted', async (t) => {
  const row = report.rows.find(({ program }) => program === 'guarded');
  t.same(
    row?.cells.map(({ guarded }) => guarded),
    [1, 1, 1, 0],
  );
});

t.test('what BTF cannot tell is said', async (t) => {
  t.same(report.unchecked, ['CONFIG_HZ of 5.4.0-1-amd64', 'CONFIG_HZ of 6.1.0', 'CONFIG_HZ of 6.12.95']);
});

t.test('the object is left as it was', async (t) => {
  t.same(
    object.externs.map(({ name, weak }) => [name, weak]),
    openObject(readFileSync(new URL('../../../../../fixtures/core/guarded.bpf.o', import.meta.url))).externs.map(({ name, weak }) => [
      name,
      weak,
    ]),
  );
});

t.test('a kernel known by its BTF', async (t) => {
  const [first, , third, last] = kernels;
  t.equal(first?.target.version, 0x050400);
  t.equal(third?.hasVersion, false);
  t.equal(last?.target.version, 0x060c5f);
  t.equal(first?.target.ringbuf, false);
  t.equal(last?.target.ringbuf, true);
  t.equal(first?.target.has('syscall_wrapper'), true);
  t.equal(first?.target.has('bpf_cookie'), false);
  t.equal(first?.hasValue('bpf_map_type', 3), false, '__MAX_BPF_MAP_TYPE is no map type');
  t.equal(first?.hasValue('no_such_enum', 3), null);
});
