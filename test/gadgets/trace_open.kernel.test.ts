import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { namesOf, namespaceOf } from '../support/process.ts';
import { calls32Path, callsPath, runProgram } from '../support/calls.ts';
import { skippedRuns } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const skip = process.arch === 'x64' ? false : 'the program that makes the calls is for x86-64';

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-open-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** How a line of `calls opens` is to be shown: of each call in fixtures/calls/calls.c, what the source says. */
interface Expected {
  readonly call: string;
  readonly fname: string;
  readonly flags: string;
  readonly mode?: string;
  readonly dirfd?: 'directory';
  /** Where the file lies, when that is not fname. */
  readonly fpath?: string;
}

function expected(dir: string): ReadonlyMap<string, Expected> {
  const create = 'O_RDWR|O_CREAT';
  return new Map<string, Expected>([
    ['open', { call: 'open', fname: `${dir}/open`, flags: create, mode: '-rw-r-----' }],
    ['creat', { call: 'creat', fname: `${dir}/creat`, flags: 'O_WRONLY|O_CREAT|O_TRUNC', mode: '-rw-------' }],
    ['openat', { call: 'openat', fname: `${dir}/open`, flags: 'O_RDWR' }],
    ['directory', { call: 'openat', fname: dir, flags: 'O_RDONLY|O_DIRECTORY|O_CLOEXEC' }],
    ['openat-dir', { call: 'openat', fname: 'open', flags: 'O_RDONLY', dirfd: 'directory', fpath: `${dir}/open` }],
    ['openat2', { call: 'openat2', fname: `${dir}/openat2`, flags: create, mode: '-rw----r--' }],
    ['handle', { call: 'open_by_handle_at', fname: `${dir}/open`, flags: 'O_RDWR', dirfd: 'directory' }],
    ['missing', { call: 'openat', fname: `${dir}/missing`, flags: 'O_RDONLY' }],
    ['strange', { call: 'openat', fname: `${dir}/a\n\u001b[31m"\\\ufffd\ufffd`, flags: 'O_RDONLY' }],
    ['unreadable', { call: 'openat', fname: '', flags: 'O_RDONLY' }],
    ['open32', { call: 'open', fname: `${dir}/open`, flags: 'O_RDONLY' }],
    ['creat32', { call: 'creat', fname: `${dir}/creat32`, flags: 'O_WRONLY|O_CREAT|O_TRUNC', mode: '-rw---x-w-' }],
    ['openat32', { call: 'openat', fname: `${dir}/openat32`, flags: create, mode: '-rw-----wx' }],
    ['missing32', { call: 'open', fname: `${dir}/missing32`, flags: 'O_RDONLY' }],
    ['names', { call: 'openat', fname: `${dir}/names`, flags: 'O_RDWR|O_CREAT|O_TRUNC', mode: '-rw-------' }],
    ['late', { call: 'openat', fname: `${dir}/open`, flags: 'O_RDONLY' }],
    // The kernel itself sets O_LARGEFILE in the requests of a ring.
    ['ring', { call: 'io_uring', fname: `${dir}/ring`, flags: `${create}|O_LARGEFILE`, mode: '-rw-----w-' }],
    ['ring-async', { call: 'io_uring', fname: `${dir}/ring-async`, flags: `${create}|O_LARGEFILE`, mode: '-rw-----w-' }],
    ['ring-missing', { call: 'io_uring', fname: `${dir}/missing-ring`, flags: 'O_RDONLY|O_LARGEFILE' }],
    ['ring2', { call: 'io_uring', fname: `${dir}/ring2`, flags: `${create}|O_LARGEFILE`, mode: '-rw------x' }],
  ]);
}

void t.test('files opened in every way', { skip }, async (t) => {
  for (const paths of [true, false]) {
    const dir = path.join(folder, `files-${paths}`);
    mkdirSync(dir);
    const { events, lost, stderr, made } = await traced('trace_open', [`--paths=${paths}`], () =>
      runProgram(callsPath, ['opens', dir], folder),
    );
    t.equal(lost, 0, stderr);

    // The program itself says what each call gave.
    const results = new Map(
      made.text
        .trim()
        .split('\n')
        .map((line) => [line.split(' ')[0] ?? '', Number(line.split(' ')[1])]),
    );
    // The file with the name for `late`, whose result it keeps to itself.
    results.set('names', (results.get('openat32') ?? 0) + 1);
    t.ok(results.has('ring'), 'io_uring works here');
    const own = events.filter(({ proc }) => proc.pid === made.pid && proc.comm.startsWith('calls'));
    // Before it is `calls`, the process opens /dev/null.
    t.equal(own.length, results.size, 'one event for each call');
    const directory = results.get('directory') ?? 0;

    const rest = new Set<JsonEvent>(own);
    for (const [name, { call, fname, flags, mode, dirfd, fpath }] of expected(dir)) {
      const result = results.get(name);
      if (result === undefined) continue;
      const fits = (event: JsonEvent): boolean =>
        event['call'] === call && event['fname'] === fname && (result < 0 ? event['error_raw'] === -result : event['fd'] === result);
      const event = [...rest].find(fits);
      t.ok(event, `${name}: ${call} ${JSON.stringify(fname)} ${result}`);
      if (event === undefined) continue;
      rest.delete(event);
      t.equal(event['flags'], flags, `${name}: flags`);
      t.equal(event['mode'], mode ?? '----------', `${name}: mode`);
      t.equal(event['dirfd'], dirfd === undefined ? -100 : directory, `${name}: dirfd`);
      t.equal(event['error'] === '', result >= 0, `${name}: error`);
      t.equal(event['cwd'], paths ? folder : '', `${name}: cwd`);
      t.equal(event['exepath'], paths ? callsPath : '', `${name}: exepath`);
      const found = result < 0 || (!paths && name !== 'handle') ? '' : (fpath ?? fname);
      t.equal(event['fpath'], found, `${name}: fpath`);
      const creds = { uid: 0, gid: 0, ...namesOf(0, 0) };
      const mntns_id = namespaceOf('mnt');
      t.match(event.proc, { comm: 'calls', pid: made.pid, tid: made.pid, mntns_id, creds, parent: { pid: process.pid } }, name);
      const time = Number(event['timestamp_raw']) / 1e6;
      t.ok(time >= made.from - 1 && time <= made.to + 1, `${name}: time`);
    }
    t.same([...rest], [], 'no event that is not expected');
  }
});

void t.test('a 32-bit program', { skip }, async (t) => {
  const { events, made } = await traced('trace_open', [], () => runProgram(calls32Path, ['open', '/etc/passwd']));
  const own = events.filter(({ proc }) => proc.pid === made.pid && proc.comm.startsWith('calls'));
  t.equal(own.length, 1);
  t.match(own[0], { fname: '/etc/passwd', call: 'openat', error: '', proc: { comm: 'calls32' } });
  t.equal(`openat ${String(own[0]?.['fd'])}\n`, made.text);
});

void t.test('paths: symbolic links, removed files, long names', async (t) => {
  const target = path.join(folder, 'target');
  const link = path.join(folder, 'link');
  const deep = path.join(folder, ...Array.from({ length: 15 }, (_, i) => `${i}-${'y'.repeat(200)}`));
  mkdirSync(deep, { recursive: true });
  writeFileSync(target, 'x');
  writeFileSync(`${deep}/file`, 'x');
  symlinkSync(target, link);
  // The shell opens a file, removes it, and opens it again by its descriptor.
  const command = `cat ${link} ${deep}/file; exec 3<${target}; rm ${target}; cat /proc/self/fd/3`;
  const { events } = await traced('trace_open', ['--paths', '--comm', 'cat'], () => runProgram('/bin/sh', ['-c', command]));
  const pathOf = (fname: string): unknown => events.find((event) => event['fname'] === fname)?.['fpath'];
  t.equal(pathOf(link), realpathSync(folder) + '/target');
  t.equal(pathOf(`${deep}/file`), `${deep}/file`, 'more than 3000 bytes');
  t.equal(pathOf('/proc/self/fd/3'), `${target} (deleted)`, 'as /proc/PID/fd shows it');
});

void t.test('parameters', async (t) => {
  const work = () => runProgram('/bin/sh', ['-c', 'cat /etc/passwd /nowhere/file 2>/dev/null; head -c1 /etc/group']);
  const failed = await traced('trace_open', ['--failed'], work);
  t.ok(
    failed.events.every((event) => event['error'] !== ''),
    '--failed',
  );
  t.ok(failed.events.some((event) => event['fname'] === '/nowhere/file' && event['error'] === 'ENOENT'));

  const named = await traced('trace_open', ['--comm', 'head'], work);
  t.ok(named.events.some((event) => event['fname'] === '/etc/group'));
  t.ok(
    named.events.every((event) => event.proc.comm === 'head'),
    '--comm',
  );
});

void t.test('many at once: each is shown once, and none is lost', async (t) => {
  const count = 2000;
  const { events, lost, received, stderr } = await traced('trace_open', ['--comm', 'cat'], () =>
    runProgram('/bin/sh', ['-c', `cd ${folder}; seq -f 'many-%g' 1 ${count} | tee list | xargs touch; xargs -P 4 -n 50 cat < list`]),
  );
  t.equal(lost, 0);
  t.equal(received, events.length);
  const own = events.filter((event) => String(event['fname']).startsWith('many-'));
  const skipped = skippedRuns(stderr);
  t.ok(own.length <= count && own.length + skipped >= count, `${own.length} of ${count}, ${skipped} skipped by the kernel`);
  t.equal(new Set(own.map((event) => event['fname'])).size, own.length);
});
