import t from 'tap';
import { loadCollection } from '../../src/bpf/collection/load.ts';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { attachProgram } from '../../src/bpf/link/attach.ts';
import { matchesGlob } from '../../src/bpf/link/glob.ts';
import type { BpfLink } from '../../src/bpf/link/link.ts';
import { attachSockmap } from '../../src/bpf/link/net.ts';
import { attachUprobeMulti } from '../../src/bpf/link/uprobe-multi.ts';
import { openObject } from '../../src/bpf/object/open.ts';
import { functionOfProgram } from '../../src/bpf/program/attach-target.ts';
import { createBackend, hostArch } from '../../src/sys/default-sys.ts';
import { FaultInjector } from '../../src/sys/fault-injector.ts';
import { Sys } from '../../src/sys/sys.ts';
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
