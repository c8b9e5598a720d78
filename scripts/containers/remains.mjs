// Takes away what daemons and containers leave: shims, mounts, network namespaces, bridges, cgroups. Only what is this rig's.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { startTime } from './daemons.mjs';
import { cacheFolder } from './packages.mjs';

/** Cgroup folders that runtimes make below each hierarchy's root and leave when they end. */
const PARENTS = ['docker', 'default', 'moby', 'k8s.io', 'kubepods', 'libpod_parent', 'lxc.pivot'];

/** Processes of this rig: those that name its folder among their arguments, and their descendants. */
export function rigProcesses(dir) {
  const all = [];
  for (const name of fs.readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, 'utf8');
      const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
      const args = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
      all.push({ pid: Number(name), parent, args, started: startTime(Number(name)) });
    } catch {
      // It ended meanwhile.
    }
  }
  const mine = new Set();
  for (const each of all) {
    const shim = /(?:containerd-shim\S*|conmon|dockerd|containerd|podman)$/.test(each.args[0] ?? '');
    if (shim && each.args.some((arg) => arg === dir || arg.includes(`${dir}/`))) mine.add(each.pid);
  }
  for (let before = -1; before !== mine.size;) {
    before = mine.size;
    for (const each of all) if (mine.has(each.parent)) mine.add(each.pid);
  }
  return all.filter((each) => mine.has(each.pid));
}

/** Kills what is left of the rig's processes, the youngest first, each by its id. */
export async function endProcesses(dir) {
  for (let round = 0; round < 40; round++) {
    const left = rigProcesses(dir).filter((each) => each.started !== null);
    if (left.length === 0) return;
    for (const each of left.toReversed()) {
      if (startTime(each.pid) !== each.started) continue;
      try {
        process.kill(each.pid, 'SIGKILL');
      } catch {
        // It ended meanwhile.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Mount points below the rig's folder, innermost first. */
export function rigMounts(dir) {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .map((line) => (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8))))
    .filter((point) => point === dir || point.startsWith(`${dir}/`))
    .toReversed();
}

export function unmountAll(dir) {
  for (let round = 0; round < 3; round++) {
    for (const point of rigMounts(dir)) quietly('umount', round < 2 ? [point] : ['-l', point]);
  }
}

export function removeBridge(name) {
  if (fs.existsSync(`/sys/class/net/${name}`)) quietly('ip', ['link', 'delete', name]);
}

/**
 * Folders of {@link PARENTS}, in every hierarchy, that are the machine's own: those that were there before any rig since it was booted.
 * What others are missing now will be a rig's; that is written down, for rigs that start while another one runs.
 */
export function foreignCgroups() {
  const file = path.join(cacheFolder, 'cgroups.json');
  const boot = fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  let known = { boot, ours: [] };
  try {
    const written = JSON.parse(fs.readFileSync(file, 'utf8'));
    if (written.boot === boot) known = written;
  } catch {
    // No rig has been here.
  }
  const all = cgroupRoots().flatMap((root) => PARENTS.map((name) => path.join(root, name)));
  const ours = new Set([...known.ours, ...all.filter((folder) => !fs.existsSync(folder))]);
  fs.mkdirSync(cacheFolder, { recursive: true });
  fs.writeFileSync(`${file}.${process.pid}`, JSON.stringify({ boot, ours: [...ours] }));
  fs.renameSync(`${file}.${process.pid}`, file);
  return all.filter((folder) => !ours.has(folder));
}

/** Removes empty cgroups that are not the machine's own. A process that has just ended keeps its own for a moment. */
export async function removeCgroups(foreign) {
  const kept = new Set(foreign);
  for (let round = 0; round < 8; round++) {
    const left = cgroupRoots()
      .flatMap((root) => PARENTS.map((name) => path.join(root, name)))
      .filter((folder) => fs.existsSync(folder) && !kept.has(folder));
    if (left.length === 0) return;
    for (const folder of left) removeEmpty(folder);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function removeEmpty(folder) {
  try {
    for (const entry of fs.readdirSync(folder, { withFileTypes: true }))
      if (entry.isDirectory()) removeEmpty(path.join(folder, entry.name));
    fs.rmdirSync(folder);
  } catch {
    // Another rig's, or the machine's own, containers are in it.
  }
}

function cgroupRoots() {
  return fs
    .readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => / - cgroup2? /.test(line))
    .map((line) => line.split(' ')[4]);
}

function quietly(command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore', timeout: 10_000 });
  } catch {
    // What is still there is looked for afterwards.
  }
}
