// What is asked for and is not there: each error names it and the next step, and nothing stays attached or open.
import t from 'tap';
import { mkdirSync, readdirSync, rmdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import { attachKprobe, attachKsyscall } from '../../../src/bpf/link/kprobe.ts';
import { attachKprobeMulti } from '../../../src/bpf/link/kprobe-multi.ts';
import { attachLirc, attachNetns, attachTcx } from '../../../src/bpf/link/net.ts';
import { openPinnedLink } from '../../../src/bpf/link/open.ts';
import type { BpfLink } from '../../../src/bpf/link/link.ts';
import { attachPerfEvent } from '../../../src/bpf/link/perf-event.ts';
import { attachTc } from '../../../src/bpf/link/tc.ts';
import { attachTracepoint } from '../../../src/bpf/link/tracepoint.ts';
import { attachRawTracepoint } from '../../../src/bpf/link/tracing.ts';
import { attachUprobe } from '../../../src/bpf/link/uprobe.ts';
import { attachUprobeMulti } from '../../../src/bpf/link/uprobe-multi.ts';
import { attachUsdt } from '../../../src/bpf/link/usdt/usdt.ts';
import { attachXdp } from '../../../src/bpf/link/xdp.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { RawbpfError } from '../../../src/error.ts';
import { CLONE } from '../../../src/sys/constants.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { findMount } from '../../../src/sys/detached-mount.ts';
import { failNamed, FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
const variables = { wanted_pid: process.pid };
const load = (name: string, programs: string[], on = kernel): Collection =>
  loadCollection(on, openObject(fixture(`attach/${name}.bpf.o`), { name }), { programs, variables });
const openFds = (): number => readdirSync('/proc/self/fd').length;
const target = fileURLToPath(new URL(`../../../../fixtures/usdt/target.${process.arch}`, import.meta.url));

const probes = load('probes', ['on_kprobe', 'on_kretprobe', 'on_kprobe_multi', 'on_uprobe', 'on_uprobe_multi', 'on_usdt', 'on_perf_event']);
const tracing = load('tracing', ['on_tracepoint', 'on_raw_tracepoint']);
const net = load('net', ['on_xdp', 'on_tc', 'on_tcx_ingress', 'on_sk_lookup']);
const cgroups = load('cgroup', ['on_sock_create']);
t.teardown(() => [probes, tracing, net, cgroups, wrapperless].forEach((each) => each.close()));
const hasKprobes = kernel.has('syscall_wrapper') && kernel.config().get('CONFIG_KPROBE_EVENTS') === 'y';

const noWrappers = new Kernel({ features: { syscall_wrapper: false } });
const wrapperless = load('probes', ['on_kprobe'], noWrappers);

/** What is done, what the error has to name, and the code; a null code: whatever a system call says. */
const rows: readonly (readonly [what: string, attach: () => unknown, code: string | null, message: RegExp])[] = [
  [
    'a kernel function',
    () => attachKprobe(probes.program('on_kprobe'), 'do_unlinkatt'),
    hasKprobes ? 'E_KPROBE' : 'E_KPROBE_MISSING',
    hasKprobes ? /do_unlinkatt.*did you mean/s : /do_unlinkatt.*tracepoint/s,
  ],
  [
    'a system call',
    () => attachKsyscall(probes.program('on_kprobe'), 'getpgidd'),
    hasKprobes ? 'E_KPROBE' : 'E_KPROBE_MISSING',
    /getpgidd/,
  ],
  // The name that kernels without wrappers have (before 4.17) is what is looked for.
  [
    'a system call without wrappers',
    () => attachKsyscall(wrapperless.program('on_kprobe'), 'no_such'),
    hasKprobes ? 'E_KPROBE' : 'E_KPROBE_MISSING',
    /__se_sys_no_such/,
  ],
  ['no function at all', () => attachKprobe(probes.program('on_kprobe'), 'a b'), 'E_KPROBE_TARGET', /write it as function/],
  ['an offset in a return', () => attachKprobe(probes.program('on_kretprobe'), 'do_unlinkat+4'), 'E_KPROBE_TARGET', /no offset/],
  [
    'a pattern that fits nothing',
    () => attachKprobeMulti(probes.program('on_kprobe_multi'), 'no_such_function_*'),
    'E_KPROBE',
    /no_such_function_\*/,
  ],
  [
    'a tracepoint',
    () => attachTracepoint(tracing.program('on_tracepoint'), 'syscalls/sys_enter_getpgit'),
    'E_TRACEPOINT',
    /did you mean .*sys_enter_getpgid/,
  ],
  [
    'a category',
    () => attachTracepoint(tracing.program('on_tracepoint'), 'syscall/sys_enter_getpgid'),
    'E_TRACEPOINT',
    /no category syscall.*syscalls\/sys_enter_getpgid/s,
  ],
  ['half a tracepoint', () => attachTracepoint(tracing.program('on_tracepoint'), 'sys_enter'), 'E_TRACEPOINT', /category\/name/],
  [
    'a raw tracepoint',
    () => attachRawTracepoint(tracing.program('on_raw_tracepoint'), 'sys_entr'),
    'E_TRACEPOINT',
    /did you mean sys_enter/,
  ],
  ['a library', () => attachUprobe(probes.program('on_uprobe'), 'libnothing.so.9:f'), 'E_BINARY', /libnothing\.so\.9.*give its path/s],
  ['a program', () => attachUprobe(probes.program('on_uprobe'), 'no-such-program:f'), 'E_BINARY', /no such program.*no-such-program/s],
  ['a file', () => attachUprobe(probes.program('on_uprobe'), '/no/such:f'), 'E_BINARY', /\/no\/such/],
  ['a symbol', () => attachUprobe(probes.program('on_uprobe'), 'libc.so.6:getppidd'), 'E_SYMBOL', /getppidd.*did you mean getppid/s],
  ['symbols by a pattern', () => attachUprobeMulti(probes.program('on_uprobe_multi'), 'libc.so.6:no_such_*'), 'E_SYMBOL', /no_such_\*/],
  ['a file that is no ELF', () => attachUprobe(probes.program('on_uprobe'), '/etc/passwd:f'), 'E_ELF_MAGIC', /ELF/],
  ['a USDT probe', () => attachUsdt(probes.program('on_usdt'), `${target}:rawbpf:kindz`), 'E_USDT', /rawbpf.*did you mean rawbpf:kinds/s],
  ['half a USDT probe', () => attachUsdt(probes.program('on_usdt'), 'python3'), 'E_USDT_TARGET', /path:provider:name/],
  ['a device', () => attachXdp(net.program('on_xdp'), 'lp'), 'E_DEVICE', /lp.*did you mean lo/s],
  ['a device by number', () => attachXdp(net.program('on_xdp'), 4711), 'E_DEVICE', /4711.*give one.*: lo/s],
  ['a device of tc', () => attachTc(net.program('on_tc'), 'eth99', { direction: 'ingress' }), 'E_DEVICE', /eth99.*give one.*: lo/s],
  [
    'a priority that does not fit',
    () => attachTc(net.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact', priority: 65_536 }),
    'E_TC_PRIORITY',
    /65535/,
  ],
  ['a device of clsact', () => attachTc(net.program('on_tc'), 4711, { direction: 'ingress', via: 'clsact' }), 'E_DEVICE', /4711/],
  ['a device of tcx', () => attachTcx(net.program('on_tcx_ingress'), 'e'.repeat(64)), 'E_DEVICE', /eeee/],
  ['a network namespace', () => attachNetns(net.program('on_sk_lookup'), '/no/such/ns'), null, /\/no\/such\/ns.*ENOENT.*\/run\/netns/s],
  [
    'a cgroup',
    () => attachCgroup(cgroups.program('on_sock_create'), '/sys/fs/cgroup/no/such'),
    null,
    /\/sys\/fs\/cgroup\/no\/such.*ENOENT.*\/sys\/fs\/cgroup is, and has no no/s,
  ],
  ['a folder that is no cgroup', () => attachCgroup(cgroups.program('on_sock_create'), '/etc'), 'E_CGROUP', /\/etc.*cgroup2/s],
  ['an infrared receiver', () => attachLirc(net.program('on_xdp'), '/dev/lirc99'), null, /\/dev\/lirc99.*ENOENT/s],
  ['a pin', () => openPinnedLink(kernel, '/sys/fs/bpf/no/such/link'), 'E_NOT_PINNED', /no\/such\/link/],
];

for (const [what, attach, code, message] of rows) {
  t.test(`what is not there: ${what}`, async (test) => {
    const fds = openFds();
    const caught = errorOf(attach);
    test.ok(caught instanceof RawbpfError, String(caught));
    if (caught instanceof RawbpfError) {
      test.equal(caught.code, code ?? 'E_SYSCALL');
      test.match(caught.message, message);
      test.notMatch(caught.message, /undefined|\[object|null/);
      test.type(caught.next, 'string', 'and what to do next');
    }
    test.equal(openFds(), fds, 'no descriptor stays');
  });
}

function errorOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error;
  }
  return null;
}

t.test('a busy XDP slot', async (test) => {
  const link = attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic' });
  const { id } = net.program('on_xdp').info();
  const caught = errorOf(() => attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic' }));
  test.match(caught, {
    what: 'another XDP program is on this device',
    where: { device: 'lo', program_id: id },
    next: /ip link set dev lo xdp off/,
  });
  link.close();
  const old = attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic', via: 'netlink' });
  const again = errorOf(() => attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic', via: 'netlink' }));
  test.match(again, { where: { program_id: id } });
  old.close();
});

t.test('a tracepoint that is full', async (test) => {
  const name = 'syscalls/sys_enter_sethostname';
  const copies = Array.from({ length: 65 }, () => load('tracing', ['on_tracepoint']));
  const programs = copies.map((copy) => copy.program('on_tracepoint'));
  const fds = openFds();
  const links: BpfLink[] = [];
  let caught: unknown = null;
  for (const program of programs) {
    caught = errorOf(() => links.push(attachTracepoint(program, name)));
    if (caught !== null) break;
  }
  test.ok(links.length > 0 && links.length <= 64, `${links.length} of 64 taken`);
  test.match(caught, { errnoName: 'E2BIG', where: { target: name }, why: /64 programs/, next: /raw tracepoint/ });
  links.at(-1)?.close();
  const [first] = programs;
  if (first !== undefined) {
    test.match(
      errorOf(() => attachTracepoint(first, name)),
      { errnoName: 'EEXIST', why: /already/, next: /load it once more/ },
    );
  }
  const late = programs.at(-1);
  if (late !== undefined) links.push(attachTracepoint(late, name));
  for (const link of links) link.close();
  test.equal(openFds(), fds, 'nothing stays open');
  for (const copy of copies) copy.close();
});

t.test('an attach that fails half-way is undone', async (test) => {
  // The second CPU's event cannot be opened; the second of two programs cannot be attached.
  const fds = openFds();
  const faults = new FaultInjector(createBackend(), hostArch(), [failNamed('perf_event_open', 'EMFILE', { skip: 1 })]);
  const failing = new Kernel({ sys: new Sys(faults, hostArch()) });
  const collection = load('probes', ['on_perf_event'], failing);
  const within = openFds();
  throwsErrno(test, () => attachPerfEvent(collection.program('on_perf_event'), 'PERF_COUNT_SW_CPU_CLOCK', { cpus: [0, 1] }), 'EMFILE');
  test.equal(openFds(), within);
  collection.close();

  const both = load('tracing', ['on_tracepoint', 'on_tp']);
  const program = both.program('on_tp');
  const before = openFds();
  const bad = new Map(both.programs);
  test.equal(bad.size, 2);
  const first = attachProgram(both.program('on_tracepoint'));
  test.throws(() => attachProgram(program, { target: 'no/such' }), { code: 'E_TRACEPOINT' });
  first?.close();
  test.equal(openFds(), before);
  both.close();
  test.equal(openFds(), fds);
});

const root = findMount('cgroup2');

t.test('a cgroup that was removed meanwhile', { skip: root === null && 'no cgroup2' }, async (test) => {
  const cgroup = `${root}/rawbpf-gone-${process.pid}`;
  mkdirSync(cgroup);
  const links = (['link', 'attach'] as const).map((via) => attachCgroup(cgroups.program('on_sock_create'), cgroup, { via }));
  rmdirSync(cgroup);
  for (const link of links) link.close();
  test.match(
    errorOf(() => attachCgroup(cgroups.program('on_sock_create'), cgroup)),
    { where: { path: cgroup } },
  );
});
