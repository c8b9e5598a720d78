// Records what real runtimes answer, and what their own clients say of the same containers, into fixtures/runtimes:
//   npm run build && node scripts/containers/rig.mjs with docker containerd cri podman -- node scripts/containers/record.mjs
//   RAWBPF_CRIO=crio node scripts/containers/rig.mjs with cri-o -- node scripts/containers/record.mjs
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ContainerdSource } from '../../build/src/enrich/runtimes/containerd.js';
import { CriSource } from '../../build/src/enrich/runtimes/cri.js';
import { DockerSource } from '../../build/src/enrich/runtimes/docker.js';
import { RuntimeApiError } from '../../build/src/enrich/runtimes/error.js';
import { GrpcClient } from '../../build/src/enrich/runtimes/grpc.js';
import { UnixHttp } from '../../build/src/enrich/runtimes/http.js';
import { recordProcesses } from './processes.mjs';
import { PodmanSource } from '../../build/src/enrich/runtimes/podman.js';

const rig = JSON.parse(process.env.RAWBPF_RIG ?? '{}');
const { dir } = rig;
const own = fileURLToPath(new URL('rig.mjs', import.meta.url));
const out = fileURLToPath(new URL('../../fixtures/runtimes/', import.meta.url));
const run = (...args) => execFileSync(process.execPath, [own, '--dir', dir, ...args], { encoding: 'utf8' }).trim();
const oracle = (...args) => JSON.parse(run('exec', ...args));

// Every question and its answer, as the clients ask it.
let asked = [];
const json = Reflect.get(UnixHttp.prototype, 'json');
UnixHttp.prototype.json = async function (question, limits) {
  const entry = { path: question };
  asked.push(entry);
  try {
    return (entry.answer = await json.call(this, question, limits));
  } catch (error) {
    if (error instanceof RuntimeApiError) entry.status = error.status;
    throw error;
  }
};
const call = Reflect.get(GrpcClient.prototype, 'call');
GrpcClient.prototype.call = async function (method, request, metadata = {}) {
  const entry = { method, namespace: metadata['containerd-namespace'] ?? '', request: Buffer.from(request).toString('base64') };
  asked.push(entry);
  try {
    const answer = await call.call(this, method, request, metadata);
    entry.answer = Buffer.from(answer).toString('base64');
    return answer;
  } catch (error) {
    if (error instanceof RuntimeApiError) entry.status = error.status;
    throw error;
  }
};

async function record(name, source, ids, said) {
  asked = [];
  await source.list();
  for (const id of ids) await source.lookup({ id, pid: 0, cgroupPath: '', runtimeHint: '' });
  source.close();
  fs.mkdirSync(out, { recursive: true });
  const kept = [...new Map(asked.map((each) => [JSON.stringify([each.path, each.method, each.namespace, each.request]), each])).values()];
  fs.writeFileSync(path.join(out, `${name}.json`), `${JSON.stringify({ oracle: said, asked: kept })}\n`);
}

if (rig.runtimes['cri-o'] !== undefined) {
  await recordCrio();
  process.exit();
}

run('exec', 'docker', 'run', '-d', '--name', 'd1', '--network', 'none', '-l', 'a=b', 'rigbox:1', '/bin/sleep', '1000');
run('exec', 'docker', 'run', '-d', '--name', 'd2', '--network', 'host', 'rigbox:1', '/bin/sleep', '1000');
run('exec', 'podman', 'run', '-d', '--name', 'p1', '-l', 'a=b', 'docker.io/library/rigbox:1', '/bin/sleep', '1000');
run('exec', 'containerd', 'run', '-d', '--label', 'foo=bar', 'docker.io/library/rigbox:1', 'c1', '/bin/sleep', '1000');
const pods = [
  JSON.parse(run('pod', 'web-0', 'main=sleep 1000', '--label', 'app=web')),
  JSON.parse(run('pod', 'agent', 'main=sleep 1000', '--host-network')),
];
const inPods = pods.flatMap((pod) => [pod.sandbox, pod.containers.main]);

const docker = oracle('docker', 'inspect', 'd1', 'd2');
await record(
  'docker',
  new DockerSource(rig.runtimes.docker.socket),
  ['nothing'],
  docker.map(({ Id, Name, State, Config, HostConfig }) => ({
    Id,
    Name,
    State,
    Image: Config.Image,
    Labels: Config.Labels,
    NetworkMode: HostConfig.NetworkMode,
  })),
);
const podman = oracle('podman', 'inspect', 'p1');
await record(
  'podman',
  new PodmanSource(rig.runtimes.podman.socket),
  ['nothing'],
  podman.map(({ Id, Name, State, ImageName, ImageDigest, Config }) => ({
    Id,
    Name,
    Pid: State.Pid,
    StartedAt: State.StartedAt,
    ImageName,
    ImageDigest,
    Labels: Config.Labels,
  })),
);
const tasks = (space) =>
  run('exec', space, 'task', 'ls')
    .split('\n')
    .slice(1)
    .map((line) => line.split(/\s+/));
const info = (space, id) => {
  const { Labels, Image } = oracle(space, 'container', 'info', id);
  return { id, Labels, Image, pid: Number(tasks(space).find((task) => task[0] === id)?.[1] ?? 0) };
};
const digest = run('exec', 'containerd', 'image', 'ls')
  .split('\n')
  .find((line) => line.startsWith('docker.io/library/rigbox:1'))
  .split(/\s+/)
  .find((word) => word.startsWith('sha256:'));
const said = {
  digest,
  pods,
  containers: [info('containerd', 'c1'), ...inPods.map((id) => info('cri', id))],
  docker: docker.map(({ Id, State }) => ({ id: Id, pid: State.Pid })),
};
await record('containerd', new ContainerdSource(rig.runtimes.containerd.socket), ['nothing'], said);
await record('cri', new CriSource(rig.runtimes.cri.socket, 'containerd'), [...inPods, 'nothing'], said);

// podman's files, for the names where no service runs.
const id = podman[0].Id;
const [graph, runs] = [path.join(dir, 'podman/root'), path.join(dir, 'podman/run')];
const files = ['overlay-containers/containers.json', 'overlay-images/images.json', `overlay-containers/${id}/userdata/config.json`];
for (const file of files) copy(path.join(graph, file), path.join(out, 'podman-files/graph', file));
copy(
  path.join(runs, `overlay-containers/${id}/userdata/pidfile`),
  path.join(out, `podman-files/run/overlay-containers/${id}/userdata/pidfile`),
);
process.exit();

function copy(from, to) {
  fs.mkdirSync(path.dirname(to), { recursive: true });
  fs.copyFileSync(from, to);
}

/** CRI-O, as crictl tells it, and what /proc shows of it. */
async function recordCrio() {
  const pod = (...args) => JSON.parse(run('pod', ...args, '--runtime', 'cri-o'));
  const pods = [
    pod('web-0', 'main=sleep 1000', 'side=sleep 1000', '--label', 'app=web'),
    pod('agent', 'main=sleep 1000', '--host-network', '--namespace', 'kube-system'),
    pod('shared', 'main=sleep 1000', '--share-pid'),
  ];
  const inspect = (what, id) => {
    const { status, info } = oracle('cri-o', what, id);
    const { metadata, image, imageRef, startedAt, labels } = status;
    return { id, pid: info.pid, metadata, image: image?.image, imageRef, startedAt, labels };
  };
  const sandboxes = pods.map((each) => inspect('inspectp', each.sandbox));
  const containers = pods.flatMap((each) =>
    Object.values(each.containers).map((id) => ({ sandbox: each.sandbox, ...inspect('inspect', id) })),
  );
  const version = run('exec', 'cri-o', 'version');
  const processes = recordProcesses([...sandboxes, ...containers].map(({ pid }) => pid));
  const ids = [...sandboxes, ...containers].map(({ id }) => id);
  await record('cri-o', new CriSource(rig.runtimes['cri-o'].socket, 'cri-o'), [...ids, 'nothing'], {
    version,
    sandboxes,
    containers,
    processes,
  });
}
