import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { spawnSync } from 'node:child_process';
import t, { type Test } from 'tap';
import { mountOf } from '../support/device.ts';
import { namesOf } from '../support/process.ts';
import { calls32Path, callsPath, runProgram, type Ended } from '../support/calls.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

const skip = process.arch === 'x64' ? false : 'the program that makes the calls is for x86-64';

// Slow machines take their time.
t.setTimeout(110_000);

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-exec-'));
t.teardown(() => rmSync(folder, { recursive: true }));

function executable(name: string, content: string): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  chmodSync(file, 0o755);
  return file;
}

const script = executable('script', `#!${callsPath} show\n`);
const scriptOfScript = executable('script-of-script', `#!${script}\n`);
const noFormat = executable('no-format', 'neither a script nor a program\n');
const noPermission = path.join(folder, 'no-permission');
writeFileSync(noPermission, '#!/bin/sh\n');
const strange = executable('str\nange\u001b[31m', readFileSync(callsPath, 'latin1'));
writeFileSync(strange, readFileSync(callsPath));
const noComm = '/proc/self/comm';

/** What a call is to be shown as. */
interface Case {
  readonly what: string;
  /** Command of fixtures/calls/calls. */
  readonly args: readonly string[];
  readonly program?: string;
  readonly cwd?: string;
  readonly file: string;
  /** Of a successful call: the program that runs then. */
  readonly exepath?: string;
  readonly comm?: string;
  /** Of a failed call. */
  readonly error?: string;
  readonly argv?: readonly string[];
}

const succeeding: readonly Case[] = [
  { what: 'execve', args: ['exec', callsPath, 'a', '', 'b c'], file: callsPath },
  {
    what: 'execve with a relative name',
    args: ['exec', './calls', 'a'],
    cwd: path.dirname(callsPath),
    file: `${path.dirname(callsPath)}/./calls`,
    exepath: callsPath,
  },
  { what: 'execveat', args: ['execveat', path.dirname(callsPath), 'calls', 'a'], file: '/dev/fd/3/calls', exepath: callsPath },
  { what: 'a thread that is not the first', args: ['thread', callsPath, 'a', 'b'], file: callsPath },
  { what: 'int 0x80', args: ['int80', callsPath, 'a', 'b'], file: callsPath },
  { what: 'execveat by int 0x80', args: ['int80at', path.dirname(callsPath), 'calls', 'a'], file: '/dev/fd/3/calls', exepath: callsPath },
  { what: 'a 32-bit program', program: calls32Path, args: ['exec', callsPath, 'a', 'b'], file: callsPath },
  { what: 'a script', args: ['exec', script, 'a', 'b'], file: script, exepath: callsPath, comm: 'script' },
  { what: 'a script of a script', args: ['exec', scriptOfScript, 'a'], file: scriptOfScript, exepath: callsPath, comm: 'script-of-scrip' },
  { what: 'a name in a page never touched', args: ['late', callsPath, 'a'], file: callsPath },
  { what: 'no argument array', args: ['nullargv', callsPath], file: callsPath },
  {
    what: 'a name with control characters',
    args: ['exec', strange, 'a\nb', '\u001b]0;x\u0007'],
    file: strange,
    comm: 'str\nange\u001b[31m',
  },
];

const failing: readonly Case[] = [
  { what: 'ENOENT', args: ['exec', '/nowhere/program', 'a', 'b c'], file: '/nowhere/program', error: 'ENOENT' },
  { what: 'ENOENT, relative', args: ['exec', 'nowhere', 'a'], cwd: folder, file: `${folder}/nowhere`, error: 'ENOENT' },
  { what: 'EACCES', args: ['exec', noPermission, 'a'], file: noPermission, error: 'EACCES' },
  { what: 'ENOEXEC', args: ['exec', noFormat, 'a'], file: noFormat, error: 'ENOEXEC' },
  { what: 'ENOTDIR', args: ['exec', `${script}/x`], file: `${script}/x`, error: 'ENOTDIR' },
  { what: 'EFAULT', args: ['badname'], file: '', error: 'EFAULT', argv: [] },
  { what: 'execveat', args: ['execveat', folder, 'nowhere', 'a'], file: '/dev/fd/3/nowhere', error: 'ENOENT', argv: ['nowhere', 'a'] },
  { what: 'int 0x80', args: ['int80', '/nowhere/32', 'a', 'b'], file: '/nowhere/32', error: 'ENOENT' },
  {
    what: 'execveat by int 0x80',
    args: ['int80at', folder, 'nowhere', 'a'],
    file: '/dev/fd/3/nowhere',
    error: 'ENOENT',
    argv: ['nowhere', 'a'],
  },
  { what: 'a 32-bit program', program: calls32Path, args: ['exec', '/nowhere/32', 'a', 'b'], file: '/nowhere/32', error: 'ENOENT' },
  { what: 'a thread that is not the first', args: ['thread', '/nowhere/thread', 'a'], file: '/nowhere/thread', error: 'ENOENT' },
  { what: 'a name in a page never touched', args: ['late', '/nowhere/late', 'a'], file: '/nowhere/late', error: 'ENOENT' },
  { what: 'no argument array', args: ['nullargv', '/nowhere/null'], file: '/nowhere/null', error: 'ENOENT', argv: [] },
];

/** The only event of a process besides that of the program that made the call. */
function eventOf(t: Test, events: readonly JsonEvent[], { pid }: Ended, what: string): JsonEvent | undefined {
  const own = events.filter((event) => event.proc.pid === pid);
  t.equal(own.length, 2, `${what}: one event for the program that calls, one for the call`);
  t.equal(own[0]?.['error'], '', what);
  return own[1];
}

void t.test('calls of every kind', { skip }, async (t) => {
  const { events, code, lost, stderr, made } = await traced('trace_exec', [], async () => {
    const ended = new Map<Case, Ended>();
    for (const one of [...succeeding, ...failing]) ended.set(one, await runProgram(one.program ?? callsPath, one.args, one.cwd));
    return ended;
  });
  t.equal(code, 0, stderr);
  t.equal(lost, 0);

  const mntns = statSync('/proc/self/ns/mnt').ino;
  const ownComm = readFileSync(noComm, 'utf8').trimEnd();
  // proc_pid_stat(5): the seventh, a device number as mknod's; children have the terminal of this process.
  const device = Number(readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ')[4]);
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  const terminal = { tty_major: (device >>> 8) & 0xfff, tty_minor: minor, ...(device === 0 ? { tty: 0 } : {}) };
  const loginuser = namesOf(Number(readFileSync('/proc/self/loginuid', 'utf8')), 0).user;
  for (const [one, ended] of made) {
    const event = eventOf(t, events, ended, one.what);
    if (event === undefined) continue;
    const error = one.error ?? '';
    t.equal(event['error'], error, one.what);
    t.equal(event['file'], one.file, `${one.what}: file`);
    t.equal(event['cwd'], one.cwd ?? '/tmp', `${one.what}: cwd`);
    t.equal(event['exepath'], error === '' ? (one.exepath ?? one.file) : (one.program ?? callsPath), `${one.what}: exepath`);
    t.equal(event['parent_exepath'], realpathSync('/proc/self/exe'), `${one.what}: parent's program`);
    t.match(event.proc, { pid: ended.pid, mntns_id: mntns, creds: { uid: 0, gid: 0, ...namesOf(0, 0) } }, one.what);
    t.match(event, { ...terminal, loginuser }, `${one.what}: terminal and who logged in`);
    t.match(event.proc.parent, { pid: process.pid, comm: ownComm }, `${one.what}: parent`);
    const time = Number(event['timestamp_raw']) / 1e6;
    t.ok(time >= ended.from - 1 && time <= ended.to + 1, `${one.what}: ${String(event['timestamp'])} is when it happened`);
    if (error === '') {
      // The program says what it was given.
      const argv = ended.text.split('\0').slice(0, -1);
      t.same(event['argv'], argv, `${one.what}: argv`);
      t.equal(event['args'], argv.join(' '), `${one.what}: args`);
      t.equal(event['args_count'], argv.length, one.what);
      t.equal(event['args_size'], ended.stdout.length, one.what);
      t.equal(event.proc.comm, one.comm ?? 'calls', `${one.what}: comm`);
      t.equal(event.proc.tid, ended.pid, `${one.what}: tid`);
      const exe = realpathSync(one.exepath ?? one.file);
      t.equal(event['inode'], statSync(exe).ino, `${one.what}: inode`);
      const on = mountOf(exe);
      t.match(event, { dev_major: on.major, dev_minor: on.minor }, `${one.what}: device`);
      t.equal(event['from_rootfs'], on.at === mountOf('/').at, `${one.what}: on the file system of the root`);
      // On an overlay it depends on where the project lies: see the next test.
      if (on.type !== 'overlay') t.equal(event['upper_layer'], false, `${one.what}: in no upper layer`);
      const parent = mountOf(realpathSync('/proc/self/exe'));
      if (parent.type !== 'overlay') t.equal(event['pupper_layer'], false, `${one.what}: the parent's program is in none`);
    } else {
      t.equal(`errno ${String(event['error_raw'])}\n`, ended.text, `${one.what}: what the caller was told`);
      t.same(event['argv'], one.argv ?? one.args.slice(1), `${one.what}: argv`);
      t.equal(event.proc.comm, path.basename(one.program ?? callsPath), `${one.what}: the caller's comm`);
      t.equal(event.proc.tid === ended.pid, one.args[0] !== 'thread', `${one.what}: tid`);
    }
  }
});

const layers = `
set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir lower upper work merged
cp /bin/sh lower/below
cp /bin/sh lower/copied
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work overlay merged
cp /bin/sh merged/above
touch merged/copied
"$1/merged/below" -c '"$0/merged/below" -c "exit 0" lower lower; exit 0' "$1"
"$1/merged/above" -c '"$0/merged/below" -c "exit 0" lower upper; exit 0' "$1"
"$1/merged/copied" -c '"$0/merged/above" -c "exit 0" upper upper; exit 0' "$1"
"$1/merged/below" -c '"$0/merged/copied" -c "exit 0" upper lower; exit 0' "$1"
"$1/lower/below" -c "exit 0" lower lower
`;

const overlays = readFileSync('/proc/filesystems', 'utf8').includes('\toverlay\n') ? false : 'this kernel has no overlayfs';

void t.test('files above and below in layers, and the programs of parents', { skip: overlays }, async (t) => {
  const at = path.join(folder, 'layers');
  mkdirSync(at);
  const { events, made } = await traced('trace_exec', [], () =>
    spawnSync('unshare', ['-m', 'sh', '-c', layers, 'sh', at], { encoding: 'utf8' }),
  );
  t.equal(made.status, 0, made.stderr);
  const found = events
    .filter((event) => String(event['file']).startsWith(at))
    .flatMap((event) => {
      // The last words say which layer the program is in, and that of its parent.
      const argv = event['argv'] as string[];
      const inLayer = (name: string): string => (event[name] === true ? 'upper' : 'lower');
      return argv[2] === 'exit 0' ? [[argv.slice(3).join(' '), `${inLayer('upper_layer')} ${inLayer('pupper_layer')}`]] : [];
    });
  t.equal(found.length, 5);
  for (const [told, seen] of found) t.equal(seen, told);
});

void t.test('a file that has no name, and comm as the kernel says', { skip }, async (t) => {
  const cases = [
    { args: ['memfd', '/bin/cat', noComm], expect: (event: JsonEvent) => `${event.proc.comm}\n` },
    {
      args: ['memfd', '/bin/cat', '/proc/self/cmdline'],
      expect: (event: JsonEvent) => (event['argv'] as string[]).map((arg) => `${arg}\0`).join(''),
    },
    { args: ['memfd', '/bin/readlink', '/proc/self/exe'], expect: (event: JsonEvent) => `${String(event['exepath'])}\n` },
    { args: ['exec', '/bin/pwd', '-P'], expect: (event: JsonEvent) => `${String(event['cwd'])}\n` },
    { args: ['exec', '/bin/cat', '/proc/self/loginuid'], expect: (event: JsonEvent) => String(event['loginuid']) },
    { args: ['exec', '/bin/cat', '/proc/self/sessionid'], expect: (event: JsonEvent) => String(event['sessionid']) },
  ];
  const deep = path.join(folder, ...Array.from({ length: 12 }, (_, i) => `directory-${i}-${'x'.repeat(60)}`));
  mkdirSync(deep, { recursive: true });
  const { events, made } = await traced('trace_exec', [], async () => {
    const ended: Ended[] = [];
    for (const { args } of cases) ended.push(await runProgram(callsPath, args, deep));
    return ended;
  });
  for (const [i, ended] of made.entries()) {
    const event = eventOf(t, events, ended, cases[i]?.args.join(' ') ?? '');
    t.equal(event && cases[i]?.expect(event), ended.text);
  }
});

void t.test('arguments are what the program got while another thread writes over them', { skip }, async (t) => {
  const words = Array.from({ length: 40 }, (_, i) => `word-${i}`);
  const { events, made } = await traced('trace_exec', [], async () => {
    const ended: Ended[] = [];
    for (let i = 0; i < 25; i++) ended.push(await runProgram(callsPath, ['race', callsPath, ...words]));
    return ended;
  });
  for (const ended of made) t.same(eventOf(t, events, ended, 'race')?.['argv'], ended.text.split('\0').slice(0, -1));
  t.ok(
    made.some(({ text }) => !text.includes('word-7\0')),
    'the other thread did write',
  );
});

void t.test('more arguments than an event holds', { skip }, async (t) => {
  const { events, made } = await traced('trace_exec', [], async () => ({
    fits: await runProgram(callsPath, ['long', callsPath, '40', '400']),
    long: await runProgram(callsPath, ['long', callsPath, '300', '100']),
    one: await runProgram(callsPath, ['long', callsPath, '1', '100000']),
    tooLong: await runProgram(callsPath, ['long', callsPath, '1', '200000']),
    tooMany: await runProgram(callsPath, ['long', callsPath, '40', '100000']),
  }));
  const args = (event: JsonEvent | undefined): string => String(event?.['args']);

  const fits = eventOf(t, events, made.fits, 'fits');
  t.equal(args(fits), made.fits.text.slice(0, -1).replaceAll('\0', ' '));
  t.equal(fits?.['argv_truncated'], false);
  for (const ended of [made.long, made.one]) {
    const event = eventOf(t, events, ended, 'long');
    t.equal(event?.['argv_truncated'], true);
    t.equal(event?.['args_size'], ended.stdout.length, 'the true length');
    t.equal(args(event), ended.text.slice(0, 16384).replaceAll('\0', ' '), 'as much as fits');
  }
  for (const ended of [made.tooLong, made.tooMany]) {
    const event = eventOf(t, events, ended, 'too long');
    t.equal(event?.['error'], 'E2BIG');
    t.equal(ended.text, `errno ${String(event?.['error_raw'])}\n`);
    t.equal(event?.['argv_truncated'], true);
    t.equal(args(event).length, 16384);
    t.ok(args(event).startsWith(`${callsPath} xxxxx`));
  }
  t.equal(eventOf(t, events, made.tooLong, 'too long')?.['args_size'], callsPath.length + 1 + 200001, 'the true length of a failed call');
});

void t.test('names that are not UTF-8', async (t) => {
  const name = Buffer.from(`${folder}/bad\xff\xc3name`, 'latin1');
  writeFileSync(name, readFileSync(callsPath));
  chmodSync(name, 0o755);
  const { events, made } = await traced('trace_exec', [], () =>
    runProgram('/bin/sh', ['-c', `exec "$(printf '${folder}/bad\\377\\303name')" "$(printf 'a\\200b')"`]),
  );
  const event = eventOf(t, events, made, 'not UTF-8');
  t.equal(event?.['file'], `${folder}/bad\ufffd\ufffdname`);
  t.equal(event?.proc.comm, 'bad\ufffd\ufffdname');
  t.same(event?.['argv'], [`${folder}/bad\ufffd\ufffdname`, 'a\ufffdb']);
});

const release = `
set -e
mkdir "$1/cgroup"
mount -t cgroup -o none,name=rawbpf-test cgroup "$1/cgroup"
echo "$1/agent" > "$1/cgroup/release_agent"
mkdir "$1/cgroup/released"
echo 1 > "$1/cgroup/released/notify_on_release"
sh -c "echo \\$\\$ > $1/cgroup/released/cgroup.procs"
for i in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/ran" ] && break; sleep 0.3; done
rmdir "$1/cgroup/released"
umount "$1/cgroup"
`;

void t.test('a program that the kernel itself starts', { skip: existsSync('/proc/cgroups') ? false : 'no cgroups' }, async (t) => {
  const agent = executable(
    'agent',
    `#!/bin/sh\necho "$$ $PPID $* $(readlink /proc/$$/cwd)" > ${folder}/started\nmv ${folder}/started ${folder}/ran\n`,
  );
  const { events, made } = await traced('trace_exec', [], () =>
    spawnSync('unshare', ['-m', 'sh', '-c', release, 'sh', folder], { encoding: 'utf8' }),
  );
  t.equal(made.status, 0, made.stderr);
  const [pid, parent, released, cwd] = readFileSync(path.join(folder, 'ran'), 'utf8').trim().split(' ');
  const own = events.filter((event) => event['file'] === agent);
  t.equal(own.length, 1);
  t.same(own[0]?.['argv'], ['/bin/sh', agent, '/released']);
  t.equal(released, '/released');
  t.match(own[0]?.proc, { pid: Number(pid), comm: 'agent', parent: { pid: Number(parent) } });
  // That of the first program of all.
  t.equal(own[0]?.['cwd'], cwd);
  t.equal(own[0]?.['exepath'], realpathSync('/bin/sh'));
  t.equal(own[0]?.['error'], '');
});

/** As many as an emulated machine starts in a minute. */
const count = slowness > 1 ? 300 : 3000;

void t.test(`${count} at once: each is shown once, and none is lost`, async (t) => {
  const { events, lost, received } = await traced('trace_exec', ['--comm', 'true'], () =>
    runProgram('/bin/sh', ['-c', `seq 1 ${count} | xargs -P 16 -I N /bin/true rawbpf-N`]),
  );
  t.equal(lost, 0);
  t.equal(received, events.length);
  const own = events.filter((event) => String(event['args']).startsWith('/bin/true rawbpf-'));
  t.equal(own.length, count);
  t.equal(new Set(own.map((event) => event['args'])).size, count, 'every argument once');
  t.equal(new Set(own.map((event) => event.proc.pid)).size, count, 'every process once');
  t.same([...new Set(own.map((event) => event.proc.parent.comm))], ['xargs']);
  t.same([...new Set(own.map((event) => event['exepath']))], [realpathSync('/bin/true')]);
});

void t.test('parameters', async (t) => {
  const work = async () => {
    await runProgram('/bin/sh', ['-c', '/nowhere/x 2>/dev/null; exec /bin/true param']);
    return runProgram(callsPath, ['exec', '/nowhere/program']);
  };
  const failed = await traced('trace_exec', ['--ignore-failed=true'], work);
  t.same(
    failed.events.filter((event) => event['error'] !== ''),
    [],
    '--ignore-failed',
  );
  t.ok(failed.events.some((event) => event['args'] === '/bin/true param'));

  const paths = await traced('trace_exec', ['--paths=false', '--comm', 'true'], work);
  const own = paths.events.find((event) => event['args'] === '/bin/true param');
  t.match(own, { cwd: '', exepath: '', parent_exepath: '', file: '/bin/true' }, '--paths=false');
  t.ok(
    paths.events.every((event) => event.proc.comm === 'true'),
    '--comm is that of the new program',
  );

  const nobody = await traced('trace_exec', ['--uid', '65534'], work);
  t.ok(
    nobody.events.every((event) => event.proc.creds.uid === 65534),
    '--uid',
  );
});
