// What containers without a daemon run from: a root directory of busybox, and a bundle's config.json to fill in (bare.sh).
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { makeRoot } from './image.mjs';
import { fetchBareRuntimes } from './packages.mjs';

/** Runtimes that bare.sh knows. */
export const BARE = ['runc', 'crun', 'lxc', 'systemd-nspawn'];

const script = new URL('bare.sh', import.meta.url).pathname;
/** systemd-nspawn keeps folders here. */
const NSPAWN = '/run/systemd/nspawn';

/** The command before NAME and COMMAND. */
export const bareCommand = (rig, runtime) => [script, rig.dir, runtime];

/** The rig's environment, with these runtimes behind what it has. */
export function bareEnvironment(env) {
  const { env: bare } = fetchBareRuntimes();
  const joined = (name) => [...new Set([...(env[name] ?? '').split(':'), ...bare[name].split(':')])].filter(Boolean).join(':');
  return { ...env, PATH: joined('PATH'), LD_LIBRARY_PATH: joined('LD_LIBRARY_PATH') };
}

export function prepareBare(rig) {
  const root = path.join(rig.dir, 'rootfs');
  if (fs.existsSync(root)) return;
  makeRoot(root, { env: rig.env });
  // systemd-nspawn wants to know that it is a system, and lxc's own init has to fit in.
  for (const folder of ['usr/lib', 'run', 'var', 'root', 'dev/pts']) fs.mkdirSync(path.join(root, folder), { recursive: true });
  fs.writeFileSync(path.join(root, 'usr/lib/os-release'), 'ID=rigbox\n');
  fs.writeFileSync(path.join(root, 'init.lxc.static'), '');
  const bundle = path.join(rig.dir, 'bare');
  fs.mkdirSync(bundle, { recursive: true });
  execFileSync('runc', ['spec'], { cwd: bundle, env: rig.env });
  const spec = JSON.parse(fs.readFileSync(path.join(bundle, 'config.json'), 'utf8'));
  Object.assign(spec.process, { terminal: false, args: ['@WORDS@'], rlimits: [] });
  Object.assign(spec, { hostname: '@NAME@', root: { path: '@ROOTFS@', readonly: true } });
  fs.writeFileSync(path.join(rig.dir, 'bundle.json'), JSON.stringify(spec).replace('"@WORDS@"', '@WORDS@'));
  fs.rmSync(path.join(bundle, 'config.json'));
}

/** Whether the machine has systemd-nspawn's folders of its own. */
export const hasNspawn = () => fs.existsSync(NSPAWN);

export function removeNspawn() {
  fs.rmSync(NSPAWN, { recursive: true, force: true });
}
