#!/usr/bin/env node
// Real container runtimes for tests, on sockets of their own, with nothing installed and nothing left behind.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { BARE, bareCommand, bareEnvironment, hasNspawn, prepareBare, removeNspawn } from './bare.mjs';
import { Cri } from './cri.mjs';
import { loadIntoCrio } from './crio.mjs';
import { configure, endDaemon, layout, NEEDS, runIn, startDaemon, startTime } from './daemons.mjs';
import { makeImage } from './image.mjs';
import { fetchRuntimes } from './packages.mjs';
import { endProcesses, foreignCgroups, removeBridge, removeCgroups, rigMounts, rigProcesses, unmountAll } from './remains.mjs';

const HELP = `Real container runtimes for tests, below one folder.

  node scripts/containers/rig.mjs start RUNTIME...        docker, containerd, podman, cri; prints JSON: sockets, clients, image
                                                          cri-o: where RAWBPF_CRIO or PATH has it (Debian does not)
                                                          runc, crun, lxc, systemd-nspawn: without a daemon
  node scripts/containers/rig.mjs exec RUNTIME ARGS...    runs the runtime's client: docker, ctr, podman; of the others NAME COMMAND...
  node scripts/containers/rig.mjs pod NAME [CONTAINER=COMMAND...]   a pod through CRI; prints JSON: ids
       --namespace N  --uid UID  --label K=V  --host-network  --share-pid  --runtime cri-o (else containerd's)
  node scripts/containers/rig.mjs unpod SANDBOX           removes a pod [--runtime cri-o]
  node scripts/containers/rig.mjs once POD NAME WORD...   runs a container to its end in a pod, which is what \`pod\` printed
  node scripts/containers/rig.mjs with RUNTIME... -- COMMAND   starts, runs COMMAND with the JSON in RAWBPF_RIG, stops
  node scripts/containers/rig.mjs status                  daemons, processes and mounts of the rig
  node scripts/containers/rig.mjs stop                    removes every container, ends the daemons, tidies up
  node scripts/containers/rig.mjs fetch                   only fetches the packages

  --dir DIR   where everything lies (default $RAWBPF_RIG_DIR or ${path.join(os.tmpdir(), 'rawbpf-rig')}); two folders are two rigs

The image is called rigbox:1 (docker), docker.io/library/rigbox:1 (containerd, cri, podman): busybox and its applets in /bin.
Packages come from the host's Debian release into ~/.cache/rawbpf-rig ($RAWBPF_RIG_CACHE). Needs root.
`;
/** CNI's bridge plugin turns this on. */
const FORWARDING = '/proc/sys/net/ipv4/ip_forward';
const IMAGE = 'docker.io/library/rigbox:1';

/** Reads what a rig's folder says of itself; null where there is none. */
function readState(rig) {
  try {
    return JSON.parse(fs.readFileSync(rig.state, 'utf8'));
  } catch {
    return null;
  }
}

const writeState = (rig, state) => fs.writeFileSync(rig.state, JSON.stringify(state, null, 1));

async function start(rig, found, runtimes) {
  fs.mkdirSync(rig.dir, { recursive: true });
  const state = readState(rig) ?? {
    daemons: [],
    cgroups: foreignCgroups(),
    forwarding: fs.readFileSync(FORWARDING, 'utf8'),
    images: [],
    nspawn: hasNspawn(),
  };
  configure(rig, found);
  if (!fs.existsSync(rig.image)) {
    makeImage(rig.image, 'rigbox', found);
    makeImage(`${rig.image}.pause`, 'rigpause', found);
  }
  writeState(rig, state);
  for (const runtime of runtimes) {
    for (const name of NEEDS[runtime]) {
      if (state.daemons.some((each) => each.name === name && startTime(each.pid) === each.started)) continue;
      state.daemons = state.daemons.filter((each) => each.name !== name);
      state.daemons.push(await startDaemon(rig, name, rig.sockets[name]));
      writeState(rig, state);
    }
    if (BARE.includes(runtime)) {
      prepareBare(rig);
      continue;
    }
    if (state.images.includes(runtime)) continue;
    if (runtime === 'cri-o') {
      for (const image of [rig.image, `${rig.image}.pause`]) await patiently(() => loadIntoCrio(rig, image));
      state.images.push(runtime);
      writeState(rig, state);
      continue;
    }
    const load = { docker: ['load', '-i'], podman: ['load', '-i'], containerd: ['image', 'import'], cri: ['image', 'import'] }[runtime];
    await patiently(() => runIn(rig, [...rig.cli[runtime], ...load, rig.image]));
    if (runtime === 'cri') runIn(rig, [...rig.cli.cri, ...load, `${rig.image}.pause`]);
    state.images.push(runtime);
    writeState(rig, state);
  }
  return describe(rig, runtimes);
}

function describe(rig, runtimes) {
  const of = (runtime) => ({ socket: rig.sockets[runtime], cli: clientOf(rig, runtime), image: runtime === 'docker' ? 'rigbox:1' : IMAGE });
  const env = Object.fromEntries(Object.entries(rig.env).filter(([key, value]) => process.env[key] !== value));
  return { dir: rig.dir, bridge: rig.bridge, runtimes: Object.fromEntries(runtimes.map((name) => [name, of(name)])), env };
}

const clientOf = (rig, runtime) => (BARE.includes(runtime) ? bareCommand(rig, runtime) : rig.cli[runtime]);

async function stop(rig) {
  const state = readState(rig) ?? { daemons: [], cgroups: foreignCgroups() };
  const running = (name) => state.daemons.some((each) => each.name === name && startTime(each.pid) === each.started);
  // Politely first: networks are given back, mounts undone.
  if (running('docker')) await attempt('docker', () => removeAll(rig, 'docker', ['ps', '-aq'], ['rm', '-f']));
  if (running('containerd')) {
    await attempt('pods', () => removePods(rig.sockets.cri));
    for (const space of ['default', 'moby', 'k8s.io']) await attempt(`namespace ${space}`, () => removeTasks(rig, space));
  }
  if (running('cri-o')) await attempt('pods of CRI-O', () => removePods(rig.sockets['cri-o']));
  if (fs.existsSync(path.join(rig.dir, 'podman/root/libpod'))) {
    await attempt('podman', () => removeAll(rig, 'podman', ['ps', '-aq'], ['rm', '-f', '-t', '0']));
  }
  for (const daemon of state.daemons.toReversed()) await endDaemon(daemon);
  await endProcesses(rig.dir);
  unmountAll(rig.dir);
  removeBridge(rig.bridge);
  await removeCgroups(state.cgroups);
  if (state.nspawn === false) removeNspawn();
  if (state.forwarding !== undefined) fs.writeFileSync(FORWARDING, state.forwarding);
  const mounts = rigMounts(rig.dir);
  if (mounts.length > 0) throw new Error(`still mounted: ${mounts.join(', ')}`);
  fs.rmSync(rig.dir, { recursive: true, force: true });
}

function removeAll(rig, runtime, list, remove) {
  const ids = runIn(rig, [...rig.cli[runtime], ...list])
    .split('\n')
    .filter(Boolean);
  if (ids.length > 0) runIn(rig, [...rig.cli[runtime], ...remove, ...ids]);
}

async function removePods(socket) {
  const cri = new Cri(socket);
  try {
    for (const id of await cri.pods()) await cri.stopPod(id);
  } finally {
    cri.close();
  }
}

function removeTasks(rig, space) {
  const ctr = ['ctr', '-a', rig.sockets.containerd, '-n', space];
  const listed = (args) =>
    runIn(rig, [...ctr, ...args])
      .split('\n')
      .filter(Boolean);
  for (const id of listed(['task', 'ls', '-q'])) runIn(rig, [...ctr, 'task', 'rm', '-f', id]);
  for (const id of listed(['container', 'ls', '-q'])) runIn(rig, [...ctr, 'container', 'rm', id]);
}

async function attempt(what, action) {
  try {
    await action();
  } catch (error) {
    process.stderr.write(`rig: ${what}: ${String(error.stderr ?? error.message).trim()}\n`);
  }
}

/** A daemon's socket is open a moment before all of its services are. */
async function patiently(action) {
  for (let tries = 0; ; tries++) {
    try {
      return action();
    } catch (error) {
      if (tries === 20) throw new Error(String(error.stderr ?? error.message), { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }
}

async function pod(rig, name, commands, given) {
  const containers = Object.fromEntries(
    commands.map((text) => [text.slice(0, text.indexOf('=')), split(text.slice(text.indexOf('=') + 1))]),
  );
  const labels = Object.fromEntries((given.label ?? []).map((text) => text.split('=', 2)));
  const cri = new Cri(rig.sockets[given.runtime]);
  try {
    const made = await cri.startPod({
      name,
      ...(given.namespace === undefined ? {} : { namespace: given.namespace }),
      ...(given.uid === undefined ? {} : { uid: given.uid }),
      labels,
      containers,
      hostNetwork: given['host-network'] === true,
      sharePid: given['share-pid'] === true,
      image: IMAGE,
      logs: path.join(rig.dir, 'logs'),
    });
    return { runtime: given.runtime, ...made };
  } finally {
    cri.close();
  }
}

/** `["sh","-c","..."]` as JSON, or words between spaces. */
const split = (text) => (text.startsWith('[') ? JSON.parse(text) : text.split(' '));

const print = (value) => void process.stdout.write(`${JSON.stringify(value)}\n`);

async function main(args) {
  const end = args.indexOf('--');
  const command = end < 0 ? [] : args.slice(end + 1);
  const own = end < 0 ? args : args.slice(0, end);
  // What follows `exec RUNTIME` is the client's.
  const exec = own.findIndex((word) => word === 'exec' || word === 'once');
  const passed = exec < 0 ? [] : [...own.splice(exec + 2), ...command];
  const { values, positionals } = parseArgs({
    args: own,
    allowPositionals: true,
    options: {
      dir: { type: 'string', default: process.env.RAWBPF_RIG_DIR ?? path.join(os.tmpdir(), 'rawbpf-rig') },
      namespace: { type: 'string' },
      uid: { type: 'string' },
      label: { type: 'string', multiple: true },
      'host-network': { type: 'boolean' },
      'share-pid': { type: 'boolean' },
      runtime: { type: 'string', default: 'cri' },
      help: { type: 'boolean', short: 'h' },
    },
  });
  const [what, ...rest] = positionals;
  if (values.help || what === undefined) {
    process.stdout.write(HELP);
    return;
  }
  if (process.getuid() !== 0) throw new Error('container runtimes need root');
  const unknown = ['start', 'with', 'exec'].includes(what) ? rest.filter((name) => NEEDS[name] === undefined) : [];
  if (unknown.length > 0) throw new Error(`unknown runtime ${unknown.join(', ')}: one of ${Object.keys(NEEDS).join(', ')}`);
  const found = fetchRuntimes();
  const dir = path.resolve(values.dir);
  // A unix socket's path has at most 107 bytes, and containerd appends to it.
  if (dir.length > 70) throw new Error(`${dir} is too long for the paths of unix sockets`);
  const rig = layout(dir, found);
  if (['start', 'with'].includes(what) && rest.includes('cri-o') && found.crio === null)
    throw new Error('no CRI-O is here: RAWBPF_CRIO=FILE says where it is, with pinns beside it');
  if (rest.some((name) => BARE.includes(name))) rig.env = bareEnvironment(rig.env);
  switch (what) {
    case 'fetch':
      print({ tree: found.tree });
      break;
    case 'start':
      print(await start(rig, found, rest));
      break;
    case 'stop':
      await stop(rig);
      break;
    case 'status':
      print({
        ...readState(rig),
        processes: rigProcesses(dir).map(({ pid, args: words }) => ({ pid, command: words.join(' ').trim() })),
        mounts: rigMounts(dir),
      });
      break;
    case 'exec':
      process.exitCode =
        spawnSync(clientOf(rig, rest[0])[0], [...clientOf(rig, rest[0]).slice(1), ...passed], { env: rig.env, stdio: 'inherit' }).status ??
        1;
      break;
    case 'pod':
      print(await pod(rig, rest[0], rest.slice(1), values));
      break;
    case 'once': {
      const given = JSON.parse(rest[0]);
      const cri = new Cri(rig.sockets[given.runtime]);
      const [name, ...words] = passed;
      await cri.runOnce({ ...given, image: IMAGE, logs: path.join(rig.dir, 'logs') }, name, words).finally(() => cri.close());
      break;
    }
    case 'unpod': {
      const cri = new Cri(rig.sockets[values.runtime]);
      await cri.stopPod(rest[0]).finally(() => cri.close());
      break;
    }
    case 'with':
      try {
        const described = await start(rig, found, rest);
        const env = { ...process.env, RAWBPF_RIG: JSON.stringify(described) };
        process.exitCode = spawnSync(command[0], command.slice(1), { env, stdio: 'inherit' }).status ?? 1;
      } finally {
        await stop(rig);
      }
      break;
    default:
      throw new Error(`unknown command ${what}: see --help`);
  }
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`rig: ${error.stderr ?? error.message}\n`);
  process.exitCode = 1;
});
