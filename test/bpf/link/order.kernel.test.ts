import t from 'tap';
import { makeNetkit } from '../../support/netkit.ts';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import type { BpfLink, KernelLink } from '../../../src/bpf/link/link.ts';
import { attachNetkit, attachTcx } from '../../../src/bpf/link/net.ts';
import { attachPerfEvent } from '../../../src/bpf/link/perf-event.ts';
import { queryAttached, type QueryTarget } from '../../../src/bpf/link/query.ts';
import { attachSocket } from '../../../src/bpf/link/socket.ts';
import { attachTc } from '../../../src/bpf/link/tc.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import type { BpfProgram } from '../../../src/bpf/program/program.ts';
import type { BPF_ATTACH_TYPE } from '../../../src/bpf/uapi/attach-type.gen.ts';
import { CLONE } from '../../../src/sys/constants.ts';
import { findMount } from '../../../src/sys/detached-mount.ts';
import { SyscallError } from '../../../src/sys/errno.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { fixture } from '../../fixture.ts';
import { throwsErrno } from '../throws-errno.ts';

const kernel = new Kernel();
const variables = { wanted_pid: process.pid };
const load = (name: string, programs: string[], on = kernel) =>
  loadCollection(on, openObject(fixture(`attach/${name}.bpf.o`), { name }), { programs, variables });
t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
const root = findMount('cgroup2');

interface Place {
  readonly target: QueryTarget;
  readonly type: keyof typeof BPF_ATTACH_TYPE;
  readonly attach: (program: BpfProgram, options?: Parameters<typeof attachTcx>[2]) => BpfLink;
}

/** Puts three links in an order, one at an expected revision, and asks the kernel. */
function ordered(
  t: Parameters<typeof throwsErrno>[0],
  { target, type, attach }: Place,
  [a, b, c]: readonly [BpfProgram, BpfProgram, BpfProgram],
): void {
  const ids = () => queryAttached(kernel, target, type).programs.map(({ id }) => id);
  const id = (program: BpfProgram) => program.info().id;
  const first = attach(a) as KernelLink;
  const second = attach(b, { before: first });
  t.same(ids(), [id(b), id(a)], 'before a link');
  const { revision } = queryAttached(kernel, target, type);
  if (type.startsWith('BPF_CGROUP')) t.throws(() => attach(c, { after: b }), { code: 'E_ORDER', next: /give the link/ });
  const third = attach(c, { after: type.startsWith('BPF_CGROUP') ? (second as KernelLink) : b, expectedRevision: revision });
  t.same(ids(), [id(b), id(c), id(a)], 'after a program, at the expected revision');
  third.close();
  throwsErrno(t, () => attach(c, { expectedRevision: revision }), 'ESTALE');
  const front = attach(c, { before: 'all' });
  t.same(ids(), [id(c), id(b), id(a)], 'before all');
  const links = queryAttached(kernel, target, type).programs.map(({ linkId }) => linkId);
  if (links.some((link) => link !== 0))
    t.same(
      links,
      [front, second, first].map((link) => link.info()?.id),
    );
  t.throws(() => attach(c, { before: first, after: second as KernelLink }), { code: 'E_ORDER' });
  t.throws(() => attach(c, { before: 'all', after: 'all' }), SyscallError, 'before and after all is alone');
  for (const link of [first, second, front]) link.close();
  t.same(ids(), []);
}

const hasTcx = kernel.version >= 0x60600 ? false : 'tcx came with Linux 6.6';

t.test('tcx: order and revision', { skip: hasTcx }, async (t) => {
  const net = load('net', ['on_tcx_ingress', 'on_tc', 'on_classifier']);
  const place: Place = {
    target: { device: 'lo' },
    type: 'BPF_TCX_INGRESS',
    attach: (program, options) => attachTcx(program, 'lo', { direction: 'ingress', ...options }),
  };
  ordered(t, place, [net.program('on_tcx_ingress'), net.program('on_tc'), net.program('on_classifier')]);
  net.close();
});

// Not nk0: that is what the kernel calls the other end.
const netkit = makeNetkit(kernel.sys, 'rawkit');
const noNetkit = `this kernel makes no netkit devices (Linux 6.7, CONFIG_NETKIT): errno ${netkit}`;

t.test('netkit: order and revision', { skip: netkit === 0 ? false : noNetkit }, async (t) => {
  const net = load('net', ['on_netkit_primary']);
  const more = load('net', ['on_netkit_primary']);
  const third = load('net', ['on_netkit_primary']);
  const place: Place = {
    target: { device: 'rawkit' },
    type: 'BPF_NETKIT_PRIMARY',
    attach: (program, options) => attachNetkit(program, 'rawkit', options),
  };
  ordered(t, place, [net.program('on_netkit_primary'), more.program('on_netkit_primary'), third.program('on_netkit_primary')]);
  for (const collection of [net, more, third]) collection.close();
});

function takesOrder(program: BpfProgram, cgroup: string): boolean {
  try {
    attachCgroup(program, cgroup, { before: 'all' }).close();
    return true;
  } catch {
    return false;
  }
}

t.test('cgroup: order and revision, and the older way', { skip: root === null && 'no cgroup2' }, async (t) => {
  const cgroup = `${root}/rawbpf-order-${process.pid}`;
  mkdirSync(cgroup);
  const three = [1, 2, 3].map(() => load('cgroup', ['on_sock_create']));
  const [a, b, c] = three.map((each) => each.program('on_sock_create')) as [BpfProgram, BpfProgram, BpfProgram];
  const type = 'BPF_CGROUP_INET_SOCK_CREATE';
  try {
    // Linux 6.16 brought it; kernels kept for long have it, too (Debian's 6.12.117).
    if (takesOrder(a, cgroup) || kernel.version >= 0x61000)
      ordered(t, { target: { cgroup }, type, attach: (program, options) => attachCgroup(program, cgroup, options) }, [a, b, c]);
    else t.throws(() => attachCgroup(a, cgroup, { before: 'all' }), SyscallError, 'no order before Linux 6.16');
    t.throws(() => attachCgroup(a, `${cgroup}/none`), { code: 'E_SYSCALL', where: { path: `${cgroup}/none` } });

    // A kernel without cgroup links (before 5.7).
    const faults = new FaultInjector(createBackend(), hostArch(), [
      { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
    ]);
    const old = load('cgroup', ['on_sock_create'], new Kernel({ sys: new Sys(faults, hostArch()) }));
    const link = attachCgroup(old.program('on_sock_create'), cgroup);
    t.equal(link.info(), null);
    t.equal(queryAttached(kernel, { cgroup }, type).programs.length, 1);
    throwsErrno(t, () => attachCgroup(old.program('on_sock_create'), cgroup, { via: 'link' }), 'EINVAL');
    throwsErrno(t, () => attachCgroup(old.program('on_sock_create'), cgroup, { before: 'all' }), 'EINVAL');
    link.close();
    t.equal(queryAttached(kernel, { cgroup }, type).programs.length, 0);
    old.close();
  } finally {
    for (const each of three) each.close();
    rmdirSync(cgroup);
  }
});

t.test('actions of traffic control', async (t) => {
  const net = load('net', ['on_action']);
  try {
    const link = attachTc(net.program('on_action'), 'lo', { direction: 'ingress' });
    t.equal(link.kind, 'tc');
    link.close();
  } catch (error) {
    // A kernel without cls_matchall or act_bpf.
    t.ok(error instanceof SyscallError && error.errnoName === 'ENOENT', String(error));
    t.match((error as Error).message, /no filters of kind matchall/);
  }
  net.close();
});

t.test('programs on sockets', async (t) => {
  const net = load('net', ['on_socket', 'on_reuseport']);
  const fd = kernel.sys.call('socket', 2, 2, 0);
  const link = attachSocket(net.program('on_socket'), fd);
  t.equal(link.info(), null);
  t.throws(() => link.pin('/x'), { code: 'E_LINK_PIN' });
  link.close();
  throwsErrno(t, () => attachSocket(net.program('on_reuseport'), fd), 'EINVAL');
  kernel.sys.call('close', fd);
  throwsErrno(t, () => attachSocket(net.program('on_socket'), fd), 'EBADF');
  net.close();
});

const online = '/sys/devices/system/cpu/cpu1/online';

function setOnline(value: string): boolean {
  try {
    writeFileSync(online, value);
    return readFileSync(online, 'latin1').trim() === value;
  } catch {
    return false;
  }
}

t.test('perf events follow CPUs that come and go', async (t) => {
  const probes = load('probes', ['on_perf_event']);
  const links = attachPerfEvent(probes.program('on_perf_event'), 'PERF_COUNT_SW_CPU_CLOCK', { frequency: 200 });
  t.same(links.cpus, kernel.onlineCpus);
  // A machine of one's own only: this takes a CPU away from everybody.
  if (process.env['VM_RUN'] === undefined || !setOnline('0')) {
    t.comment('no CPU can be taken away here');
  } else {
    links.refresh();
    t.same(links.cpus, [0]);
    t.equal(setOnline('1'), true);
    links.refresh();
    t.same(links.cpus, [0, 1]);
    const before = probes.variable('fired').get() as bigint;
    const busy = spawn('taskset', ['-c', '1', 'sh', '-c', 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done']);
    await once(busy, 'close');
    t.ok((probes.variable('fired').get() as bigint) > before);
  }
  links.close();
  t.equal(links.closed, true);
  probes.close();
});
