// Names from real docker, containerd, podman and CRI (`npm run test:containers`); what they must be is what the runtimes' own clients say.
import { mkdirSync, readdirSync, readFileSync, readlinkSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import t from 'tap';
import type { NameEvent, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { CriSource } from '../../../src/enrich/runtimes/cri.ts';
import { DockerSource } from '../../../src/enrich/runtimes/docker.ts';
import { machineNames } from '../../../src/enrich/runtimes/machine.ts';
import { PodmanFiles } from '../../../src/enrich/runtimes/podman-files.ts';
import { containerOfCgroup } from '../../../src/enrich/runtimes/cgroup-path.ts';
import { until } from '../kubernetes/server.ts';
import { Rig } from './rig.ts';

/** What a rig could leave: mounts below its folder, bridges and veths of its, processes that name it. */
function remains(dir: string): readonly string[] {
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(dir));
  const processes = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return Number(name) !== process.pid && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(dir);
      } catch {
        return false;
      }
    });
  return [...mounts, ...processes];
}

const rig = new Rig('docker', 'containerd', 'cri', 'podman');
const sockets = {
  docker: [rig.sockets.docker],
  podman: [rig.sockets.podman],
  containerd: [rig.sockets.containerd],
  crio: [],
  podmanFolders: [rig.podmanFolders],
};
const names = machineNames({ sockets });
const events: NameEvent[] = [];
names.onEvent?.((event) => events.push(event));
const query = (id: string): { id: string; pid: number; cgroupPath: string; runtimeHint: string } => ({
  id,
  pid: 0,
  cgroupPath: '',
  runtimeHint: '',
});
const image = 'docker.io/library/rigbox:1';

t.teardown(() => names.close());

t.test('each runtime is asked for its own, and the cgroup of the process tells the same id', async (t) => {
  const docker = rig.exec('docker', 'run', '-d', '--name', 'd1', '--network', 'none', '-l', 'a=b', 'rigbox:1', '/bin/sleep', '1000');
  const podman = rig.exec('podman', 'run', '-d', '--name', 'p1', '-l', 'a=b', image, '/bin/sleep', '1000');
  rig.exec('containerd', 'run', '-d', '--label', 'a=b', image, 'c1', '/bin/sleep', '1000');
  const web = rig.pod('web-0', 'main=sleep 1000', '--label', 'a=b');
  const agent = rig.pod('agent', 'main=sleep 1000', '--host-network', '--namespace', 'kube-system');
  const pidOf: Record<string, number> = {
    [docker]: Number(rig.exec('docker', 'inspect', '-f', '{{.State.Pid}}', docker)),
    [podman]: Number(rig.exec('podman', 'inspect', '-f', '{{.State.Pid}}', podman)),
  };
  for (const line of [...rig.exec('containerd', 'task', 'ls').split('\n'), ...rig.exec('cri', 'task', 'ls').split('\n')]) {
    const [id = '', pid] = line.split(/\s+/);
    if (/^\d+$/.test(pid ?? '')) pidOf[id] = Number(pid);
  }
  const main = (pod: typeof web): string => pod.containers['main'] ?? '';
  const wanted: readonly (readonly [id: string, runtime: string, name: string])[] = [
    [docker, 'docker', 'd1'],
    [podman, 'podman', 'p1'],
    ['c1', 'containerd', 'c1'],
    [main(web), 'containerd', 'main'],
    [main(agent), 'containerd', 'main'],
  ];
  const all = await names.list();
  t.equal(all.length, wanted.length + 2, 'and two sandboxes');
  for (const [id, runtimeName, containerName] of wanted) {
    const found = all.find((each) => each.containerId === id);
    t.match(
      found,
      { runtimeName, containerName, containerPid: pidOf[id], sandbox: false, containerImageName: id === docker ? 'rigbox:1' : image },
      `${runtimeName} ${containerName}`,
    );
    if (id !== main(agent)) t.equal(id === main(web) ? found?.k8s?.podLabels.get('a') : found?.labels.get('a'), 'b');
    const paths = readFileSync(`/proc/${pidOf[id]}/cgroup`, 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split(':').slice(2).join(':'));
    t.ok(
      paths.some((path) => containerOfCgroup(path)?.id === id),
      `${id}: its cgroup`,
    );
  }
  for (const [pod, hostnetwork] of [
    [web, false],
    [agent, true],
  ] as const) {
    const k8s = { namespace: pod.namespace, podName: pod.name, podUid: pod.uid, hostnetwork };
    t.match(
      all.find((each) => each.containerId === main(pod)),
      { k8s: { ...k8s, containerName: 'main' } },
    );
    t.match(
      all.find((each) => each.containerId === pod.sandbox),
      { sandbox: true, k8s },
    );
    // The truth about the network.
    t.equal(readlinkSync(`/proc/${pidOf[main(pod)]}/ns/net`) === readlinkSync('/proc/self/ns/net'), hostnetwork);
  }
  // Digests and starts, as the runtimes' clients tell them; of an image that was loaded docker knows no digest.
  const [inspected] = JSON.parse(rig.exec('podman', 'inspect', podman)) as [{ ImageDigest: string; State: { StartedAt: string } }];
  const ctrDigest = rig
    .exec('containerd', 'image', 'ls')
    .split('\n')
    .find((line) => line.startsWith(image))
    ?.split(/\s+/)
    .find((word) => word.startsWith('sha256:'));
  const digestOf = new Map([
    [docker, ''],
    [podman, inspected.ImageDigest],
    ...['c1', main(web), main(agent)].map((id) => [id, ctrDigest ?? 'none'] as const),
  ]);
  for (const [id, digest] of digestOf)
    t.equal(all.find((each) => each.containerId === id)?.containerImageDigest, digest, `${id}: its digest`);
  const startOf = new Map([
    [docker, rig.exec('docker', 'inspect', '-f', '{{.State.StartedAt}}', docker)],
    [podman, inspected.State.StartedAt],
  ]);
  for (const [id, start] of startOf) {
    t.equal(Date.parse(all.find((each) => each.containerId === id)?.containerStartedAt ?? ''), Date.parse(start), `${id}: its start`);
  }
  // k3s is a containerd at a place of its own: below a root where nothing else is.
  const k3s = path.join(rig.dir, 'k3s');
  mkdirSync(path.join(k3s, 'run/k3s/containerd'), { recursive: true });
  symlinkSync(rig.sockets.containerd, path.join(k3s, 'run/k3s/containerd/containerd.sock'));
  const ofK3s = machineNames({ hostRoot: k3s });
  t.match(await ofK3s.lookup(query(main(web))), { runtimeName: 'containerd', containerName: 'main', k8s: { podName: 'web-0' } });
  ofK3s.close();
  // What nerdctl writes on containerd's containers.
  rig.exec('containerd', 'run', '-d', '--label', 'nerdctl/name=shop', image, 'ab'.repeat(32), '/bin/sleep', '1000');
  t.match(await names.lookup(query('ab'.repeat(32))), { runtimeName: 'containerd', containerName: 'shop' });
  const cri = new CriSource(rig.sockets.cri, 'containerd');
  t.match(await cri.lookup(query(main(web))), {
    containerName: 'main',
    containerPid: pidOf[main(web)],
    k8s: { podName: 'web-0', hostnetwork: false },
  });
  t.match(await cri.lookup(query(agent.sandbox)), { sandbox: true, k8s: { podName: 'agent', hostnetwork: true } });
  cri.close();
  t.match(await new PodmanFiles(rig.podmanFolders).lookup(query(podman)), {
    containerName: 'p1',
    containerPid: pidOf[podman],
    containerImageName: image,
  });
});

t.test('containers that end at once are named by events', async (t) => {
  const before = events.length;
  const named = (name: string): RuntimeNames | undefined =>
    events.slice(before).flatMap((event) => (event.type === 'names' && event.names.containerName === name ? [event.names] : []))[0];
  for (let i = 0; i < 3; i++) {
    rig.exec('docker', 'run', '--rm', '--name', `short-d${i}`, '--network', 'none', 'rigbox:1', '/bin/true');
    rig.exec('containerd', 'run', '--rm', image, `short-c${i}`, '/bin/true');
    rig.exec('podman', 'run', '--name', `short-p${i}`, image, '/bin/true');
    for (const [kind, runtimeName] of [
      ['d', 'docker'],
      ['c', 'containerd'],
      ['p', 'podman'],
    ] as const) {
      await until(() => named(`short-${kind}${i}`) !== undefined, `short-${kind}${i} is named`);
      t.equal(named(`short-${kind}${i}`)?.runtimeName, runtimeName);
    }
  }
});

t.test('a daemon that hangs costs time within limits, and its events come again when it goes on', async (t) => {
  const pid = rig.daemons().get('docker') ?? 0;
  const source = new DockerSource(rig.sockets.docker, { timeoutMs: 200 });
  const mine: NameEvent[] = [];
  source.onEvent((event) => mine.push(event));
  process.kill(pid, 'SIGSTOP');
  const started = performance.now();
  for (let i = 0; i < 10; i++) t.equal(await source.lookup(query('abc')), null);
  t.ok(performance.now() - started < 2000, 'after three questions it is not asked for a while');
  t.equal(source.present, false);
  process.kill(pid, 'SIGCONT');
  rig.exec('docker', 'run', '--rm', '--name', 'after', '--network', 'none', 'rigbox:1', '/bin/true');
  await until(() => mine.some((event) => event.type === 'removed'), 'events came', 30_000);
  source.close();
});

t.test('the rig leaves nothing', async (t) => {
  t.not(remains(rig.dir).length, 0);
  rig.stop();
  t.same(remains(rig.dir), []);
});
