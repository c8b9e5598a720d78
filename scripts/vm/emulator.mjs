// Which QEMU: the system's, or a newer one of Debian's backports, fetched once.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { privateApt } from './packages.mjs';

// Debian 12's QEMU 7.2 now and then runs old code where a kernel has patched its own (jump labels, int3) with two CPUs emulated in
// threads of their own: guests hung or oopsed. 10.0 was not seen to.
const WANTED = 10;

/** { command, firmware }: the program to start, and the folders to give as -L (none: its own). */
export function emulator(options) {
  const program = options.arch === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64';
  const system = { command: program, firmware: [] };
  if (options.qemu === 'system' || versionOf(program) >= WANTED) return system;
  const root = path.join(options.cache, `qemu-${options.arch}`);
  const fetched = {
    command: path.join(root, 'usr/bin', program),
    firmware: ['usr/share/qemu', 'usr/share/seabios'].map((folder) => path.join(root, folder)),
  };
  try {
    if (!fs.existsSync(root)) fetch(root, options);
    if (versionOf(fetched.command) >= WANTED) return fetched;
    throw new Error('it does not run here');
  } catch (error) {
    process.stderr.write(`vm-run: QEMU ${WANTED} of Debian's backports: ${error.stderr || error.message}; going on with the system's\n`);
    return system;
  }
}

function versionOf(program) {
  try {
    const text = execFileSync(program, ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
    return Number(/version (\d+)/.exec(text)?.[1] ?? 0);
  } catch {
    return 0;
  }
}

function fetch(root, options) {
  const suite = /^VERSION_CODENAME=(\w+)/m.exec(fs.readFileSync('/etc/os-release', 'utf8'))?.[1];
  if (suite === undefined) throw new Error('not a Debian release');
  process.stderr.write(`vm-run: fetching QEMU of ${suite}-backports once, into ${root}\n`);
  const apt = privateApt([suite, `${suite}-backports`], {
    ...options,
    arch: process.arch === 'arm64' ? 'arm64' : 'amd64',
    status: '/var/lib/dpkg/status',
  });
  const part = `${root}.new-${process.pid}`;
  process.on('exit', () => fs.rmSync(part, { recursive: true, force: true }));
  const packages = options.arch === 'arm64' ? ['qemu-system-arm', 'qemu-system-data'] : ['qemu-system-x86', 'qemu-system-data', 'seabios'];
  for (const name of packages) apt.unpack(`${name}/${suite}-backports`, part);
  fs.renameSync(part, root); // last: a complete folder
}
