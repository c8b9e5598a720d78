// Starts the runtimes' daemons on sockets of their own, with all state below one folder, and ends them by process id.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { BARE } from './bare.mjs';
import { configureCrio, programBeside } from './crio.mjs';

/** What a rig in `dir` is made of; `found` is what fetchRuntimes() gives. */
export function layout(dir, found) {
  const hash = createHash('sha256').update(dir).digest();
  const at = (...names) => path.join(dir, ...names);
  const docker = ['-H', `unix://${at('docker.sock')}`];
  const podman = ['--root', at('podman/root'), '--runroot', at('podman/run'), '--tmpdir', at('podman/tmp'), '--runtime', 'runc'];
  return {
    dir,
    image: at('image.tar'),
    state: at('rig.json'),
    bridge: `rig${hash.toString('hex', 0, 4)}`,
    subnet: `10.${200 + (hash[0] % 50)}.${hash[1]}.0/24`,
    sockets: {
      containerd: at('containerd.sock'),
      docker: at('docker.sock'),
      podman: at('podman.sock'),
      cri: at('containerd.sock'),
      'cri-o': at('crio.sock'),
    },
    cli: {
      containerd: ['ctr', '-a', at('containerd.sock')],
      cri: ['ctr', '-a', at('containerd.sock'), '-n', 'k8s.io'],
      docker: ['docker', ...docker],
      podman: ['podman', ...podman],
      'cri-o': [programBeside(found.crio, 'crictl'), '-r', `unix://${at('crio.sock')}`, '-i', `unix://${at('crio.sock')}`, '-t', '60s'],
    },
    daemons: {
      containerd: ['containerd', '-c', at('containerd.toml')],
      docker: [
        'dockerd',
        ...docker,
        '--data-root',
        at('docker/data'),
        '--exec-root',
        at('docker/exec'),
        '--pidfile',
        at('dockerd.pid'),
        '--containerd',
        at('containerd.sock'),
        '--config-file',
        at('daemon.json'),
        '--iptables=false',
        '--ip6tables=false',
        '--ip-forward=false',
        '--bridge=none',
      ],
      podman: ['podman', ...podman, 'system', 'service', '-t', '0', `unix://${at('podman.sock')}`],
      'cri-o': [found.crio ?? 'crio', '--config', at('crio/crio.conf'), '--config-dir', at('crio/conf.d')],
    },
    env: {
      ...found.env,
      HOME: at('home'),
      XDG_RUNTIME_DIR: at('run'),
      TMPDIR: at('tmp'),
      CONTAINERS_CONF: at('containers.conf'),
      CONTAINERS_REGISTRIES_CONF: at('registries.conf'),
      CONTAINERS_STORAGE_CONF: at('storage.conf'),
    },
  };
}

/** Which daemons a runtime needs, in the order in which they are started. */
export const NEEDS = {
  containerd: ['containerd'],
  cri: ['containerd'],
  docker: ['containerd', 'docker'],
  podman: ['podman'],
  'cri-o': ['cri-o'],
  ...Object.fromEntries(BARE.map((name) => [name, []])),
};

/** Writes every configuration file. */
export function configure(rig, found) {
  const { dir } = rig;
  const at = (...names) => path.join(dir, ...names);
  for (const folder of ['home/.config/containers', 'run', 'tmp', 'cni', 'ipam', 'logs', 'podman/tmp'])
    fs.mkdirSync(at(folder), { recursive: true });
  const which = (name) =>
    found.env.PATH.split(':')
      .map((folder) => path.join(folder, name))
      .find((file) => fs.existsSync(file)) ?? '';
  fs.writeFileSync(
    at('containerd.toml'),
    `version = 2
root = "${at('containerd/root')}"
state = "${at('containerd/state')}"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.internal.v1.opt"]
[grpc]
  address = "${at('containerd.sock')}"
[ttrpc]
  address = "${at('containerd.sock.ttrpc')}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/library/rigpause:1"
  # Without CAP_SYS_RESOURCE a lower oom_score_adj than one's own cannot be set.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "${found.cni}"
    conf_dir = "${at('cni')}"
`,
  );
  const ipam = { type: 'host-local', ranges: [[{ subnet: rig.subnet }]], dataDir: at('ipam') };
  const plugins = [{ type: 'bridge', bridge: rig.bridge, isGateway: true, ipMasq: false, ipam }];
  fs.writeFileSync(at('cni/10-rig.conflist'), JSON.stringify({ cniVersion: '0.4.0', name: 'rig', plugins }));
  fs.writeFileSync(at('daemon.json'), '{}');
  // The default ulimits of podman are above what a root without CAP_SYS_RESOURCE may set.
  fs.writeFileSync(
    at('containers.conf'),
    `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
netns = "none"
init_path = "${which('catatonit')}"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
# conmon runs \`podman container cleanup\` with these alone; without it every \`podman run\` waits for 20 s.
conmon_env_vars = ${JSON.stringify(['PATH', 'LD_LIBRARY_PATH', 'CONTAINERS_STORAGE_CONF', 'CONTAINERS_REGISTRIES_CONF'].map((name) => `${name}=${rig.env[name]}`))}
conmon_path = ["${which('conmon')}"]
static_dir = "${at('podman/root/libpod')}"
helper_binaries_dir = ["${path.join(found.tree, 'usr/lib/podman')}", "/usr/lib/podman"]
[engine.runtimes]
runc = ["${which('runc')}"]
[network]
network_config_dir = "${at('podman/networks')}"
`,
  );
  fs.writeFileSync(
    at('storage.conf'),
    `[storage]\ndriver = "overlay"\ngraphroot = "${at('podman/root')}"\nrunroot = "${at('podman/run')}"\n`,
  );
  fs.writeFileSync(at('registries.conf'), 'unqualified-search-registries = []\n');
  fs.writeFileSync(at('home/.config/containers/policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}');
  if (found.crio !== null) configureCrio(rig, found, which);
}

/** Starts one daemon and waits until its socket answers. Returns its process id, and when that process was started. */
export async function startDaemon(rig, name, socket) {
  const log = path.join(rig.dir, 'logs', `${name}.log`);
  const out = fs.openSync(log, 'a');
  const [command, ...args] = rig.daemons[name];
  const child = spawn(command, args, { env: rig.env, cwd: rig.dir, detached: true, stdio: ['ignore', out, out] });
  fs.closeSync(out);
  let ended = '';
  child.on('exit', (code, signal) => (ended = signal ?? `code ${code}`));
  child.on('error', (error) => (ended = error.message));
  const until = Date.now() + 60_000;
  while (!(await answers(socket))) {
    const tail = () => fs.readFileSync(log, 'utf8').split('\n').slice(-15).join('\n');
    if (ended !== '') throw new Error(`${command} ended (${ended}):\n${tail()}`);
    if (Date.now() > until) throw new Error(`${command} did not open ${socket} in 60 s:\n${tail()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  child.unref();
  return { name, pid: child.pid, started: startTime(child.pid) };
}

/** Ends a process that {@link startDaemon} started, unless its id belongs to another one by now. */
export async function endDaemon({ pid, started }) {
  for (const [signal, patience] of [
    ['SIGTERM', 15_000],
    ['SIGKILL', 5_000],
  ]) {
    if (startTime(pid) !== started) return;
    try {
      process.kill(pid, signal);
    } catch {
      return;
    }
    const until = Date.now() + patience;
    while (Date.now() < until && startTime(pid) === started) await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

/** Clock ticks since boot at which a process started; null where there is none, or only its remains. */
export function startTime(pid) {
  try {
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? null : fields[19];
  } catch {
    return null;
  }
}

function answers(socket) {
  return new Promise((resolve) => {
    const connection = net.connect(socket);
    const end = (answer) => {
      connection.destroy();
      resolve(answer);
    };
    connection.once('connect', () => end(true));
    connection.once('error', () => end(false));
  });
}

/** Runs a program of the rig to its end; its output. */
export function runIn(rig, [command, ...args], options = {}) {
  return execFileSync(command, args, { env: rig.env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000, ...options });
}
