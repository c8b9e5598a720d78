import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

const skip = process.arch === 'x64' ? false : 'the numbers of system calls are those of x86-64';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-mount-'));
for (const name of ['a', 'b', 'c']) mkdirSync(path.join(folder, name));
t.teardown(() => rmSync(folder, { recursive: true }));
const onRoot = statSync(folder).dev === statSync('/').dev;

// Mounts in a mount namespace of its own; prints of each call its number of the result, or the negative errno.
const calls = String.raw`
  my $dir = shift;
  my ($MS_RDONLY, $MS_NOSUID, $MS_REMOUNT, $MS_BIND, $MS_REC, $MS_PRIVATE) = (1, 2, 32, 4096, 16384, 1 << 18);
  sub try {
    my ($what, $nr, @args) = @_;
    my $result = syscall($nr, @args);
    $result = -($!+0) if $result < 0;
    print "$what $result\n";
    return $result;
  }
  sub s0 { my $text = "$_[0]"; $text }
  syscall(272, 0x20000) == 0 or die $!;
  print "mntns ", readlink("/proc/self/ns/mnt") =~ /(\d+)/, "\n";
  try("private", 165, s0("none"), s0("/"), 0, $MS_REC | $MS_PRIVATE, 0);
  try("tmpfs", 165, s0("rawbpf-source"), s0("$dir/a"), s0("tmpfs"), $MS_NOSUID, s0("size=64k,mode=700"));
  try("bind", 165, s0("$dir/a"), s0("$dir/b"), s0(""), $MS_BIND, 0);
  try("remount", 165, s0("none"), s0("$dir/b"), 0, $MS_REMOUNT | $MS_BIND | $MS_RDONLY, 0);
  try("magic", 165, s0("none"), s0("$dir/b"), 0, 0xc0ed0000 | $MS_REMOUNT | $MS_BIND, 0);
  try("nosuchfs", 165, s0("x"), s0("$dir/c"), s0("nosuchfs"), 0, 0);
  try("nowhere", 165, s0("x"), s0("/nowhere/at all"), s0("tmpfs"), 0, 0);
  try("detach", 166, s0("$dir/b"), 2);
  try("umount", 166, s0("$dir/a"), 0);
  try("notmounted", 166, s0("$dir/a"), 8);
  my $fs = try("fsopen", 430, s0("tmpfs"), 1);
  try("string", 431, $fs, 1, s0("size"), s0("128k"), 0);
  try("flag", 431, $fs, 0, s0("ro"), 0, 0);
  try("badkey", 431, $fs, 1, s0("nosuchkey"), s0("x"), 0);
  try("create", 431, $fs, 6, 0, 0, 0);
  my $mount = try("fsmount", 432, $fs, 1, 2 | 8);
  try("move", 429, $mount, s0(""), -100, s0("$dir/c"), 4);
  my $tree = try("tree", 428, -100, s0("$dir/c"), 1 | 0x80000);
  my $attr = pack "QQQQ", 1 | 4, 8, 1 << 18, 0;
  try("setattr", 442, -100, s0("$dir/c"), 0, $attr, 32);
  my $pick = try("pick", 433, -100, s0("$dir/c"), 1);
  try("pivot", 155, s0("$dir/a"), s0("$dir/b"));
  try("last", 166, s0("$dir/c"), 0);
`;

interface Expected {
  readonly what: string;
  readonly op: string;
  readonly fs?: string;
  readonly src?: string;
  readonly dest?: string;
  readonly data?: string;
  readonly key?: string;
  readonly cmd?: string;
  readonly flags?: string;
  readonly umount_flags?: string;
  readonly attr_add?: string;
  readonly attr_clear?: string;
  readonly propagation?: number;
  readonly call_flags?: number;
  /** A call whose result this call was made on. */
  readonly on?: string;
  readonly fd?: number;
  readonly gives?: boolean;
  readonly error?: string;
}

const [a, b, c] = ['a', 'b', 'c'].map((name) => path.join(folder, name)) as [string, string, string];
const expected: readonly Expected[] = [
  { what: 'private', op: 'MOUNT', src: 'none', dest: '/', flags: 'MS_REC|MS_PRIVATE' },
  { what: 'tmpfs', op: 'MOUNT', src: 'rawbpf-source', dest: a, fs: 'tmpfs', flags: 'MS_NOSUID', data: 'size=64k,mode=700' },
  { what: 'bind', op: 'MOUNT', src: a, dest: b, flags: 'MS_BIND' },
  { what: 'remount', op: 'MOUNT', src: 'none', dest: b, flags: 'MS_RDONLY|MS_REMOUNT|MS_BIND' },
  { what: 'magic', op: 'MOUNT', src: 'none', dest: b, flags: 'MS_REMOUNT|MS_BIND' },
  { what: 'nosuchfs', op: 'MOUNT', src: 'x', dest: c, fs: 'nosuchfs', error: 'ENODEV' },
  { what: 'nowhere', op: 'MOUNT', src: 'x', dest: '/nowhere/at all', fs: 'tmpfs', error: 'ENOENT' },
  { what: 'detach', op: 'UMOUNT', dest: b, umount_flags: 'MNT_DETACH' },
  { what: 'umount', op: 'UMOUNT', dest: a },
  { what: 'notmounted', op: 'UMOUNT', dest: a, umount_flags: 'UMOUNT_NOFOLLOW', error: 'EINVAL' },
  { what: 'fsopen', op: 'FSOPEN', fs: 'tmpfs', call_flags: 1, gives: true },
  { what: 'string', op: 'FSCONFIG', fs: 'tmpfs', cmd: 'SET_STRING', key: 'size', data: '128k', on: 'fsopen' },
  { what: 'flag', op: 'FSCONFIG', fs: 'tmpfs', cmd: 'SET_FLAG', key: 'ro', on: 'fsopen' },
  { what: 'badkey', op: 'FSCONFIG', fs: 'tmpfs', cmd: 'SET_STRING', key: 'nosuchkey', data: 'x', on: 'fsopen', error: 'EINVAL' },
  { what: 'create', op: 'FSCONFIG', fs: 'tmpfs', cmd: 'CMD_CREATE', on: 'fsopen' },
  {
    what: 'fsmount',
    op: 'FSMOUNT',
    fs: 'tmpfs',
    call_flags: 1,
    attr_add: 'MOUNT_ATTR_NOSUID|MOUNT_ATTR_NOEXEC',
    on: 'fsopen',
    gives: true,
  },
  { what: 'move', op: 'MOVE_MOUNT', fs: 'tmpfs', dest: c, call_flags: 4, on: 'fsmount' },
  { what: 'tree', op: 'OPEN_TREE', fs: 'tmpfs', src: c, call_flags: 0x80001, fd: -100, gives: true },
  {
    what: 'setattr',
    op: 'MOUNT_SETATTR',
    dest: c,
    attr_add: 'MOUNT_ATTR_RDONLY|MOUNT_ATTR_NODEV',
    attr_clear: 'MOUNT_ATTR_NOEXEC',
    propagation: 1 << 18,
    fd: -100,
  },
  { what: 'pick', op: 'FSPICK', fs: 'tmpfs', dest: c, call_flags: 1, fd: -100, gives: true },
  { what: 'pivot', op: 'PIVOT_ROOT', src: a, dest: b, error: 'EBUSY' },
  { what: 'last', op: 'UMOUNT', dest: c, error: 'EBUSY' },
];

/** Calls that the kernel may not have yet: they fail with ENOSYS. */
const newer = new Set(['setattr']);

void t.test('mounts in every way', { skip }, async (t) => {
  const { events, lost, made } = await traced('trace_mount', [], () => runPerl(calls, folder));
  t.equal(lost, 0);
  const results = new Map(
    made.text
      .trim()
      .split('\n')
      .map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]),
  );
  const mntns = results.get('mntns') ?? 0;
  t.not(mntns, namespaceOf('mnt'));
  const own = events.filter((event) => event.proc.pid === made.pid);
  t.equal(own.length, expected.length, 'an event for each call');
  for (const [i, { what, op, on, fd, gives, error, ...texts }] of expected.entries()) {
    const event: JsonEvent | undefined = own[i];
    const result = results.get(what) ?? Number.NaN;
    const missing = newer.has(what) && result === -38;
    // pivot_root(2): a folder on the root's own mount is busy, one on another is no mount point.
    const told = what === 'pivot' && !onRoot ? 'EINVAL' : (error ?? '');
    t.match(event, { op, error: missing ? 'ENOSYS' : told, error_raw: result < 0 ? -result : 0 }, what);
    const nothing = {
      fs: '',
      src: '',
      dest: '',
      data: '',
      key: '',
      cmd: 'no_cmd',
      flags: '',
      umount_flags: '',
      attr_add: '',
      attr_clear: '',
    };
    t.match(event, { ...nothing, propagation: 0, call_flags: 0, ...texts }, what);
    t.equal(event?.['fd'], on === undefined ? (fd ?? -1) : results.get(on), `${what}: descriptor`);
    t.equal(event?.['result_fd'], gives === true ? result : -1, `${what}: the descriptor it gave`);
    const took = Number(event?.['delta_raw']) / 1e6;
    t.ok(took > 0 && took < made.to - made.from, `${what}: how long it took`);
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl', mntns }, what);
    expectTime(t, event, made, what);
  }
});

void t.test('parameters', { skip }, async (t) => {
  const run = async (...args: string[]) => {
    const { events, made } = await traced('trace_mount', args, () => runPerl(calls, folder));
    return events.filter((event) => event.proc.pid === made.pid);
  };
  const failed = await run('--failed');
  t.ok(failed.length >= 5 && failed.every((event) => event['error'] !== ''), '--failed');
  const mounts = await run('--mounts-only');
  t.same([...new Set(mounts.map((event) => event['op']))], ['MOUNT', 'UMOUNT', 'MOVE_MOUNT'], '--mounts-only');
  t.same(await run('--comm', 'no-such-name'), [], '--comm');
});
