import t from 'tap';
import { mkdirSync, rmdirSync } from 'node:fs';
import { Btf } from '../../../src/btf/btf.ts';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { LoadOptions } from '../../../src/bpf/collection/options.ts';
import type { KernelFeature } from '../../../src/bpf/kernel/features.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import { attachTc } from '../../../src/bpf/link/tc.ts';
import { attachTracepoint } from '../../../src/bpf/link/tracepoint.ts';
import { attachXdp } from '../../../src/bpf/link/xdp.ts';
import type { ObjectSpec } from '../../../src/bpf/object/spec.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { BPF_FUNC } from '../../../src/bpf/uapi/func.gen.ts';
import { cString } from '../../../src/bytes/text.ts';
import { CLONE } from '../../../src/sys/constants.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { findMount } from '../../../src/sys/detached-mount.ts';
import { type Fault, type FaultCall, FaultInjector, withoutRingbuf } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';
import { openRuntime } from '../runtime.ts';
import type { throwsErrno } from '../throws-errno.ts';

const real = new Kernel();
const runtime = openRuntime(real);
const usdt = openObject(fixture('usdt/usdt.bpf.o'), { name: 'usdt' });
const pid = process.pid;
const packet = new Uint8Array(64);
t.equal(real.sys.call('unshare', CLONE.CLONE_NEWNET), 0);

const named = (call: FaultCall, field: string): boolean => {
  const bytes = call.attr[field];
  return bytes instanceof Uint8Array && cString(bytes) !== '';
};
/** BTF that has a type of this kind, as a kernel that does not know it would see it. */
const hasKind =
  (...kinds: string[]) =>
  (call: FaultCall): boolean => {
    const bytes = call.command === 'BPF_BTF_LOAD' ? call.buffer('btf') : null;
    if (bytes === null) return false;
    const btf = Btf.parse(bytes);
    for (let id = 1; id < btf.typeCount; id++) if (kinds.includes(btf.type(id).kind)) return true;
    return false;
  };
/** A program that calls one of these helpers (BPF_JMP | BPF_CALL). */
const callsHelper =
  (...helpers: number[]) =>
  (call: FaultCall): boolean => {
    const insns = call.command === 'BPF_PROG_LOAD' ? call.buffer('insns') : null;
    if (insns === null) return false;
    const view = new DataView(insns.buffer, insns.byteOffset, insns.byteLength);
    for (let at = 0; at + 8 <= insns.length; at += 8) {
      if (insns[at] === 0x85 && helpers.includes(view.getInt32(at + 4, true))) return true;
    }
    return false;
  };

interface Row {
  /** As section 3 of the peers' notes and docs/fallbacks.md name it. */
  readonly name: string;
  readonly fault: Fault;
  /** What has to be found out for it, once; null where the failure itself tells. */
  readonly feature: KernelFeature | null;
  /** runtime.bpf.o unless said. */
  readonly object?: ObjectSpec;
  readonly options?: LoadOptions;
  readonly check: (t: Tap, collection: Collection, kernel: Kernel) => void;
}

type Tap = Parameters<typeof throwsErrno>[0];

const sum = { programs: ['sum', 'tail_target'] };
const tracing = { programs: ['on_tracepoint', 'tail_target'] };
const loads = (test: Tap, collection: Collection): void => void test.ok(collection.programs.size > 0);
/** The programs do what they should, whatever their BTF looks like. */
const runs = (test: Tap, collection: Collection): void =>
  void test.equal(collection.program('sum').testRun({ data: packet }).returnValue, 64 - 14 + 5 + 3 + 0);

const rows: readonly Row[] = [
  {
    name: 'PROG_NAME',
    fault: { when: (call) => named(call, 'prog_name') || named(call, 'map_name'), errno: 'EINVAL' },
    feature: 'prog_name',
    options: sum,
    check(test, collection) {
      runs(test, collection);
      test.equal(collection.program('sum').info().name, '', 'unnamed');
    },
  },
  { name: 'BTF', fault: { when: ({ command }) => command === 'BPF_BTF_LOAD', errno: 'EINVAL' }, feature: 'btf', options: sum, check: runs },
  { name: 'BTF_FUNC', fault: { when: hasKind('FUNC', 'FUNC_PROTO'), errno: 'EINVAL' }, feature: 'btf_func', options: sum, check: runs },
  { name: 'BTF_DATASEC', fault: { when: hasKind('DATASEC', 'VAR'), errno: 'EINVAL' }, feature: 'btf_datasec', options: sum, check: runs },
  { name: 'BTF_FLOAT', fault: { when: hasKind('FLOAT'), errno: 'EINVAL' }, feature: null, options: sum, check: runs },
  { name: 'BTF_DECL_TAG', fault: { when: hasKind('DECL_TAG'), errno: 'EINVAL' }, feature: null, options: sum, check: runs },
  { name: 'BTF_TYPE_TAG', fault: { when: hasKind('TYPE_TAG'), errno: 'EINVAL' }, feature: null, options: sum, check: runs },
  { name: 'BTF_ENUM64', fault: { when: hasKind('ENUM64'), errno: 'EINVAL' }, feature: null, options: sum, check: runs },
  {
    name: 'ARRAY_MMAP',
    fault: { when: ({ command, attr }) => command === 'BPF_MAP_CREATE' && (Number(attr['map_flags']) & 0x400) !== 0, errno: 'EINVAL' },
    feature: 'array_mmap',
    options: sum,
    check(test, collection) {
      runs(test, collection);
      test.equal(collection.map('.bss').flags & 0x400, 0);
      collection.variable('seen').set(7n);
      test.equal(collection.variable('seen').get(), 7n, 'by system calls');
    },
  },
  {
    name: 'PROBE_READ_KERN',
    fault: { when: callsHelper(BPF_FUNC.BPF_FUNC_probe_read_kernel, BPF_FUNC.BPF_FUNC_probe_read_user_str), errno: 'EINVAL' },
    feature: 'probe_read_kernel',
    object: usdt,
    options: { programs: ['on_any'] },
    // The second load of the same program is the one that counts: the verifier took the older helpers.
    check: loads,
  },
  {
    name: 'PROG_BIND_MAP',
    fault: { when: ({ command }) => command === 'BPF_PROG_BIND_MAP', errno: 'EINVAL' },
    feature: null,
    options: sum,
    check: runs,
  },
  {
    name: 'MODULE_BTF',
    fault: { when: (call) => call.command === 'BPF_OBJ_GET_INFO_BY_FD' && (call.buffer('info')?.length ?? 0) === 32, errno: 'E2BIG' },
    feature: 'module_btf',
    options: sum,
    check(test, collection, kernel) {
      test.same(kernel.moduleBtfs(), []);
      runs(test, collection);
    },
  },
  {
    name: 'PERF_LINK',
    fault: { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
    feature: 'perf_link',
    options: { ...tracing, variables: { wanted_pid: pid } },
    check(test, collection, kernel) {
      const program = collection.program('on_tracepoint');
      test.throws(() => attachTracepoint(program, 'syscalls/sys_enter_getpgid', { cookie: 1n }), { code: 'E_COOKIE' });
      const link = attachTracepoint(program, 'syscalls/sys_enter_getpgid');
      kernel.sys.call('getpgid', 0);
      test.equal(collection.variable('seen').get(), 1n);
      test.equal(link.info(), null);
      link.close();
    },
  },
  {
    name: 'tracing links through BPF_RAW_TRACEPOINT_OPEN (before 5.18)',
    fault: { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
    feature: null,
    options: { programs: ['on_tp_btf', 'tail_target'], variables: { wanted_pid: pid } },
    check(test, collection) {
      const link = attachProgram(collection.program('on_tp_btf'));
      test.match(link?.info()?.typeName, /^BPF_LINK_TYPE_(?:TRACING|RAW_TRACEPOINT)$/);
      link?.close();
    },
  },
  {
    name: 'tcx to clsact',
    fault: { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
    feature: null,
    options: { programs: ['on_tcx', 'tail_target'] },
    check(test, collection) {
      const link = attachTc(collection.program('on_tcx'), 'lo', { direction: 'ingress' });
      test.equal(link.kind, 'tc');
      link.close();
    },
  },
  {
    name: 'XDP links to netlink (before 5.9)',
    fault: { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
    feature: null,
    options: { programs: ['on_xdp', 'tail_target'] },
    check(test, collection) {
      const link = attachXdp(collection.program('on_xdp'), 'lo', { mode: 'generic' });
      test.equal(link.info(), null);
      test.throws(() => attachXdp(collection.program('on_xdp'), 'lo', { mode: 'generic' }), /another XDP program is on this device/);
      link.close();
    },
  },
  {
    name: 'ring buffers to perf buffers',
    fault: withoutRingbuf(),
    feature: 'ringbuf',
    options: { programs: ['sum', 'tail_target'], tracerMaps: ['events'] },
    check(test, collection) {
      test.equal(collection.map('events').typeName, 'BPF_MAP_TYPE_PERF_EVENT_ARRAY');
      runs(test, collection);
    },
  },
  {
    name: 'UPROBE_SYSCALL',
    fault: { when: ({ name }) => name === 'syscall_336', errno: 'ENOSYS' },
    feature: 'uprobe_syscall',
    options: sum,
    check: (test, _, kernel) => void test.equal(kernel.has('uprobe_syscall'), false),
  },
  {
    name: 'types of a map that the kernel does not take',
    fault: { when: ({ command, attr }) => command === 'BPF_MAP_CREATE' && Number(attr['btf_value_type_id']) > 0, errno: 'EINVAL' },
    feature: null,
    options: sum,
    check: runs,
  },
  {
    name: 'EAGAIN, four times',
    fault: { when: ({ command }) => command === 'BPF_PROG_LOAD', errno: 'EAGAIN', times: 4 },
    feature: null,
    options: sum,
    check: runs,
  },
];

for (const { name, fault, feature, object = runtime, options, check } of rows) {
  t.test(name, async (test) => {
    const injector = new FaultInjector(createBackend(), hostArch(), [fault]);
    const asked: KernelFeature[] = [];
    const kernel = new Kernel({
      sys: new Sys(injector, hostArch()),
      trace: (event) => void (event.step === 'probe' && asked.push(event.feature)),
    });
    const collection = loadCollection(kernel, object, { pinRoot: null, ...options });
    // Twice: nothing is asked a second time.
    loadCollection(kernel, object, { pinRoot: null, ...options }).close();
    loads(test, collection);
    check(test, collection, kernel);
    collection.close();
    test.same(asked, [...new Set(asked)], 'each probe is made once');
    if (feature !== null) test.ok(asked.includes(feature), `found out by ${feature} (asked: ${asked.join(' ')})`);
    const kinds = /^BTF_(?:FLOAT|DECL_TAG|TYPE_TAG|ENUM64)$/.test(name);
    // What the object does not use is not refused.
    if (!kinds) test.ok(injector.injected > 0, `the fault was met ${injector.injected} times`);
  });
}

t.test('a kernel that lacks nothing is asked nothing', async (test) => {
  const asked: string[] = [];
  const kernel = new Kernel({ trace: (event) => void (event.step === 'probe' && asked.push(event.feature)) });
  const before = new Set(['ringbuf', 'probe_read_kernel', 'module_btf', 'arg_ctx_tag', 'bpf_cookie', 'syscall_wrapper']);
  loadCollection(kernel, runtime, { pinRoot: null, ...sum }).close();
  test.same(
    asked.filter((feature) => !before.has(feature)),
    [],
    'what a failure tells is not asked before',
  );
});

const root = findMount('cgroup2');

t.test('cgroup links to BPF_PROG_ATTACH (before 5.7)', { skip: root === null && 'no cgroup2' }, async (test) => {
  const injector = new FaultInjector(createBackend(), hostArch(), [
    { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
  ]);
  const old = new Kernel({ sys: new Sys(injector, hostArch()) });
  const cgroup = `${root}/rawbpf-fallback-${pid}`;
  mkdirSync(cgroup);
  const collection = loadCollection(old, openObject(fixture('attach/cgroup.bpf.o')), { programs: ['on_sock_create'] });
  const link = attachCgroup(collection.program('on_sock_create'), cgroup);
  test.equal(link.info(), null);
  link.close();
  collection.close();
  rmdirSync(cgroup);
});

t.test('GLOBAL_DATA: an object with variables is refused in words', async (test) => {
  // Before 5.2 an instruction could not refer to a map's value (src_reg 2 of ldimm64).
  const usesValue = (call: FaultCall): boolean => {
    const insns = call.command === 'BPF_PROG_LOAD' ? call.buffer('insns') : null;
    return insns !== null && insns.some((byte, i) => i % 8 === 0 && byte === 0x18 && (insns[i + 1] as number) >> 4 === 2);
  };
  const injector = new FaultInjector(createBackend(), hostArch(), [{ when: usesValue, errno: 'EINVAL' }]);
  const old = new Kernel({ sys: new Sys(injector, hostArch()) });
  test.throws(() => loadCollection(old, runtime, { pinRoot: null, ...sum }), { code: 'E_SYSCALL' });
  test.equal(old.has('global_data'), false);
});
