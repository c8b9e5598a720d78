// Loads, attaches and fires one program for each section name and tells what came of it, as JSON on stdout:
//   node scripts/attach/measure.mjs [PART]     PART[,PART]: only section names with one of these in them
// Needs root. What it makes (a network namespace of this thread, a cgroup) is gone when it ends.
import { readFileSync, writeFileSync, mkdirSync, rmdirSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import os from 'node:os';
import { fileURLToPath } from 'node:url';
import {
  attachCgroup,
  attachLirc,
  attachNetfilter,
  attachNetkit,
  attachNetns,
  attachPerfEvent,
  attachProgram,
  attachSocket,
  attachSockmap,
  attachTc,
  attachTcx,
  attachUsdt,
  attachXdp,
  Kernel,
  loadCollection,
} from '../../build/src/index.js';
import { openObject } from '../../build/src/bpf/object/index.js';
import { sectionRows } from '../../build/src/bpf/object/section-rows.js';
import { findMount } from '../../build/src/sys/detached-mount.js';
import { Triggers } from './triggers.mjs';

const CLONE_NEWNET = 0x40000000;

const usdtTarget = fileURLToPath(new URL(`../../fixtures/usdt/target.${process.arch}`, import.meta.url));
const part = process.argv[2] ?? '';
const kernel = new Kernel({ onNotice: () => {} });
const triggers = new Triggers(kernel.sys);
const specs = new Map(['probes', 'tracing', 'cgroup', 'net', 'struct_ops', 'dummy_ops'].map((name) => [name, openFixture(name)]));
const fdBytes = (fd) => new Uint8Array(new Uint32Array([fd]).buffer);

/** The fixture with the names of this architecture. */
function openFixture(name) {
  const spec = openObject(readFileSync(new URL(`../../fixtures/attach/${name}.bpf.o`, import.meta.url)), { name });
  if (process.arch === 'arm64') {
    for (const program of spec.programs) {
      program.attachTo = program.attachTo?.replace('__x64_', '__arm64_') ?? null;
    }
  }
  return spec;
}

/** The section's fixture: its object and its program. */
function fixtureOf(pattern) {
  const bare = pattern.replace(/\+$/, '');
  for (const [object, spec] of specs) {
    const program = spec.programs.find(({ name, sectionName }) => {
      const fits = pattern.endsWith('+') ? sectionName === bare || sectionName.startsWith(`${bare}/`) : sectionName === bare;
      return fits && (name.startsWith('on_') || object.endsWith('_ops'));
    });
    if (program !== undefined) return { object, spec, program };
  }
  return null;
}

const load = (spec, programs, more = {}) => loadCollection(kernel, spec, { programs, variables: { wanted_pid: process.pid }, ...more });

/** A socket filter to be run by a test run, and what freplace replaces. */
const withHelper = async (use) => {
  const helper = load(specs.get('tracing'), ['replace_here']);
  try {
    return await use(helper.program('replace_here'));
  } finally {
    helper.close();
  }
};
const packet = new Uint8Array(64);

/** Sends over a TCP connection one end of which is in the sockmap. */
function throughSockmap(collection, end) {
  const pair = triggers.tcpPair();
  try {
    const value = new Uint8Array(8);
    value.set(fdBytes(pair[end]));
    collection.map('sockets').update(new Uint8Array(4), value);
    triggers.transfer(pair[0], pair[1], 512);
  } finally {
    triggers.close(...pair);
  }
}

/** A program in a device or CPU map, and one on lo that sends packets there. */
function redirected(mapName, sender, first) {
  return {
    extra: [sender],
    attach(program, collection) {
      const value = new Uint8Array(8);
      value.set(fdBytes(first));
      value.set(fdBytes(program.fd), 4);
      collection.map(mapName).update(new Uint8Array(4), value);
      return attachXdp(collection.program(sender), 'lo', { mode: 'generic' });
    },
    trigger: () => triggers.rawPacket(1),
  };
}

let cgroup = '';
const inCgroup = (attachType) => ({
  attach: (program) => attachCgroup(program, cgroup, attachType === undefined ? {} : { attachType }),
  trigger: () => triggers.socketTour(),
});
const packets = { trigger: () => triggers.datagrams(2) };
const tcx = () => ({ ...packets, attach: (program) => attachTcx(program, 'lo') });
const tc = (direction, via) => ({
  ...packets,
  attach: (program) => attachTc(program, 'lo', { direction, ...(via === undefined ? {} : { via }) }),
});
const lwt = { none: 'routes carry such programs: a matter of rtnetlink, which the library leaves to `ip route`' };

function netkit(name) {
  let made = false;
  return {
    attach(program) {
      if (!made) triggers.netkit(name);
      made = true;
      triggers.up(name);
      return attachNetkit(program, name);
    },
    // One of the two is the primary, the other the peer.
    trigger() {
      for (const device of readFileSync('/proc/thread-self/net/dev', 'utf8').matchAll(/^\s*((?:nk|raw)\w*):/gm)) triggers.up(device[1]);
      for (let device = 2; device < 10; device++) triggers.rawPacket(device);
    },
  };
}

/** How programs of a section are attached and fired; those not named attach as their section says. */
const ways = new Map(
  Object.entries({
    socket: {
      attach(program) {
        const fd = triggers.socket(2, 2);
        const link = attachSocket(program, fd);
        return { close: () => (link.close(), triggers.close(fd)), fd };
      },
      trigger(collection, link) {
        const bytes = new Uint8Array(4);
        const any = new Uint8Array([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        triggers.sys.call('bind', link.fd, any, 16);
        const sender = triggers.socket(2, 2);
        const to = triggers.name('getsockname', link.fd);
        triggers.call('sendto', sender, bytes, 4, 0, to, to.length);
        triggers.close(sender);
      },
      once: true,
    },
    ...Object.fromEntries(
      ['sk_reuseport', 'sk_reuseport/migrate'].map((pattern) => [
        pattern,
        {
          attach: (program) => ({ close() {}, program }),
          trigger: (collection, link) => triggers.reuseport((fd) => attachSocket(link.program, fd)),
          once: true,
        },
      ]),
    ),
    'tc/ingress': tc('ingress'),
    'tc/egress': tc('egress'),
    'tcx/ingress': tcx(),
    'tcx/egress': tcx(),
    tc: tc('ingress'),
    classifier: tc('egress', 'clsact'),
    action: tc('ingress'),
    'netkit/primary': netkit('rawkit'),
    'netkit/peer': netkit('rawkat'),
    ...Object.fromEntries(
      ['raw_tracepoint.w+', 'raw_tp.w+'].map((pattern) => [
        pattern,
        { trigger: () => withHelper((helper) => helper.testRun({ data: packet })) },
      ]),
    ),
    'lsm.s+': { trigger: () => triggers.exec() },
    'lsm_cgroup+': inCgroup(),
    'iter+': { trigger: (collection, link) => link.read(), once: true },
    'iter.s+': { trigger: (collection, link) => link.read(), once: true },
    syscall: { attach: (program) => ({ close() {}, program }), trigger: (collection, link) => link.program.testRun(), once: true },
    'xdp.frags/devmap': redirected('devices', 'to_device_frags', 1),
    'xdp/devmap': redirected('devices', 'to_device', 1),
    'xdp.frags/cpumap': redirected('cpus', 'to_cpu_frags', 128),
    'xdp/cpumap': redirected('cpus', 'to_cpu', 128),
    'xdp.frags': { ...packets, attach: (program) => attachXdp(program, 'lo', { mode: 'generic' }) },
    xdp: { ...packets, attach: (program) => attachXdp(program, 'lo', { mode: 'generic' }) },
    perf_event: {
      attach: (program) => attachPerfEvent(program, 'PERF_COUNT_SW_CPU_CLOCK', { frequency: 200 }),
      trigger: () => triggers.work(300),
    },
    lwt_in: lwt,
    lwt_out: lwt,
    lwt_xmit: lwt,
    lwt_seg6local: lwt,
    sockops: inCgroup(),
    'sk_skb/stream_parser': {
      extra: ['some_verdict'],
      attach(program, collection) {
        const verdict = attachSockmap(collection.program('some_verdict'), collection.map('sockets'));
        try {
          const link = attachSockmap(program, collection.map('sockets'));
          return { close: () => (link.close(), verdict.close()) };
        } catch (error) {
          verdict.close();
          throw error;
        }
      },
      trigger: (collection) => throughSockmap(collection, 1),
    },
    'sk_skb/stream_verdict': {
      attach: (program, collection) => attachSockmap(program, collection.map('sockets')),
      trigger: (collection) => throughSockmap(collection, 1),
    },
    'sk_skb/verdict': {
      attach: (program, collection) => attachSockmap(program, collection.map('sockets')),
      trigger: (collection) => throughSockmap(collection, 1),
    },
    sk_skb: {
      attach: (program, collection) => attachSockmap(program, collection.map('sockets'), { attachType: 'BPF_SK_SKB_STREAM_VERDICT' }),
      trigger: (collection) => throughSockmap(collection, 1),
    },
    sk_msg: {
      attach: (program, collection) => attachSockmap(program, collection.map('sockets')),
      trigger: (collection) => throughSockmap(collection, 0),
    },
    lirc_mode2: {
      attach(program) {
        // A receiver that hears what is sent through it.
        spawnSync('modprobe', ['rc-loopback']);
        return attachLirc(program, '/dev/lirc0');
      },
      trigger: () => writeFileSync('/dev/lirc0', new Uint8Array(new Uint32Array([9000, 4500, 560]).buffer)),
    },
    flow_dissector: { attach: (program) => attachNetns(program), trigger: () => triggers.rawPacket(1) },
    sk_lookup: { ...packets, attach: (program) => attachNetns(program) },
    netfilter: { ...packets, attach: (program) => attachNetfilter(program, { family: 'ipv4', hook: 'input' }) },
    'cgroup/skb': inCgroup('BPF_CGROUP_INET_EGRESS'),
    'freplace+': { trigger: (collection, link, helper) => helper.testRun({ data: packet }) },
    'struct_ops.s+': {
      // Registering it is refused on purpose: a test run is all there is.
      attach: (program) => ({ close() {}, program }),
      trigger(collection, link) {
        const state = new Uint8Array(8);
        const context = new Uint8Array(new BigUint64Array([kernel.sys.addressOf(state)]).buffer);
        link.program.testRun({ context });
        return state;
      },
      once: true,
    },
    'struct_ops+': {
      extra: ['cong_avoid', 'undo_cwnd'],
      attach: (program, collection) => collection.structOps[0].register(),
      trigger() {
        const pair = triggers.tcpPair(2, 'rawbpf_cc');
        triggers.transfer(pair[0], pair[1], 65536, 4);
        triggers.close(...pair);
      },
      once: true,
    },
  }),
);

function defaultWay(pattern, object) {
  if (object === 'cgroup') return inCgroup();
  if (pattern.startsWith('usdt'))
    return { attach: (program) => attachUsdt(program, `${usdtTarget}:rawbpf:bare`), trigger: () => triggers.run(usdtTarget) };
  if (/^u(ret)?probe/.test(pattern)) return { trigger: () => triggers.libraryCalls() };
  return { trigger: () => triggers.systemCalls() };
}

/** One row: what was reached, and why not more. */
async function measure(pattern) {
  const row = { section: pattern, loaded: false, attached: false, fired: false };
  const fixture = fixtureOf(pattern);
  if (fixture === null) return { ...row, why: 'no fixture' };
  const way = { ...defaultWay(pattern, fixture.object), ...ways.get(pattern) };
  if (pattern === 'freplace+') return withHelper((helper) => attempt(row, fixture, { ...way, helper }));
  return attempt(row, fixture, way);
}

async function attempt(row, { spec, program: { name } }, way) {
  let collection = null;
  let link = null;
  try {
    const more = way.helper === undefined ? {} : { attachPrograms: { [name]: way.helper } };
    collection = load(spec, [name, ...(way.extra ?? [])], more);
    row.loaded = true;
    if (way.none !== undefined) return { ...row, why: way.none };
    const program = collection.program(name);
    link = way.attach === undefined ? attachProgram(program) : way.attach(program, collection);
    if (link === null) return { ...row, why: 'its section names no target' };
    row.attached = true;
    const fired = () => collection.variable('fired').get();
    const before = fired();
    await way.trigger(collection, link, way.helper);
    // Packets may take a moment.
    for (let i = 0; i < 20 && fired() === before; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    if (fired() === before) return { ...row, why: 'what should fire it was done, and it did not' };
    row.fired = true;
    if (way.once === true) return row;
    link.close();
    link = null;
    await new Promise((resolve) => setTimeout(resolve, 20));
    const closed = fired();
    await way.trigger(collection, {}, way.helper);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return fired() === closed ? row : { ...row, why: 'it still ran after its link was closed' };
  } catch (error) {
    return { ...row, why: reason(error) };
  } finally {
    link?.close();
    collection?.close();
  }
}

/** The first line, and the code, of what went wrong. */
function reason(error) {
  const code = error.errnoName ?? error.code;
  const text = String(error.message)
    .split('\n')[0]
    .replace(/0x[0-9a-f]{8,}/g, 'ADDRESS');
  return code === undefined || text.includes(code) ? text : `${text} (${code})`;
}

/** Moves this process into a cgroup of its own; returns what undoes it. */
function enterCgroup() {
  const root = findMount('cgroup2');
  if (root === null) throw new Error('cgroup2 is not mounted');
  const home = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
  cgroup = `${root}/rawbpf-attach-${process.pid}`;
  mkdirSync(cgroup);
  writeFileSync(`${cgroup}/cgroup.procs`, String(process.pid));
  return () => {
    writeFileSync(`${root}${home}/cgroup.procs`, String(process.pid));
    rmdirSync(cgroup);
  };
}

// A line of JSON for the kernel and for each row, as they come: a run that is cut short has not been for nothing.
const tell = (record) => process.stdout.write(`${JSON.stringify(record)}\n`);
tell({ kernel: os.release().replace(/^(\d+\.\d+\.\d+).*/, '$1'), arch: process.arch });
const leave = enterCgroup();
try {
  triggers.call('unshare', CLONE_NEWNET);
  triggers.up('lo');
  for (const [pattern] of sectionRows) {
    if (!part.split(',').some((one) => pattern.includes(one))) continue;
    const row = await measure(pattern);
    process.stderr.write(
      `${row.fired ? 'fired   ' : row.attached ? 'attached' : row.loaded ? 'loaded  ' : '-       '} ${pattern}${row.why === undefined ? '' : `: ${row.why}`}\n`,
    );
    tell(row);
  }
} finally {
  leave();
}
process.stdout.write('', () => process.exit(0));
