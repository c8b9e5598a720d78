import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { KernelConfig } from '../../../src/bpf/kernel/kconfig.ts';
import { Kernel, type KernelOptions } from '../../../src/bpf/kernel/kernel.ts';
import { KernelConfig as Config } from '../../../src/bpf/kernel/kconfig.ts';
import type { Btf } from '../../../src/btf/btf.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { BPF_CMD } from '../../../src/bpf/uapi/cmd.gen.ts';
import { nameOf } from '../../../src/bpf/uapi/names.ts';
import { cString } from '../../../src/bytes/text.ts';
import { BPF_ATTR, type BpfCommand } from '../../../src/sys/bpf-attr/index.ts';
import { ERRNO, type ErrnoName } from '../../../src/sys/errno.ts';
import { FakeBackend, type FakeCall } from '../../../src/sys/fake-backend.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';

interface SeenCall {
  readonly command: string;
  readonly attr: Readonly<Record<string, unknown>>;
}

/** A kernel without a machine: the calls it was asked for, and answers that a test decides. */
class FakeKernel extends Kernel {
  override config(): KernelConfig {
    return new Config('CONFIG_HZ=250\n', 'test');
  }

  override vmlinuxBtf(): Btf | null {
    return null;
  }
}

function fakeKernel(
  refuse: (call: SeenCall) => ErrnoName | null = () => null,
  options: KernelOptions = {},
): { kernel: Kernel; calls: SeenCall[] } {
  const calls: SeenCall[] = [];
  const answer = (call: FakeCall): number | undefined => {
    if (call.name !== 'bpf') return undefined;
    const command = nameOf(BPF_CMD, Number(call.args[0])) as BpfCommand;
    const seen = { command, attr: BPF_ATTR[command].decode(call.args[1] as Uint8Array) };
    calls.push(seen);
    const errno = refuse(seen);
    return errno === null ? undefined : -ERRNO[errno];
  };
  return { kernel: new FakeKernel({ sys: new Sys(new FakeBackend('x64', answer), 'x64'), ...options }), calls };
}

const spec = openObject(fixture('runtime.bpf.o'), { name: 'runtime' });
const few = { programs: ['tail_target', 'through_tail_call', 'on_tracepoint'], pinRoot: null };

function maps(calls: readonly SeenCall[]): unknown[][] {
  return calls
    .filter(({ command }) => command === 'BPF_MAP_CREATE')
    .map(({ attr }) => [
      cString(attr['map_name'] as Uint8Array),
      attr['map_type'],
      attr['key_size'],
      attr['value_size'],
      attr['max_entries'],
      attr['map_flags'],
      attr['btf_key_type_id'],
      attr['btf_value_type_id'],
    ]);
}

t.test('maps are asked for as libbpf asks', async (t) => {
  const { kernel, calls } = fakeKernel();
  loadCollection(kernel, spec, few).close();
  // libbpf 1.8 loading the same object on Linux 6.18: strace -v -e trace=bpf. Its order differs in nothing but the data maps'.
  const expected = [
    ['inner_map', 2, 4, 8, 1, 0, 8, 11],
    ['outer.inner', 2, 4, 8, 1, 0, 8, 11],
    ['outer', 12, 4, 4, 4, 0, 0, 0],
    ['tail_calls', 3, 4, 4, 3, 0, 0, 0],
    ['per_cpu', 6, 4, 4, 2, 0, 8, 8],
    ['by_pid', 1, 4, 24, 64, 0, 8, 47],
    ['events', 27, 0, 0, 8192, 0, 0, 0],
    ['runtime.rodata', 2, 4, 31, 1, 0x480, 0, 146],
    ['runtime.bss', 2, 4, 16, 1, 0x400, 0, 141],
    ['runtime.data', 2, 4, 12, 1, 0x400, 0, 142],
    ['.data.custom', 2, 4, 4, 1, 0x400, 0, 143],
    ['runtime.kconfig', 2, 4, 4, 1, 0x480, 0, 144],
  ];
  t.same(maps(calls), expected);
});

t.test('the order of calls: BTF, maps, contents, freezing, programs, slots', async (t) => {
  const { kernel, calls } = fakeKernel();
  loadCollection(kernel, spec, few).close();
  const order = calls.map(({ command }) => command);
  const first = (command: string): number => order.indexOf(command);
  t.equal(first('BPF_BTF_LOAD'), 0);
  t.equal(order.filter((command) => command === 'BPF_MAP_FREEZE').length, 2, '.rodata and .kconfig');
  t.ok(order.lastIndexOf('BPF_MAP_FREEZE') < first('BPF_PROG_LOAD'), 'frozen before any program loads');
  t.ok(order.lastIndexOf('BPF_PROG_LOAD') < order.lastIndexOf('BPF_MAP_UPDATE_ELEM'), 'prog arrays last');
  t.equal(order.length, 1 + 12 + 5 + 2 + 1 + 3 + 3 + 1, 'and nothing else is asked of a kernel that takes everything');
});

t.test('programs are asked for as libbpf asks', async (t) => {
  const { kernel, calls } = fakeKernel();
  loadCollection(kernel, spec, few).close();
  const programs = calls.filter(({ command }) => command === 'BPF_PROG_LOAD').map(({ attr }) => attr);
  t.same(
    programs.map((attr) => [
      cString(attr['prog_name'] as Uint8Array),
      attr['prog_type'],
      attr['insn_cnt'],
      attr['log_level'],
      attr['expected_attach_type'],
      attr['prog_flags'],
      attr['func_info_rec_size'],
      attr['func_info_cnt'],
      attr['line_info_rec_size'],
    ]),
    [
      ['tail_target', 1, 2, 0, 0, 0, 8, 1, 16],
      ['through_tail_ca', 1, 6, 0, 0, 0, 8, 1, 16],
      ['on_tracepoint', 5, 46, 0, 0, 0, 8, 1, 16],
    ],
  );
});

/** What kernels of old lack, by the call that shows it. */
const names = (call: SeenCall): boolean =>
  ['map_name', 'prog_name'].some((field) => call.attr[field] !== undefined && cString(call.attr[field] as Uint8Array) !== '');

t.test('a kernel without names, attach types and BTF', async (t) => {
  const { kernel, calls } = fakeKernel((call) => {
    if (call.command === 'BPF_BTF_LOAD') return 'EINVAL';
    return names(call) || (call.attr['prog_btf_fd'] as number) > 0 ? 'EINVAL' : null;
  });
  const collection = loadCollection(kernel, spec, few);
  t.equal(collection.programs.size, 3);
  collection.close();
  const last = calls.filter(({ command }) => command === 'BPF_PROG_LOAD').at(-1);
  t.equal(cString(last?.attr['prog_name'] as Uint8Array), '');
  t.equal(last?.attr['prog_btf_fd'], 0);
});

t.test('a kernel without expected attach types: they are left out where the section allows it, and only there', async (t) => {
  const load = (program: string) => {
    const { kernel, calls } = fakeKernel(({ command, attr }) =>
      command === 'BPF_PROG_LOAD' && Number(attr['expected_attach_type']) !== 0 ? 'EINVAL' : null,
    );
    loadCollection(kernel, spec, { programs: [program, 'tail_target'], pinRoot: null }).close();
    return calls.filter(({ command, attr }) => command === 'BPF_PROG_LOAD' && cString(attr['prog_name'] as Uint8Array) === program);
  };
  // BPF_XDP is 37; the probe for it, without a name, is not among these.
  t.same(
    load('on_xdp').map(({ attr }) => attr['expected_attach_type']),
    [37, 0],
  );
  t.throws(() => load('on_tcx'), { code: 'E_SYSCALL', message: /on_tcx.*EINVAL/ });
});

t.test('the verifier’s log: asked for after a refusal only, with room for all of it', async (t) => {
  const whole = `0: (95) exit\n${'; a line\n'.repeat(20_000)}R0 !read_ok\nprocessed 1 insns (limit 1000000)\n`;
  for (const tells of [true, false]) {
    const sizes: number[] = [];
    const answer = (call: FakeCall): number | undefined => {
      if (call.name !== 'bpf' || Number(call.args[0]) !== BPF_CMD.BPF_PROG_LOAD) return undefined;
      const bytes = call.args[1] as Uint8Array;
      const attr = BPF_ATTR.BPF_PROG_LOAD.decode(bytes);
      const log = call.buffer(attr['log_buf'] as bigint);
      sizes.push(log?.length ?? 0);
      if (log === null) return -ERRNO.EACCES;
      Buffer.from(whole).copy(log);
      // Linux 6.4 writes back how long the log is, with its NUL.
      if (tells) BPF_ATTR.BPF_PROG_LOAD.encode({ log_true_size: whole.length + 1 }, undefined, bytes);
      return log.length > whole.length ? -ERRNO.EACCES : -ERRNO.ENOSPC;
    };
    const kernel = new FakeKernel({ sys: new Sys(new FakeBackend('x64', answer), 'x64') });
    t.throws(() => loadCollection(kernel, spec, few), { code: 'E_VERIFIER', why: 'R0 !read_ok', log: whole });
    t.same(sizes, tells ? [0, 65536, whole.length + 1] : [0, 65536, 131072, 262144]);
  }
});

t.test('a kernel that refuses the object’s BTF is given an older form', async (t) => {
  let refused = 0;
  // Everything but the smallest probes of BTF 5.2: no FLOAT, tags, ENUM64, global functions.
  const { kernel, calls } = fakeKernel(
    (call) => {
      if (call.command !== 'BPF_BTF_LOAD') return null;
      return Number(call.attr['btf_size']) > 1000 && refused++ < 2 ? 'EINVAL' : null;
    },
    {
      features: {
        btf_func_global: false,
        btf_float: false,
        btf_decl_tag: false,
        btf_type_tag: false,
        btf_enum64: false,
        btf_layout: false,
      },
    },
  );
  loadCollection(kernel, spec, few).close();
  t.equal(
    calls.filter(({ command, attr }) => command === 'BPF_BTF_LOAD' && Number(attr['btf_size']) > 1000).length,
    3,
    'as it is, for its log, sanitised',
  );
  t.ok(
    calls.some(({ command, attr }) => command === 'BPF_PROG_LOAD' && Number(attr['prog_btf_fd']) > 0),
    'and used',
  );
});

t.test('a kernel that takes no types with a map', async (t) => {
  const notices: string[] = [];
  const { kernel } = fakeKernel(
    (call) => (call.command === 'BPF_MAP_CREATE' && Number(call.attr['btf_value_type_id']) > 0 ? 'EINVAL' : null),
    { onNotice: ({ code }) => notices.push(code) },
  );
  loadCollection(kernel, spec, few).close();
  t.ok(notices.includes('N_MAP_BTF'));
});

t.test('EAGAIN is tried again, five times', async (t) => {
  for (const [times, works] of [
    [4, true],
    [1000, false],
  ] as const) {
    let left: number = times;
    const { kernel } = fakeKernel((call) => (call.command === 'BPF_PROG_LOAD' && left-- > 0 ? 'EAGAIN' : null));
    if (works) loadCollection(kernel, spec, few).close();
    else t.throws(() => loadCollection(kernel, spec, few), /EAGAIN/);
    t.pass(`${times}`);
  }
});

t.test('a data map that cannot be mapped is made without', async (t) => {
  const { kernel, calls } = fakeKernel(({ command, attr }) =>
    command === 'BPF_MAP_CREATE' && (Number(attr['map_flags']) & 0x400) !== 0 ? 'EINVAL' : null,
  );
  const collection = loadCollection(kernel, spec, few);
  t.same(
    ['.rodata', '.bss', '.data', '.kconfig'].map((name) => collection.map(name).flags),
    [0x80, 0, 0, 0x80],
  );
  t.equal(maps(calls).filter(([name, , , , , flags]) => name === '' && flags === 0x400).length, 1, 'probed once');
  collection.close();
});

t.test('a kernel that knows smaller records gets tails of zeros', async (t) => {
  const infos: Uint8Array[] = [];
  const answer = (call: FakeCall): number | undefined => {
    if (call.name !== 'bpf' || Number(call.args[0]) !== BPF_CMD.BPF_PROG_LOAD) return undefined;
    const bytes = call.args[1] as Uint8Array;
    const attr = BPF_ATTR.BPF_PROG_LOAD.decode(bytes);
    const lines = call.buffer(attr['line_info'] as bigint);
    if (lines === null) return undefined;
    infos.push(lines.slice());
    // The kernel writes back the size that it knows: without the column.
    if (lines.some((byte, i) => i % 16 >= 12 && byte !== 0)) {
      BPF_ATTR.BPF_PROG_LOAD.encode({ line_info_rec_size: 12 }, undefined, bytes);
      return -ERRNO.E2BIG;
    }
    return undefined;
  };
  const kernel = new FakeKernel({ sys: new Sys(new FakeBackend('x64', answer), 'x64') });
  loadCollection(kernel, spec, { programs: ['tail_target', 'through_tail_call'], pinRoot: null }).close();
  t.ok(infos.length > 2, 'refused, and asked again');
  const [first, second] = infos as [Uint8Array, Uint8Array];
  t.equal(first.length, second.length);
  t.ok(
    second.every((byte, i) => byte === (i % 16 >= 12 ? 0 : first[i])),
    'the rest is as it was',
  );
});

t.test('memory that counts against RLIMIT_MEMLOCK (before 5.12): the limit is lifted after EPERM, once', async (t) => {
  for (const [version, lifted] of [
    [0x50a00, 1],
    [0x60100, 0],
  ] as const) {
    let refused = 0;
    let limits = 0;
    const answer = (call: FakeCall): number | undefined => {
      if (call.name === 'prlimit64') return void limits++;
      if (call.name !== 'bpf' || Number(call.args[0]) !== BPF_CMD.BPF_PROG_LOAD) return undefined;
      return refused++ === 0 || lifted === 0 ? -ERRNO.EPERM : undefined;
    };
    const kernel = new FakeKernel({ sys: new Sys(new FakeBackend('x64', answer), 'x64') });
    Object.defineProperty(kernel, 'version', { value: version });
    const load = () => loadCollection(kernel, spec, few).close();
    if (lifted > 0) load();
    else t.throws(load, { code: 'E_SYSCALL' }, 'newer kernels count it otherwise');
    t.equal(limits, lifted, `Linux ${version >> 16}.${(version >> 8) & 255}`);
  }
});
