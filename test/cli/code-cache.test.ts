import { chmodSync, chownSync, linkSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { CodeCache } from '../../src/cli/code-cache.ts';

const code = new Uint8Array([1, 2, 3]);
const suffix = `-${process.version}-${process.arch}`;

function place(t: { teardown: (fn: () => void) => void }): { folder: string; env: NodeJS.ProcessEnv } {
  const parent = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-code-'));
  t.teardown(() => rmSync(parent, { recursive: true }));
  const folder = path.join(parent, 'code');
  return { folder, env: { RAWBPF_CODE_CACHE: folder } };
}

t.test('what is kept is found by the next run of the same command and build, and by no other', (t) => {
  const { folder, env } = place(t);
  const cache = CodeCache.for(['btf', 'dump', 'x'], 'one', env);
  t.equal(cache?.read(), null, 'no folder yet');
  cache?.write(code);
  t.same([...(cache?.read() ?? [])], [1, 2, 3]);
  t.same([...(CodeCache.for(['btf', 'min'], 'one', env)?.read() ?? [])], [1, 2, 3]);
  t.equal(CodeCache.for(['btf'], 'two', env)?.read(), null);
  t.equal(CodeCache.for(['check'], 'one', env)?.read(), null);
  t.equal(statSync(folder).mode & 0o777, 0o700);
  t.equal(statSync(path.join(folder, `btf-one${suffix}`)).mode & 0o777, 0o600);
  t.end();
});

t.test('an earlier build is removed, other commands and other versions of Node stay', (t) => {
  const { folder, env } = place(t);
  CodeCache.for(['check'], 'one', env)?.write(code);
  CodeCache.for(['btf'], 'one', env)?.write(code);
  writeFileSync(path.join(folder, 'btf-one-v1.2.3-x64'), '');
  CodeCache.for(['btf'], 'two', env)?.write(code);
  t.same(readdirSync(folder).toSorted(), [`btf-one-v1.2.3-x64`, `btf-two${suffix}`, `check-one${suffix}`].toSorted());
  t.end();
});

t.test('gadgets of a family share their code', (t) => {
  const { folder, env } = place(t);
  for (const args of [['trace_open'], ['-o', 'json', 'trace_exec'], ['top_file', '--timeout', '1'], ['./x.o'], ['--comm', '../../etc_x']]) {
    CodeCache.for(['run', ...args], 'b', env)?.write(code);
  }
  CodeCache.for(['list-containers'], 'b', env)?.write(code);
  t.same(
    readdirSync(folder).toSorted(),
    ['list_containers', 'run', 'run_top', 'run_trace'].map((name) => `${name}-b${suffix}`),
  );
  t.end();
});

t.test('help, versions and what is no command keep nothing', (t) => {
  const { env } = place(t);
  for (const args of [[], ['--version'], ['help'], ['run', '--help'], ['btf', '-h'], ['../x'], ['a/b'], ['Run'], ['x'.repeat(99)]]) {
    t.equal(CodeCache.for(args, 'b', env), null, args.join(' '));
  }
  t.equal(CodeCache.for(['run'], 'b', { RAWBPF_CODE_CACHE: 'off' }), null);
  t.end();
});

t.test('what others could have written is not read', (t) => {
  const { folder, env } = place(t);
  const cache = CodeCache.for(['btf'], 'b', env);
  const file = path.join(folder, `btf-b${suffix}`);
  const damages: readonly (readonly [string, () => void, () => void])[] = [
    ['a file that the group can write', () => chmodSync(file, 0o620), () => chmodSync(file, 0o600)],
    ['a file that all can write', () => chmodSync(file, 0o602), () => chmodSync(file, 0o600)],
    ['a folder that the group can write', () => chmodSync(folder, 0o770), () => chmodSync(folder, 0o700)],
    ['a folder above that all can write', () => chmodSync(path.dirname(folder), 0o777), () => chmodSync(path.dirname(folder), 0o700)],
    ['a file with another name elsewhere', () => linkSync(file, `${folder}/../other`), () => rmSync(`${folder}/../other`)],
    [
      'a link to a file',
      () => {
        writeFileSync(`${folder}/../other`, code);
        rmSync(file);
        symlinkSync('../other', file);
      },
      () => {
        rmSync(file);
        writeFileSync(file, code, { mode: 0o600 });
      },
    ],
    [
      'a folder instead of a file',
      () => {
        rmSync(file);
        mkdirSync(file);
      },
      () => rmSync(file, { recursive: true }),
    ],
  ];
  cache?.write(code);
  for (const [what, damage, mend] of damages) {
    t.equal(cache?.read()?.length, 3, `before: ${what}`);
    damage();
    t.equal(cache?.read(), null, what);
    mend();
  }
  t.end();
});

t.test('the folder of another user is not used', { skip: process.geteuid?.() !== 0 && 'only root can give files away' }, (t) => {
  const { folder, env } = place(t);
  const cache = CodeCache.for(['btf'], 'b', env);
  cache?.write(code);
  for (const owned of [path.join(folder, `btf-b${suffix}`), folder, path.dirname(folder)]) {
    chownSync(owned, 12345, 12345);
    t.equal(cache?.read(), null, owned);
    chownSync(owned, 0, 0);
  }
  t.equal(cache?.read()?.length, 3);
  chownSync(path.dirname(folder), 12345, 12345);
  rmSync(folder, { recursive: true });
  cache?.write(code);
  t.same(readdirSync(folder), [], 'nothing is left for them either');
  t.end();
});

t.test('without RAWBPF_CODE_CACHE it is the user cache, and a relative XDG_CACHE_HOME is ignored', (t) => {
  const { folder } = place(t);
  CodeCache.for(['btf'], 'b', { XDG_CACHE_HOME: folder })?.write(code);
  t.same(readdirSync(path.join(folder, 'rawbpf', 'code')), [`btf-b${suffix}`]);
  t.equal(CodeCache.for(['btf'], 'no such build', { XDG_CACHE_HOME: '.' })?.read(), null);
  t.end();
});

t.test('a folder that cannot be written is no error', (t) => {
  const { folder, env } = place(t);
  writeFileSync(folder, '');
  t.doesNotThrow(() => CodeCache.for(['btf'], 'b', env)?.write(code));
  t.equal(CodeCache.for(['btf'], 'b', env)?.read(), null);
  t.end();
});
