import t from 'tap';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { attachCgroup } from '../../../src/bpf/link/cgroup.ts';
import { queryAttached } from '../../../src/bpf/link/query.ts';
import { RtNetlink } from '../../../src/bpf/link/rtnetlink.ts';
import { attachTc } from '../../../src/bpf/link/tc.ts';
import { clsactDevices } from '../../../src/bpf/link/tc-filter.ts';
import { attachUprobe } from '../../../src/bpf/link/uprobe.ts';
import { attachXdp, xdpProgramId } from '../../../src/bpf/link/xdp.ts';
import { listUnlinked, sweepUnlinked, type Unlinked } from '../../../src/bpf/link/unlinked/list.ts';
import { isAlive, ownerText, parseOwner, thisOwner } from '../../../src/bpf/link/unlinked/owner.ts';
import { readRecords } from '../../../src/bpf/link/unlinked/record.ts';
import { openObject } from '../../../src/bpf/object/open.ts';
import { CLONE } from '../../../src/sys/constants.ts';
import { findMount } from '../../../src/sys/detached-mount.ts';
import { fixture } from '../../fixture.ts';

const kernel = new Kernel();
const state = mkdtempSync(path.join(tmpdir(), 'rawbpf-state-'));
process.env['RAWBPF_STATE_DIR'] = state;
t.teardown(() => rmSync(state, { recursive: true, force: true }));
t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
const root = findMount('cgroup2');
const variables = { wanted_pid: process.pid };
const load = (name: string, programs: string[]) =>
  loadCollection(kernel, openObject(fixture(`attach/${name}.bpf.o`), { name }), { programs, variables });
const of = (pid: number | undefined) => listUnlinked(kernel).filter(({ owner }) => owner.pid === pid);
const kinds = (list: readonly Unlinked[]) => list.map(({ kind, target }) => `${kind} ${target}`).toSorted();
const withNetlink = <T>(use: (netlink: RtNetlink) => T): T => {
  const netlink = new RtNetlink(kernel.sys);
  try {
    return use(netlink);
  } finally {
    netlink.close();
  }
};
const cgroup = `${root}/rawbpf-unlinked-${process.pid}`;

t.test('owners', async (t) => {
  const own = thisOwner();
  t.same(parseOwner(ownerText(own)), own);
  t.equal(isAlive(own), true);
  t.equal(isAlive({ ...own, startTime: '1' }), false, 'another process of the same number');
  t.equal(isAlive({ ...own, boot: 'ffffffff' }), false, 'before the last boot');
  t.equal(isAlive({ ...own, pidNamespace: 1 }), null, 'of another namespace');
  for (const text of ['', 'rawbpf', 'rawbpf_1_2_3', 'rawbpf_x_2_aaaaaaaa_4']) t.equal(parseOwner(text), null);
});

t.test('what is attached without a link is listed, and goes when it is closed', { skip: root === null && 'no cgroup2' }, async (t) => {
  mkdirSync(cgroup);
  const net = load('net', ['on_tc', 'on_xdp']);
  const probes = load('probes', ['on_uprobe']);
  const groups = load('cgroup', ['on_sock_create']);
  const links = [
    attachTc(net.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact' }),
    attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic', via: 'netlink' }),
    attachCgroup(groups.program('on_sock_create'), cgroup, { via: 'attach' }),
    attachUprobe(probes.program('on_uprobe'), 'libc.so.6:getppid', { via: 'tracefs' }),
  ];
  t.match(kinds(of(process.pid)), [`cgroup ${cgroup} BPF_CGROUP_INET_SOCK_CREATE`, /^probe .*libc\.so\.6:0x/, 'tc lo ingress', 'xdp lo']);
  t.ok(of(process.pid).every(({ alive }) => alive === true));
  t.match(
    of(process.pid).find(({ kind }) => kind === 'tc'),
    { programName: 'on_tc', programId: net.program('on_tc').info().id },
  );
  t.same(
    sweepUnlinked(kernel).filter(({ owner }) => owner.pid === process.pid),
    [],
    'the living are not swept',
  );
  // The probe fires; the XDP program and the cgroup's are where the kernel says.
  t.ok(process.ppid > 0);
  t.equal(probes.variable('fired').get(), 1n);
  t.equal(
    withNetlink((netlink) => xdpProgramId(netlink, 1)),
    net.program('on_xdp').info().id,
  );
  const inGroup = () => queryAttached(kernel, { cgroup }, 'BPF_CGROUP_INET_SOCK_CREATE').programs.map(({ id }) => id);
  t.same(inGroup(), [groups.program('on_sock_create').info().id]);
  for (const link of links) {
    // A probe in tracefs has a link to its perf event, and only the probe itself is ours to take away.
    if (link.kind !== 'uprobe') {
      t.equal(link.info(), null);
      t.throws(() => link.pin('/sys/fs/bpf/x'), { code: 'E_LINK_PIN' }, link.kind);
      t.throws(() => link.update(net.program('on_tc')), { code: 'E_LINK_UPDATE' });
    }
    link.close();
    link.close();
  }
  t.same(of(process.pid), []);
  t.same(inGroup(), []);
  t.equal(
    withNetlink((netlink) => xdpProgramId(netlink, 1)),
    0,
  );
  t.ok(process.ppid > 0);
  t.equal(probes.variable('fired').get(), 1n);
  t.same(withNetlink(clsactDevices), [], 'the discipline is gone, too');
  t.same(readdirSync(state), []);
  for (const collection of [net, probes, groups]) collection.close();
});

t.test('a clsact goes with the last filter of ours, whoever made it', async (t) => {
  const net = load('net', ['on_tc']);
  const attach = () => attachTc(net.program('on_tc'), 'lo', { direction: 'ingress', via: 'clsact' });
  const [first, second] = [attach(), attach()];
  first.close();
  t.same(withNetlink(clsactDevices), [1]);
  second.close();
  t.same(withNetlink(clsactDevices), []);
  net.close();
});

/** A child that has attached and waits to be killed; it is in our network namespace. */
async function holder(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [fileURLToPath(new URL('unlinked-child.js', import.meta.url)), cgroup], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  for await (const text of child.stdout.setEncoding('utf8')) if (String(text).includes('up 5')) break;
  return child;
}

t.test('a killed owner: everything it left is listed as dead, and swept', { skip: root === null && 'no cgroup2' }, async (t) => {
  const child = await holder();
  const left = of(child.pid);
  t.equal(left.length, 5);
  t.ok(left.every(({ alive }) => alive === true));
  child.kill('SIGKILL');
  await once(child, 'close');
  // Probes are everybody's: another rawbpf that starts now may take this one away before us.
  const apart = (list: readonly Unlinked[]) => kinds(list.filter(({ kind }) => kind !== 'probe'));
  const dead = of(child.pid);
  t.same(apart(dead), apart(left), 'nothing went by itself');
  t.ok(dead.every(({ alive }) => alive === false));
  const inGroup = () => queryAttached(kernel, { cgroup }, 'BPF_CGROUP_INET_SOCK_CREATE').programs.length;
  t.equal(inGroup(), 1);

  // What the command shows, and what its sweep does.
  const cli = fileURLToPath(new URL('../../../src/cli/rawbpf.js', import.meta.url));
  const shown = spawnSync(process.execPath, [cli, 'links'], { encoding: 'utf8' });
  t.equal(shown.status, 0, shown.stderr);
  t.match(shown.stdout, new RegExp(`tc +lo ingress +\\d+ +on_tc +${child.pid} +dead`));
  const swept = spawnSync(process.execPath, [cli, 'links', '--sweep', '-o', 'json'], { encoding: 'utf8' });
  const told = JSON.parse(swept.stdout) as { swept: Unlinked[]; unlinked: Unlinked[]; links: { programName: string }[] };
  t.same(apart(told.swept.filter(({ owner }) => owner.pid === child.pid)), apart(left));
  t.match(swept.stderr, new RegExp(`took away xdp lo of process ${child.pid}, which is dead`));

  t.same(of(child.pid), []);
  t.equal(inGroup(), 0);
  t.equal(
    withNetlink((netlink) => xdpProgramId(netlink, 1)),
    0,
  );
  t.same(withNetlink(clsactDevices), []);
  t.same(readdirSync(state), []);
});

t.test('an XDP program in a network namespace that we are not in', { skip: root === null && 'no cgroup2' }, async (t) => {
  const child = await holder();
  child.kill('SIGKILL');
  await once(child, 'close');
  // Somebody keeps the namespace alive.
  const keeper = spawn('/bin/sleep', ['60'], { stdio: 'ignore' });
  await once(keeper, 'spawn');
  t.equal(kernel.sys.call('unshare', CLONE.CLONE_NEWNET), 0);
  const swept = sweepUnlinked(kernel).filter(({ owner }) => owner.pid === child.pid);
  t.same(swept.map(({ kind }) => kind).toSorted(), ['cgroup', 'probe', 'xdp'], 'its filters are found by who is in it');
  const there = spawnSync('nsenter', ['-t', String(keeper.pid), '-n', 'ip', 'link', 'show', 'lo'], { encoding: 'utf8' });
  if (there.status === 0) t.notMatch(there.stdout, /xdp/);
  keeper.kill();
  await once(keeper, 'close');
  t.same(of(child.pid), []);
});

t.test('records that are none of ours, and of another program', async (t) => {
  const dead = ownerText({ ...thisOwner(), startTime: '1' });
  const record = { kind: 'cgroup', target: cgroup, programId: 1, programName: 'x', attachType: 2, netNamespace: 0, ifindex: 0 };
  writeFileSync(`${state}/${dead}.0.json`, JSON.stringify(record));
  writeFileSync(`${state}/${dead}.1.json`, '{');
  writeFileSync(`${state}/${dead}.2.json`, JSON.stringify({ ...record, kind: '__proto__' }));
  writeFileSync(`${state}/other.json`, JSON.stringify(record));
  writeFileSync(`${state}/${dead}.3.json.new`, JSON.stringify(record));
  t.same(
    readRecords().map(({ record: each }) => each),
    [record],
  );
  const groups = load('cgroup', ['on_sock_create']);
  const link = attachCgroup(groups.program('on_sock_create'), cgroup, { via: 'attach' });
  sweepUnlinked(kernel);
  t.equal(queryAttached(kernel, { cgroup }, 'BPF_CGROUP_INET_SOCK_CREATE').programs.length, 1, 'another program stays');
  link.close();
  groups.close();
  t.equal(readRecords().length, 0);
});

t.test('a program that is closed before its attachment is detached all the same', { skip: root === null && 'no cgroup2' }, async (t) => {
  const net = load('net', ['on_xdp']);
  const groups = load('cgroup', ['on_sock_create']);
  const links = [
    attachXdp(net.program('on_xdp'), 'lo', { mode: 'generic', via: 'netlink' }),
    attachCgroup(groups.program('on_sock_create'), cgroup, { via: 'attach' }),
  ];
  net.close();
  groups.close();
  for (const link of links) link.close();
  t.equal(
    withNetlink((netlink) => xdpProgramId(netlink, 1)),
    0,
  );
  t.equal(queryAttached(kernel, { cgroup }, 'BPF_CGROUP_INET_SOCK_CREATE').programs.length, 0);
  t.equal(readRecords().length, 0);
});

t.test('a path that would be another command is not written to tracefs', async (t) => {
  const probes = load('probes', ['on_uprobe']);
  for (const [name, code] of [
    ['a\n-:nothing', 'E_UPROBE_TARGET'],
    ['a b', 'E_PROBE_PLACE'],
  ] as const) {
    const file = path.join(state, name);
    copyFileSync('/bin/true', file);
    t.throws(() => attachUprobe(probes.program('on_uprobe'), `${file}:0x10`, { via: 'tracefs' }), { code });
    rmSync(file);
  }
  probes.close();
});

t.test('end', async (t) => {
  if (root !== null) rmdirSync(cgroup);
  t.end();
});
