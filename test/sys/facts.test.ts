import t from 'tap';
import { CAP, effectiveCaps, hasCap } from '../../src/sys/caps.ts';
import { parseTimensOffsets } from '../../src/sys/clock.ts';
import { parseCpuList } from '../../src/sys/cpus.ts';
import { createBackend } from '../../src/sys/default-sys.ts';
import { findMount } from '../../src/sys/detached-mount.ts';
import { check, SyscallError } from '../../src/sys/errno.ts';
import { parseKernelVersion, versionCode } from '../../src/sys/kernel-version.ts';
import { parseMountinfo } from '../../src/sys/mountinfo.ts';
import { parsePageSize } from '../../src/sys/page-size.ts';
import { perfFlags } from '../../src/sys/perf-attr.ts';
import { diagnosePermission, type PermissionFacts } from '../../src/sys/permission.ts';

void t.test('kernel versions', async (test) => {
  const rows: readonly [release: string, version: string, signature: string | null, code: number][] = [
    ['6.1.0-18-amd64', '#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)', null, versionCode(6, 1, 76)],
    ['5.4.0-42-generic', '#46-Ubuntu SMP Fri Jul 10 00:24:02 UTC 2020', 'Ubuntu 5.4.0-42.46-generic 5.4.44', versionCode(5, 4, 44)],
    ['6.18.44', '#1 SMP PREEMPT_DYNAMIC @0', null, versionCode(6, 18, 44)],
    ['4.19.300', '#1 SMP', null, (4 << 16) + (19 << 8) + 255],
    ['7.3-rc1', '#1 SMP', null, versionCode(7, 3)],
    ['nonsense', '', null, 0],
  ];
  for (const [release, version, signature, code] of rows) test.equal(parseKernelVersion({ release, version, signature }), code, release);
});

const vector = (...words: bigint[]): Uint8Array => new Uint8Array(BigUint64Array.from(words).buffer);

void t.test('page size of an auxiliary vector', async (test) => {
  for (const size of [4096n, 16384n, 65536n])
    test.equal(parsePageSize(vector(33n, 0x7ffc0000n, 6n, size, 17n, 100n, 0n, 0n)), Number(size));
  test.equal(parsePageSize(vector(33n, 6n, 17n, 6n, 0n, 0n)), null, 'a value is no tag');
  test.equal(parsePageSize(new Uint8Array(0)), null);
  test.equal(parsePageSize(new Uint8Array(15)), null);
});

void t.test('CPU lists', async (test) => {
  test.same(parseCpuList('0-3,8,10-11\n'), [0, 1, 2, 3, 8, 10, 11]);
  test.same(parseCpuList('0'), [0]);
  test.same(parseCpuList(''), []);
  for (const bad of ['3-1', 'x', '0-99999999999', '-1', '1-2-3', '0x1']) test.throws(() => parseCpuList(bad), { code: 'E_CPU_LIST' }, bad);
});

void t.test('time namespace offsets', async (test) => {
  test.same(parseTimensOffsets('monotonic          86400         5\nboottime     -3600  250000000\n'), {
    monotonic: 86_400_000_000_005n,
    boottime: -3_600_000_000_000n + 250_000_000n,
  });
  test.same(parseTimensOffsets(''), { monotonic: 0n, boottime: 0n });
});

void t.test('mountinfo', async (test) => {
  const text = [
    '22 28 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw',
    '30 22 0:27 /sub /mnt/part rw - tracefs tracefs rw',
    String.raw`31 22 0:27 / /mnt/a\040b\134 rw,relatime shared:1 master:2 - tracefs tracefs rw,gid=5`,
    '32 22 0:28 / /sys/fs/bpf rw - bpf bpf rw,mode=700',
    'garbage',
  ].join('\n');
  test.equal(parseMountinfo(text).length, 4);
  test.equal(findMount('tracefs', text), String.raw`/mnt/a b\\`.slice(0, -1));
  test.equal(findMount('bpf', text), '/sys/fs/bpf');
  test.equal(findMount('debugfs', text), null);
  test.equal(
    findMount('tracefs', `${text}\n33 22 0:27 / /sys/kernel/tracing rw - tracefs tracefs rw`),
    '/sys/kernel/tracing',
    'the usual place first',
  );
  test.same(parseMountinfo(text)[2]?.superOptions, ['rw', 'gid=5']);
});

void t.test('capabilities', async (test) => {
  const caps = effectiveCaps('Name:\tnode\nCapEff:\t000001fffeffffff\nSeccomp:\t0\n');
  if (caps === null) throw new Error('no caps');
  test.ok(hasCap(caps, 'CAP_BPF'));
  test.ok(hasCap(caps, 'CAP_SYS_ADMIN'));
  test.notOk(hasCap(caps, 'CAP_SYS_RESOURCE'));
  test.equal(effectiveCaps('nothing'), null);
});

const all = (1n << 41n) - 1n;
const root: PermissionFacts = {
  uid: 0,
  caps: all,
  unprivilegedBpfDisabled: 2,
  initialUserNamespace: true,
  lockdown: 'none',
  seccomp: 0,
  kernel: versionCode(6, 1),
  memlock: Infinity,
};
const without = (...names: (keyof typeof CAP)[]): bigint => names.reduce((caps, name) => caps & ~(1n << BigInt(CAP[name])), all);

void t.test('why a permission is missing', async (test) => {
  const rows: readonly [what: string, facts: Partial<PermissionFacts>, reason: string | null, text: RegExp][] = [
    ['root', {}, null, /^$/],
    [
      'a user',
      { uid: 1000, caps: 0n },
      'capability',
      /uid 1000\) is not root and lacks CAP_BPF, and kernel.unprivileged_bpf_disabled is 2/,
    ],
    ['a user who may', { uid: 1000, caps: 0n, unprivilegedBpfDisabled: 0 }, 'capability', /lacks CAP_BPF$/],
    ['a user of an old kernel', { uid: 1000, caps: 0n, kernel: versionCode(5, 4) }, 'capability', /lacks CAP_SYS_ADMIN/],
    ['root of a container', { caps: without('CAP_SYS_ADMIN', 'CAP_BPF', 'CAP_PERFMON') }, 'capability', /is root but lacks CAP_BPF/],
    ['CAP_BPF on an old kernel', { caps: without('CAP_SYS_ADMIN'), kernel: versionCode(5, 4) }, 'capability', /lacks CAP_SYS_ADMIN/],
    ['no CAP_PERFMON', { caps: without('CAP_SYS_ADMIN', 'CAP_PERFMON') }, 'capability', /lacks CAP_PERFMON/],
    ['no CAP_NET_ADMIN', { caps: without('CAP_SYS_ADMIN', 'CAP_NET_ADMIN') }, 'capability', /lacks CAP_NET_ADMIN/],
    ['rootless', { initialUserNamespace: false }, 'user-namespace', /user namespace/],
    ['lockdown', { lockdown: 'confidentiality' }, 'lockdown', /confidentiality\).*read kernel memory/],
    ['lockdown', { lockdown: 'integrity' }, 'lockdown', /integrity/],
    ['seccomp', { seccomp: 2 }, 'seccomp', /may forbid bpf\(\) or perf_event_open\(\)/],
    ['seccomp and bpf()', { seccomp: 2, forbidden: 'bpf' }, 'seccomp', /active and forbids bpf\(\)$/],
    ['seccomp and perf_event_open()', { seccomp: 2, forbidden: 'perf_event_open' }, 'seccomp', /forbids perf_event_open\(\)$/],
    ['a filter that lets it through', { seccomp: 2, forbidden: null }, null, /^$/],
    ['memlock', { kernel: versionCode(5, 10), memlock: 65536 }, 'memlock', /65536 bytes/],
    ['memlock does not count', { kernel: versionCode(5, 11), memlock: 65536 }, null, /^$/],
  ];
  for (const [what, facts, reason, text] of rows) {
    const diagnosis = diagnosePermission({ ...root, ...facts });
    test.equal(diagnosis?.reason ?? null, reason, what);
    test.match(diagnosis?.why ?? '', text, what);
    test.equal(diagnosis === null, (diagnosis?.next ?? '') === '', 'a next step');
  }
});

void t.test('syscall errors say what, where, why and what next', async (test) => {
  test.equal(check(5, 'openat'), 5);
  const error = new SyscallError('openat', -2, { what: 'cannot open a file', where: { path: '/x\n' } });
  test.equal(error.message, String.raw`cannot open a file (syscall openat, path /x\x0a): ENOENT`);
  test.same([error.code, error.syscall, error.errno, error.errnoName, error.next], ['E_SYSCALL', 'openat', 2, 'ENOENT', null]);
  test.throws(() => check(-24, 'dup'), { message: /^dup failed: EMFILE; this process has too many files open/ });
  test.equal(new SyscallError('x', -600).errnoName, 'errno 600');
});

void t.test('perf_event_attr bits', async (test) => {
  test.equal(perfFlags({}), 0n);
  test.equal(perfFlags({ disabled: 1, freq: 1, precise_ip: 2 }), 1n | (1n << 10n) | (2n << 15n));
  test.equal(perfFlags({ defer_output: 1 }), 1n << 39n);
  test.throws(() => perfFlags({ disabled: 2 }), { code: 'E_STRUCT_VALUE' });
  test.throws(() => perfFlags({ precise_ip: 4 }), { code: 'E_STRUCT_VALUE' });
});

void t.test('an unknown backend', async (test) => {
  const before = process.env['RAWBPF_FFI'];
  process.env['RAWBPF_FFI'] = 'libffi';
  test.throws(() => createBackend(), { code: 'E_FFI_NAME', next: 'use koffi or node' });
  if (before === undefined) delete process.env['RAWBPF_FFI'];
  else process.env['RAWBPF_FFI'] = before;
});
