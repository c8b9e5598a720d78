// The program as it is shipped: scripts/bundle.mjs makes it of the built modules.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { root } from '../support/examples.ts';
import { withoutFlagWarning } from '../support/patience.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-bundle-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const bundled = path.join(folder, 'rawbpf.cjs');
const modules = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');
const cache = path.join(folder, 'code');
const object = path.join(root, 'gadgets', 'trace_exec', 'program.bpf.o');

function run(program: string, ...args: readonly string[]): { stdout: string; stderr: string; status: number | null } {
  const env = { ...process.env, RAWBPF_CODE_CACHE: cache, NO_COLOR: '1' };
  const { stdout, stderr, status } = spawnSync(process.execPath, [program, ...args], { encoding: 'utf8', env, maxBuffer: 1 << 26 });
  return { stdout, stderr, status };
}

t.test('it is made', (t) => {
  // Without flags that a Node inside a test may have been given: some make V8 warn.
  const env = { ...process.env, NODE_OPTIONS: '' };
  const made = spawnSync(process.execPath, [path.join(root, 'scripts', 'bundle.mjs'), folder], { encoding: 'utf8', env });
  t.equal(made.status, 0, made.stderr);
  t.equal(made.stderr, '', 'without warnings');
  t.same(readdirSync(folder).toSorted(), ['btf.cjs', 'check.cjs', 'main.cjs', 'rawbpf.cjs']);
  for (const script of ['btf.cjs', 'check.cjs', 'main.cjs']) {
    const text = readFileSync(path.join(folder, script), 'latin1');
    t.match(text, 'Copyright Eemeli Aro', 'the licence of what is in it');
    t.notMatch(text, /[^\0-\x7f]/);
  }
  t.end();
});

t.test('it says what the modules say', (t) => {
  const calls = [
    ['--version'],
    ['--help'],
    ['list'],
    ['inspect', object],
    ['check', path.join(folder, 'no-such-file')],
    ['check', '--help'],
    ['check', object, '--insns', '-o', 'json'],
    ['btf', '--no-such-flag'],
    ['btf', 'dump', object, '--format', 'c'],
    ['no-such-command'],
  ];
  for (const args of calls) t.same(run(bundled, ...args), run(modules, ...args), args.join(' '));
  t.end();
});

t.test('compiled code is kept by the first run that ends well, and used by the next', (t) => {
  rmSync(cache, { recursive: true, force: true });
  t.equal(run(bundled, 'btf', 'dump', path.join(folder, 'no-such-file')).status, 1);
  t.throws(() => readdirSync(cache), 'not by one that fails');
  const { stdout } = run(bundled, 'btf', 'dump', object);
  const [name = '', ...others] = readdirSync(cache);
  t.match(name, /^btf-[0-9a-f]{16}-v/);
  t.same(others, []);
  const file = path.join(cache, name);
  const { ino, size } = statSync(file);
  t.ok(size > 50_000, `${size} bytes`);
  t.equal(run(bundled, 'btf', 'dump', object).stdout, stdout);
  t.equal(statSync(file).ino, ino, 'V8 accepts it: it was not made again');
  for (const damaged of [Buffer.alloc(0), Buffer.from('no code'), readFileSync(file).subarray(0, size >> 1)]) {
    writeFileSync(file, damaged);
    t.equal(run(bundled, 'btf', 'dump', object).stdout, stdout, `with ${damaged.length} bytes of it left`);
    t.ok(statSync(file).size > 50_000, 'it was made again');
  }
  t.end();
});

t.test('standard output that would block, and one that nobody reads', (t) => {
  const script = 'exec 3>&1; "$@" | { sleep 0.2; md5sum >&3; }; echo "${PIPESTATUS[0]}"';
  const args = ['btf', 'dump', object, '--format', 'json'];
  const digest = (...command: readonly string[]): string =>
    spawnSync('bash', ['-c', script, 'bash', ...command], { encoding: 'utf8', timeout: 60_000 }).stdout;
  const expected = digest(process.execPath, bundled, ...args);
  t.match(expected, /-\n0\n$/);
  const python = 'import os, sys; os.set_blocking(1, False); os.execvp(sys.argv[1], sys.argv[1:])';
  t.equal(digest('python3', '-c', python, process.execPath, bundled, ...args), expected, 'a pipe that does not block');
  const head = spawnSync('bash', ['-c', '"$@" | head -c 1; echo "${PIPESTATUS[0]}"', 'bash', process.execPath, bundled, ...args], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  t.equal(head.stdout, '{0\n');
  t.equal(withoutFlagWarning(head.stderr), '');
  const full = spawnSync('bash', ['-c', '"$@" > /dev/full', 'bash', process.execPath, bundled, ...args], { encoding: 'utf8' });
  t.equal(full.status, 1);
  t.match(withoutFlagWarning(full.stderr), /^rawbpf: cannot write to stdout: ENOSPC/);
  t.end();
});

t.test('it runs through a link, as npm makes one', (t) => {
  symlinkSync(bundled, path.join(folder, 'rawbpf'));
  t.equal(spawnSync(path.join(folder, 'rawbpf'), ['--version'], { encoding: 'utf8' }).stdout, run(modules, '--version').stdout);
  t.end();
});

t.test('a stack trace names functions', (t) => {
  const { stderr, status } = run(bundled, 'inspect', path.join(folder, 'no-such-file'), '--debug');
  t.equal(status, 1);
  t.match(stderr, /\n {4}at readFile \(.*main\.cjs:\d+:\d+\)\n/);
  t.match(stderr, /\n {4}at .*runProgram \(/);
  t.end();
});
