import t from 'tap';
import { spawnSync } from 'node:child_process';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../src/bpf/link/attach.ts';
import { matchesGlob } from '../../src/bpf/link/glob.ts';
import type { BpfLink } from '../../src/bpf/link/link.ts';
import { attachSockmap } from '../../src/bpf/link/net.ts';
import { RTM, RtNetlink } from '../../src/bpf/link/rtnetlink.ts';
import { attachTc } from '../../src/bpf/link/tc.ts';
import { tcmsg } from '../../src/bpf/link/tc-filter.ts';
import { attachUprobeMulti } from '../../src/bpf/link/uprobe-multi.ts';
import { openBtf } from '../../src/bpf/map/open.ts';
import { openObject } from '../../src/bpf/object/open.ts';
import { functionOfProgram } from '../../src/bpf/program/attach-target.ts';
import { CLONE } from '../../src/sys/constants.ts';
import { createBackend, hostArch } from '../../src/sys/default-sys.ts';
import { FaultInjector } from '../../src/sys/fault-injector.ts';
import { Sys } from '../../src/sys/sys.ts';
import { throwsErrno } from '../bpf/throws-errno.ts';
import { fixture } from '../fixture.ts';

const kernel = new Kernel();
const variables = { wanted_pid: process.pid };
const probes = openObject(fixture('attach/probes.bpf.o'), { name: 'probes' });
const tracing = openObject(fixture('attach/tracing.bpf.o'), { name: 'tracing' });
const net = openObject(fixture('attach/net.bpf.o'), { name: 'net' });

t.test('patterns', async (t) => {
  const rows: readonly [pattern: string, name: string, fits: boolean][] = [
    ['tcp_*', 'tcp_sendmsg', true],
    ['tcp_*', 'tcp_', true],
    ['tcp_*', '__tcp_x', false],
    ['*', '', true],
    ['?', '', false],
    ['*_sys_get?id', '__x64_sys_getpid', true],
    ['*_sys_get?id', '__x64_sys_getppid', false],
    ['a*b*c', 'axxbxxbc', true],
    ['a*b*c', 'axxbxxb', false],
    ['a.c', 'abc', false],
  ];
  for (const [pattern, name, fits] of rows) t.equal(matchesGlob(pattern, name), fits, `${pattern} and ${name}`);
  t.equal(matchesGlob(`${'*a'.repeat(200)}*b`, 'a'.repeat(20_000)), false, 'in time, however many stars');
});

t.test(
  'uprobe.multi and its return, by pattern',
  { skip: kernel.has('uprobe_multi') ? false : 'this kernel has no such links' },
  async (t) => {
    for (const [name, pattern] of [
      ['on_uprobe_multi', 'libc.so.6:getppi*'],
      ['on_uretprobe_multi', 'libc.so.6:getppi?'],
      ['on_uprobe_multi', 'libc.so.6:getppid'],
    ] as const) {
      const collection = loadCollection(kernel, probes, { programs: [name], variables });
      const link = attachProgram(collection.program(name), { target: pattern }) as BpfLink;
      t.equal(link.kind, 'uprobe_multi');
      for (let i = 0; i < 3; i++) t.ok(process.ppid > 0);
      t.equal(collection.variable('fired').get(), 3n, `${name} at ${pattern}`);
      link.close();
      t.ok(process.ppid > 0);
      t.equal(collection.variable('fired').get(), 3n);
      t.throws(() => attachUprobeMulti(collection.program(name), 'libc.so.6:no_such_*'), { code: 'E_SYMBOL' });
      t.throws(() => attachUprobeMulti(collection.program(name), 'nonsense'), { code: 'E_UPROBE_TARGET' });
      collection.close();
    }
  },
);

t.test('a socket map on a kernel without links for it', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [
    { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
  ]);
  const old = new Kernel({ sys: new Sys(faults, hostArch()) });
  const collection = loadCollection(old, net, { programs: ['on_stream_verdict', 'on_sk_msg'], variables });
  const map = collection.map('sockets');
  for (const name of ['on_stream_verdict', 'on_sk_msg']) {
    const link = attachSockmap(collection.program(name), map);
    t.equal(link.info(), null);
    t.throws(() => link.pin('/sys/fs/bpf/x'), { code: 'E_LINK_PIN' });
    t.throws(() => link.update(collection.program(name)), { code: 'E_LINK_UPDATE' });
    link.close();
    link.close();
    // What is detached cannot be detached again: it had been attached.
    const again = attachSockmap(collection.program(name), map);
    again.detach();
    t.equal(again.closed, true);
  }
  collection.close();
});

t.test('the function that a program replaces', async (t) => {
  const target = loadCollection(kernel, tracing, { programs: ['replace_here'], variables });
  const program = target.program('replace_here');
  const id = functionOfProgram(program, 'replaced');
  t.equal(tracing.btf?.nameOf(id), 'replaced');
  t.throws(() => functionOfProgram(program, 'replacet'), { code: 'E_ATTACH_TARGET', next: 'did you mean replaced?' });
  target.close();
});

t.test('BTF by id on a kernel before 5.11, which refuses to name it', async (t) => {
  let asked = 0;
  const faults = new FaultInjector(createBackend(), hostArch(), [
    { when: ({ command }) => command === 'BPF_OBJ_GET_INFO_BY_FD' && ++asked === 1, errno: 'E2BIG' },
  ]);
  const old = new Kernel({ sys: new Sys(faults, hostArch()) });
  const target = loadCollection(kernel, tracing, { programs: ['replace_here'], variables });
  const btf = openBtf(old, target.program('replace_here').info().btfId);
  t.ok(asked >= 2);
  t.type(btf?.findByName('replaced', 'FUNC'), 'number');
  target.close();
});

t.test('traffic control through clsact', async (t) => {
  t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
  const qdiscs = (): string => spawnSync('tc', ['qdisc', 'show', 'dev', 'lo'], { encoding: 'utf8' }).stdout;
  const filters = (direction: string): string => spawnSync('tc', ['filter', 'show', 'dev', 'lo', direction], { encoding: 'utf8' }).stdout;
  const hasTc = spawnSync('tc', ['-V']).status === 0;
  const collection = loadCollection(kernel, net, { programs: ['on_tc', 'on_classifier'], variables });
  const ingress = attachTc(collection.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact', priority: 7 });
  const egress = attachTc(collection.program('on_classifier'), 'lo', { direction: 'egress', via: 'clsact' });
  t.equal(ingress.info(), null);
  t.throws(() => ingress.pin('/sys/fs/bpf/x'), { code: 'E_LINK_PIN' });
  if (hasTc) {
    t.match(qdiscs(), /clsact/);
    t.match(filters('ingress'), /pref 7 bpf .*on_tc\[rawbpf_\w+\] direct-action/);
    t.match(filters('egress'), /on_classifier\[rawbpf_\w+\] direct-action/);
  }
  ingress.close();
  ingress.close();
  if (hasTc) {
    t.notMatch(filters('ingress'), /on_tc/);
    t.match(filters('egress'), /on_classifier/, 'the other stays, and so does the discipline, though the first one made it');
  }
  egress.close();
  // The discipline stays with the one that made it, which closed while there was another filter.
  const again = attachTc(collection.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact' });
  again.close();
  t.throws(() => attachTc(collection.program('on_tc'), 4711, { direction: 'ingress', via: 'clsact' }), { code: 'E_DEVICE' });
  collection.close();
});

t.test('a clsact made for a filter goes with it', async (t) => {
  t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
  const collection = loadCollection(kernel, net, { programs: ['on_tc'], variables });
  attachTc(collection.program('on_tc'), 'lo', { direction: 'egress', via: 'clsact' }).close();
  const shown = spawnSync('tc', ['qdisc', 'show', 'dev', 'lo'], { encoding: 'utf8' });
  if (shown.status === 0) t.notMatch(shown.stdout, /clsact/);
  const netlink = new RtNetlink(kernel.sys);
  // Deleting what is not there: EINVAL or ENOENT by kernel version.
  t.ok(netlink.request(RTM.DELQDISC, 0, tcmsg.encode({ tcm_ifindex: 1, tcm_handle: 0xffff0000, tcm_parent: 0xfffffff1 })).result < 0);
  netlink.close();
  collection.close();
});

t.test('traffic control on a kernel without tcx', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [
    { when: ({ command }) => command === 'BPF_LINK_CREATE', errno: 'EINVAL' },
  ]);
  const old = new Kernel({ sys: new Sys(faults, hostArch()) });
  const collection = loadCollection(old, net, { programs: ['on_tc'], variables });
  const link = attachTc(collection.program('on_tc'), 'lo', { direction: 'ingress' });
  t.equal(link.kind, 'tc');
  link.close();
  throwsErrno(t, () => attachTc(collection.program('on_tc'), 'lo', { direction: 'ingress', via: 'tcx' }), 'EINVAL');
  collection.close();
});
