import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { FunctionOffsets } from '../../../src/bpf/link/function-offsets.ts';
import { parseLdCache } from '../../../src/bpf/link/ld-cache.ts';
import { findLibraries, isLibraryNamed, librariesOfProcess } from '../../../src/bpf/link/library.ts';

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-library-'));
t.teardown(() => rmSync(folder, { recursive: true }));

const ldconfig = ['/sbin/ldconfig', '/usr/sbin/ldconfig'].find((file) => existsSync(file));
const hasCache = ldconfig !== undefined && existsSync('/etc/ld.so.cache');

void t.test('the cache of the dynamic linker, as ldconfig prints it', { skip: hasCache ? false : 'there is no cache' }, (t) => {
  const arch = process.arch === 'x64' ? 'x86-64' : 'AArch64';
  const printed = spawnSync(ldconfig ?? '', ['-p'], { encoding: 'utf8' })
    .stdout.split('\n')
    .map((line) => /^\t(\S+) \(libc6,([^,)]+)[^)]*\) => (\S+)$/.exec(line))
    .flatMap((match) => (match !== null && match[2] === arch ? [{ name: match[1], path: match[3] }] : []));
  const parsed = parseLdCache(readFileSync('/etc/ld.so.cache'), process.arch);
  t.ok(parsed.length > 5);
  t.same(parsed, printed);
  t.same(parseLdCache(readFileSync('/etc/ld.so.cache').subarray(0, 70), process.arch), [], 'cut off');
  t.same(parseLdCache(new Uint8Array(0), process.arch), []);
  t.end();
});

void t.test('names of libraries', (t) => {
  for (const [file, library, is] of [
    ['libssl.so.3', 'libssl', true],
    ['libssl.so', 'libssl', true],
    ['libc-2.31.so', 'libc', true],
    ['ld-musl-x86_64.so.1', 'libc', true],
    ['libcrypto.so.3', 'libc', false],
    ['libssl3.so', 'libssl', false],
    ['libssl.so.1.1', 'libssl.so.3', false],
    ['libssl.so.3', 'libssl.so.3', true],
  ] as const) {
    t.equal(isLibraryNamed(file, library), is, `${file} for ${library}`);
  }
  t.end();
});

/** The files that a program needs: itself, its libraries, its dynamic linker. */
function filesOf(program: string): readonly string[] {
  const { stdout } = spawnSync('ldd', [program], { encoding: 'utf8' });
  return [program, ...stdout.split('\n').flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? [])];
}

void t.test('the library of a process in another root', async (t) => {
  const root = path.join(folder, 'root');
  for (const file of filesOf('/usr/bin/perl')) {
    mkdirSync(path.join(root, path.dirname(file)), { recursive: true });
    copyFileSync(realpathSync(file), path.join(root, file));
  }
  // Perl reads the text of -e as if from there.
  mkdirSync(path.join(root, 'dev'), { recursive: true });
  writeFileSync(path.join(root, 'dev/null'), '');
  const child = spawn('chroot', [root, '/usr/bin/perl', '-e', '$| = 1; print "ready\n"; <STDIN>'], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const files = librariesOfProcess('libc', pid);
  t.equal(files.length, 1);
  const [libc = ''] = files;
  const own = filesOf('/usr/bin/perl').find((file) => path.basename(file).startsWith('libc.so')) ?? '';
  t.equal(statSync(libc).ino, statSync(path.join(root, own)).ino, 'its own copy');
  t.not(statSync(libc).ino, statSync(own).ino, 'not that of the machine');

  const offsets = new FunctionOffsets();
  const nm = spawnSync('nm', ['-D', '--defined-only', libc], { encoding: 'utf8' });
  if (nm.status === 0) {
    const address = /^([0-9a-f]+) \w malloc(@|$)/m.exec(nm.stdout)?.[1];
    t.equal(
      offsets.find(libc, 'malloc'),
      Number.parseInt(address ?? '', 16),
      'where nm says, the code being mapped as it lies in the file',
    );
  }
  t.equal(offsets.find(libc, 'no_such_function'), null);
  t.same(librariesOfProcess('libnothing', pid), [`/proc/${pid}/exe`], 'or else its program, which may have the functions itself');
  rmSync(path.join(root, own));
  copyFileSync('/bin/true', path.join(root, own));
  const [mapped = ''] = librariesOfProcess('libc', pid);
  t.ok(mapped.startsWith(`/proc/${pid}/map_files/`), 'a library that was replaced is found where it is mapped');
  t.equal(new FunctionOffsets().find(mapped, 'malloc'), offsets.find(libc, 'malloc'));
  const ended = once(child, 'close');
  child.stdin.end('\n');
  await ended;
  t.throws(() => librariesOfProcess('libc', pid), { code: 'E_PROCESS' });
});

void t.test('links within another root do not lead out of it', (t) => {
  const root = path.join(folder, 'linked');
  mkdirSync(path.join(root, 'usr/lib'), { recursive: true });
  mkdirSync(path.join(root, 'real'), { recursive: true });
  const [libc = ''] = findLibraries('libc');
  copyFileSync(libc, path.join(root, 'real/library'));
  symlinkSync('/real/library', path.join(root, 'usr/lib/libabsolute.so.1'));
  symlinkSync('../../../../../../real/library', path.join(root, 'usr/lib/librelative.so.1'));
  symlinkSync('libloop.so.1', path.join(root, 'usr/lib/libloop.so.1'));
  writeFileSync(path.join(root, 'usr/lib/libscript.so'), 'GROUP ( /lib/libc.so.6 )\n');
  t.same(findLibraries('libabsolute', root), [path.join(root, 'real/library')]);
  t.same(findLibraries('librelative', root), [path.join(root, 'real/library')]);
  t.equal(spawnSync('mkfifo', [path.join(root, 'usr/lib/libfifo.so.1')]).status, 0);
  mkdirSync(path.join(root, 'etc'));
  t.equal(spawnSync('mkfifo', [path.join(root, 'etc/ld.so.cache')]).status, 0);
  t.same(findLibraries('libfifo', root), [], 'opening a FIFO would wait for ever');
  t.throws(() => new FunctionOffsets().find(path.join(root, 'usr/lib/libfifo.so.1'), 'f'), { code: 'E_BINARY' });
  t.throws(() => new FunctionOffsets().find(root, 'f'), { code: 'E_BINARY', where: { path: root } }, 'a folder');
  t.same(findLibraries('libloop', root), []);
  t.same(findLibraries('libscript', root), [], "a linker's script is no library");
  t.end();
});
