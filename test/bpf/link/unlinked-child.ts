// Attaches in each way that outlives its process, says so, and waits to be killed: CGROUP on the command line.
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import { attachTc } from '../../../src/bpf/link/tc.ts';
import { attachUprobe } from '../../../src/bpf/link/uprobe.ts';
import { attachXdp } from '../../../src/bpf/link/xdp.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { fixture } from '../../fixture.ts';

const kernel = new Kernel();
const load = (name: string, programs: string[]) =>
  loadCollection(kernel, openObject(fixture(`attach/${name}.bpf.o`), { name }), { programs, variables: { wanted_pid: process.pid } });
const net = load('net', ['on_tc', 'on_xdp']);
const probes = load('probes', ['on_uprobe']);
const cgroup = load('cgroup', ['on_sock_create']);
const links = [
  attachTc(net.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact' }),
  attachTc(net.program('on_tc'), 'lo', { direction: 'egress', via: 'clsact' }),
  attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic', via: 'netlink' }),
  attachCgroup(cgroup.program('on_sock_create'), process.argv[2] as string, { via: 'attach' }),
  attachUprobe(probes.program('on_uprobe'), 'libc.so.6:getppid', { via: 'tracefs' }),
];
process.stdout.write(`up ${links.length}\n`);
setInterval(() => {}, 1000);
