// The runtimes' Debian packages, downloaded and unpacked into a cache folder: nothing is installed on the machine.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { privateApt } from '../vm/packages.mjs';

/** For containers without a daemon, fetched when they are first asked for. */
const BARE_PACKAGES = ['runc', 'crun', 'lxc', 'systemd-container', 'busybox-static'];
const BARE_PROGRAMS = ['runc', 'crun', 'lxc-execute', 'systemd-nspawn', 'busybox'];

const PACKAGES = [
  'containerd',
  'runc',
  'docker.io',
  'podman',
  'conmon',
  'catatonit',
  'netavark',
  'containernetworking-plugins',
  'busybox-static',
  'etcd-server',
];
/** Programs that prove the cache complete, with the folder below which they lie. */
const PROGRAMS = ['containerd', 'containerd-shim-runc-v2', 'ctr', 'runc', 'dockerd', 'docker', 'podman', 'conmon', 'etcd'];

export const cacheFolder = process.env.RAWBPF_RIG_CACHE ?? path.join(os.homedir(), '.cache', 'rawbpf-rig');

/** As {@link fetchRuntimes}, for runc, crun, lxc and systemd-nspawn, in a folder of their own. */
export const fetchBareRuntimes = (options = {}) =>
  fetchRuntimes({ ...options, packages: BARE_PACKAGES, programs: BARE_PROGRAMS, suffix: '-bare' });

/** Fetches what is missing. Returns folders and the environment in which the unpacked programs run. */
export function fetchRuntimes({
  packages = PACKAGES,
  programs = PROGRAMS,
  suffix = '',
  say = (text) => process.stderr.write(`rig: ${text}\n`),
  cache = cacheFolder,
} = {}) {
  const release = hostRelease();
  const arch = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();
  const tree = path.join(cache, `${release}-${arch}${suffix}`);
  const found = environment(tree);
  if (fs.existsSync(path.join(tree, 'complete')) && programs.every((name) => which(name, found.env.PATH) !== null)) return found;
  say(`fetching container runtimes once, into ${tree}`);
  const apt = privateApt([release, `${release}-security`], { cache, arch, status: '/var/lib/dpkg/status', say });
  const temporary = `${tree}.new-${process.pid}`;
  try {
    fs.mkdirSync(temporary, { recursive: true });
    // Recommended packages are named above; libraries that this machine lacks come as dependencies.
    for (const name of apt.missing(packages)) apt.unpack(name, temporary);
    fs.writeFileSync(path.join(temporary, 'complete'), '');
    fs.rmSync(tree, { recursive: true, force: true });
    fs.renameSync(temporary, tree);
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
  const fetched = environment(tree);
  const missing = programs.filter((name) => which(name, fetched.env.PATH) === null);
  if (missing.length > 0) throw new Error(`the packages of ${release} lack ${missing.join(', ')}`);
  return fetched;
}

/** PATH and libraries: the cache first, then the machine, which may have some of the packages installed. */
function environment(tree) {
  const below = (...folders) => folders.map((folder) => path.join(tree, folder));
  const triplet = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }[process.arch] ?? '';
  const PATH = [...below('usr/sbin', 'usr/bin', 'sbin', 'bin'), '/usr/sbin', '/usr/bin', '/sbin', '/bin'].join(':');
  const env = { ...process.env, PATH };
  env.LD_LIBRARY_PATH = below(`usr/lib/${triplet}`, `lib/${triplet}`, 'usr/lib', `usr/lib/${triplet}/systemd`).join(':');
  const cni = [...below('usr/lib/cni'), '/usr/lib/cni'].find((folder) => fs.existsSync(path.join(folder, 'bridge'))) ?? '/usr/lib/cni';
  // In no suite of Debian's: one that somebody built, or that a distribution has.
  const crio = process.env.RAWBPF_CRIO ?? which('crio', PATH);
  return { tree, env, cni, crio };
}

/** Where a program of PATH is; null where it is not. */
export function which(name, PATH) {
  return (
    PATH.split(':')
      .map((folder) => path.join(folder, name))
      .find((file) => fs.existsSync(file)) ?? null
  );
}

function hostRelease() {
  const text = fs.readFileSync('/etc/os-release', 'utf8');
  return /^VERSION_CODENAME=(\w+)/m.exec(text)?.[1] ?? 'bookworm';
}
