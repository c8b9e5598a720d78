import t from 'tap';
import { createSocket } from 'node:dgram';
import { mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import type { LoadOptions } from '../../../src/bpf/collection/options.ts';
import type { Collection } from '../../../src/bpf/collection/collection.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../../src/bpf/link/attach.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import { attachIter, IterLink } from '../../../src/bpf/link/iter.ts';
import type { BpfLink } from '../../../src/bpf/link/link.ts';
import { deviceIndex } from '../../../src/bpf/link/device.ts';
import { attachNetfilter, attachNetns, attachTcx } from '../../../src/bpf/link/net.ts';
import { attachXdp } from '../../../src/bpf/link/xdp.ts';
import { openLinkById } from '../../../src/bpf/link/open.ts';
import { attachPerfEvent } from '../../../src/bpf/link/perf-event.ts';
import { attachTracepoint, listTracepoints, tracepointId } from '../../../src/bpf/link/tracepoint.ts';
import { attachRawTracepoint } from '../../../src/bpf/link/tracing.ts';
import { attachUprobe } from '../../../src/bpf/link/uprobe.ts';
import { CLONE } from '../../../src/sys/constants.ts';
import { findMount } from '../../../src/sys/detached-mount.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { bpftool } from '../bpftool.ts';
import { openRuntime } from '../runtime.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
const spec = openRuntime(kernel);
const pid = process.pid;
/** Links to perf events tell what event since Linux 6.6. */
const tellsEvents = kernel.version >= 0x60600;

/** Loads the fixture for this process alone, runs `use`, lets go of everything. */
async function withFixture(use: (collection: Collection) => unknown, options: LoadOptions = {}, on = kernel): Promise<void> {
  const collection = loadCollection(on, spec, { variables: { wanted_pid: pid }, ...options });
  try {
    await use(collection);
  } finally {
    collection.close();
  }
}

const callGetpgid = (): number => kernel.sys.call('getpgid', 0);
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const shown = (link: BpfLink): Record<string, unknown> => bpftool('link', 'show', 'id', String(link.info()?.id)) as Record<string, unknown>;

t.test('tracepoint: fires, is what bpftool shows, stops when closed', async (t) => {
  await withFixture((collection) => {
    const program = collection.program('on_tracepoint');
    const link = attachProgram(program) as BpfLink;
    t.equal(link.kind, 'tracepoint');
    t.equal(link.target, 'syscalls/sys_enter_getpgid');
    for (let i = 0; i < 5; i++) callGetpgid();
    t.equal(collection.variable('seen').get(), 5n);
    t.match(collection.map('by_pid').typed.get(pid), { count: 5n, last: 3, comm: /^node/ });
    if (kernel.has('perf_link')) t.match(shown(link), { type: 'perf_event', prog_id: program.info().id });
    if (kernel.has('perf_link')) t.match(link.info(), { typeName: 'BPF_LINK_TYPE_PERF_EVENT', programId: program.info().id });
    if (tellsEvents) t.match(link.info(), { details: { tp_name: 'sys_enter_getpgid' } });
    link.close();
    link.close();
    callGetpgid();
    t.equal(collection.variable('seen').get(), 5n);
  });
});

t.test('tracepoint on a kernel without perf links', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [
    { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
  ]);
  const old = new Kernel({ sys: new Sys(faults, hostArch()) });
  await withFixture(
    (collection) => {
      const link = attachTracepoint(collection.program('on_tracepoint'), 'syscalls/sys_enter_getpgid');
      callGetpgid();
      t.equal(collection.variable('seen').get(), 1n);
      t.equal(link.info(), null);
      t.throws(() => link.pin('/sys/fs/bpf/x'), { code: 'E_LINK_PIN' });
      t.throws(() => link.update(collection.program('on_tracepoint')), { code: 'E_LINK_UPDATE' });
      link.detach();
      callGetpgid();
      t.equal(collection.variable('seen').get(), 1n);
      t.throws(() => attachTracepoint(collection.program('on_tracepoint'), 'syscalls/sys_enter_getpgid', { cookie: 1n }), {
        code: 'E_COOKIE',
      });
    },
    {},
    old,
  );
});

t.test('a tracepoint that is not there', async (t) => {
  t.throws(() => tracepointId(kernel, 'syscalls/sys_enter_getpid2'), { code: 'E_TRACEPOINT', next: /sys_enter_getp?p?g?id/ });
  t.throws(() => tracepointId(kernel, 'sched/sys_enter_getpgid'), {
    code: 'E_TRACEPOINT',
    next: 'did you mean syscalls/sys_enter_getpgid?',
  });
  t.throws(() => tracepointId(kernel, 'shed/sched_process_exec'), { code: 'E_TRACEPOINT', why: 'there is no category shed' });
  for (const bad of ['x', '../../etc/passwd', 'a/..', 'a/b/c', 'a/b\n', ''])
    t.throws(() => tracepointId(kernel, bad), { code: 'E_TRACEPOINT' }, bad);
  t.ok(listTracepoints(kernel).includes('sched/sched_process_exec'));
  const mounted = findMount('tracefs');
  if (mounted !== null) {
    t.equal(
      tracepointId(kernel, 'sched/sched_process_exec'),
      Number(readFileSync(`${mounted}/events/sched/sched_process_exec/id`, 'utf8')),
    );
  }
});

t.test('raw tracepoint and BTF tracepoint', async (t) => {
  await withFixture((collection) => {
    const count = (key: number): number => (collection.map('per_cpu').typed.get(key) as number[]).reduce((sum, one) => sum + one, 0);
    const raw = attachProgram(collection.program('on_raw_tracepoint')) as BpfLink;
    const btf = attachProgram(collection.program('on_tp_btf')) as BpfLink;
    for (let i = 0; i < 50; i++) callGetpgid();
    t.ok(count(0) >= 50, `${count(0)} system calls entered`);
    t.ok(count(1) >= 50, `${count(1)} left`);
    t.match(shown(raw), { type: 'raw_tracepoint', tp_name: 'sys_enter' });
    t.match(raw.info(), { details: { tp_name: 'sys_enter' } });
    t.match(shown(btf), { type: 'raw_tracepoint', tp_name: 'sys_exit' });
    raw.close();
    btf.close();
    const then = [count(0), count(1)];
    for (let i = 0; i < 50; i++) callGetpgid();
    t.same([count(0), count(1)], then);
    t.throws(() => attachRawTracepoint(collection.program('on_raw_tracepoint'), 'sched_process_exek'), {
      code: 'E_TRACEPOINT',
      next: /sched_process_exec/,
    });
  });
});

t.test('iterator: every task, again and again', async (t) => {
  await withFixture((collection) => {
    const link = attachProgram(collection.program('dump_task')) as IterLink;
    t.ok(link instanceof IterLink);
    const lines = new Set(link.text().trimEnd().split('\n'));
    for (const task of readdirSync('/proc/self/task')) t.ok(lines.has(`${pid} ${task}`), `thread ${task}`);
    t.ok(lines.has(`${process.ppid} ${process.ppid}`), 'the parent');
    t.ok(link.text().includes(`${pid} ${pid}\n`), 'a second run');
    t.match(shown(link), { type: 'iter', target_name: 'task' });
    link.close();
    // Iterators over the tasks of one process came with Linux 6.1.
    if (kernel.version < 0x60100) return;
    const one = attachIter(collection.program('dump_task'), 'task', { pid });
    t.ok(
      one
        .text()
        .trimEnd()
        .split('\n')
        .every((line) => line.startsWith(`${pid} `)),
      'the tasks of one process',
    );
    one.close();
  });
});

t.test('perf event on every CPU', async (t) => {
  await withFixture(async (collection) => {
    const link = attachPerfEvent(collection.program('on_sample'), 'PERF_COUNT_SW_CPU_CLOCK', { frequency: 500 });
    const until = Date.now() + 2000;
    while ((collection.variable('seen').get() as bigint) < 10n && Date.now() < until) {
      // Work, so that there is something to sample.
      for (let i = 0; i < 1e6; i++) Math.sqrt(i);
      await pause(1);
    }
    t.ok((collection.variable('seen').get() as bigint) >= 10n);
    link.close();
    const then = collection.variable('seen').get();
    await pause(50);
    t.equal(collection.variable('seen').get(), then);
  });
});

t.test('uprobe', async (t) => {
  await withFixture((collection) => {
    const program = collection.program('on_uprobe');
    const link = attachUprobe(program, 'libc.so.6:getppid', { pid });
    for (let i = 0; i < 7; i++) t.ok(process.ppid > 0);
    t.equal(collection.variable('seen').get(), 7n);
    if (kernel.has('perf_link')) t.match(shown(link), { type: 'perf_event' });
    if (tellsEvents) t.match(link.info()?.details['file_name'], /libc\.so\.6$/);
    link.close();
    t.ok(process.ppid > 0);
    t.equal(collection.variable('seen').get(), 7n);
    const ret = attachUprobe(program, 'libc.so.6:getppid', { pid, ret: true });
    t.ok(process.ppid > 0);
    t.equal(collection.variable('seen').get(), 8n);
    ret.close();
    t.throws(() => attachUprobe(program, 'libc.so.6:getpppid'), { code: 'E_SYMBOL', next: /getppid/ });
    t.throws(() => attachUprobe(program, '/no/such/file:x'), { code: 'E_BINARY' });
    t.throws(() => attachUprobe(program, 'x'), { code: 'E_UPROBE_TARGET' });
    t.equal(attachProgram(program), null, 'a bare section names no target');
  });
});

/** Everything below is in a network namespace of its own, where nobody else's packets pass. */
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;

function loopbackUp(): void {
  const { sys } = kernel;
  const socket = sys.call('socket', 2, 2, 0);
  const request = new Uint8Array(40);
  request.set(Buffer.from('lo'));
  new DataView(request.buffer).setUint16(16, IFF_UP, true);
  sys.call('ioctl', socket, SIOCSIFFLAGS, request);
  sys.call('close', socket);
}

async function sendPackets(count: number): Promise<void> {
  const receiver = createSocket('udp4');
  await new Promise<void>((resolve) => receiver.bind(0, '127.0.0.1', resolve));
  const sender = createSocket('udp4');
  const received = new Promise<void>((resolve) => {
    let got = 0;
    receiver.on('message', () => {
      if (++got === count) resolve();
    });
  });
  for (let i = 0; i < count; i++) sender.send('x', receiver.address().port, '127.0.0.1');
  await received;
  sender.close();
  receiver.close();
}

t.test('network hooks', async (t) => {
  t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
  loopbackUp();
  t.equal(deviceIndex(kernel.sys, 'lo'), 1);
  t.throws(() => deviceIndex(kernel.sys, 'l0'), { code: 'E_DEVICE', next: 'did you mean lo?' });
  const rows: readonly [program: string, shows: Record<string, unknown>, attach: (collection: Collection) => BpfLink][] = [
    ['on_xdp', { type: 'xdp' }, (c) => attachXdp(c.program('on_xdp'), 'lo', { mode: 'generic' })],
    ['on_tcx', {}, (c) => attachTcx(c.program('on_tcx'), 'lo')],
    ['on_lookup', { type: 'netns', attach_type: 'sk_lookup' }, (c) => attachNetns(c.program('on_lookup'))],
    ['on_netfilter', {}, (c) => attachNetfilter(c.program('on_netfilter'), { family: 'ipv4', hook: 'input' })],
  ];
  for (const [name, shows, attach] of rows) {
    // Links of netfilter came with 6.4, of tcx with 6.6.
    if (
      (name === 'on_netfilter' && !spec.programs.some((program) => program.name === name)) ||
      (name === 'on_tcx' && kernel.version < 0x60600)
    ) {
      t.comment(`${name}: this kernel has no such links`);
      continue;
    }
    await withFixture(async (collection) => {
      const link = attach(collection);
      await sendPackets(4);
      t.ok((collection.variable('seen').get() as bigint) >= 4n, `${name} fired`);
      t.match(link.info(), { programId: collection.program(name).info().id }, name);
      if (Object.keys(shows).length > 0) t.match(shown(link), shows, name);
      const again = openLinkById(kernel, link.info()?.id as number);
      t.equal(again?.kind, link.kind, name);
      again?.close();
      link.close();
      const then = collection.variable('seen').get();
      await sendPackets(2);
      t.equal(collection.variable('seen').get(), then, `${name} stopped`);
    });
  }
});

t.test('a busy XDP slot', async (t) => {
  await withFixture((collection) => {
    const first = attachXdp(collection.program('on_xdp'), 'lo', { mode: 'generic' });
    throwsErrno(t, () => attachXdp(collection.program('on_xdp'), 'lo', { mode: 'generic' }), 'EBUSY');
    first.close();
  });
});

t.test('update puts another program in place; detach ends a pinned link too', async (t) => {
  await withFixture(async (collection) => {
    await withFixture(async (other) => {
      const link = attachXdp(collection.program('on_xdp'), 'lo', { mode: 'generic' });
      link.update(other.program('on_xdp'));
      await sendPackets(3);
      t.equal(collection.variable('seen').get(), 0n);
      t.ok((other.variable('seen').get() as bigint) >= 3n);
      link.detach();
      t.equal(link.closed, true);
    });
  });
});

t.test('cgroup', { skip: findMount('cgroup2') === null ? 'cgroup2 is not mounted' : false }, async (t) => {
  const root = findMount('cgroup2') as string;
  const cgroup = `${root}/rawbpf-test-${pid}`;
  const home = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
  mkdirSync(cgroup);
  writeFileSync(`${cgroup}/cgroup.procs`, String(pid));
  try {
    await withFixture(async (collection) => {
      const link = attachCgroup(collection.program('on_egress'), cgroup);
      await sendPackets(3);
      t.ok((collection.variable('seen').get() as bigint) >= 3n);
      t.match(shown(link), { type: 'cgroup', attach_type: 'cgroup_inet_egress' });
      t.throws(() => attachCgroup(collection.program('on_egress'), `${root}/nothing-here`), /cannot open the cgroup/);
      link.close();
    });
  } finally {
    writeFileSync(`${root}${home}/cgroup.procs`, String(pid));
    rmdirSync(cgroup);
  }
});
