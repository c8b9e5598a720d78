// Every field of every runtime that runs here, beside what the runtime's own client says: docker inspect, podman inspect, ctr, runc state,
// lxc-info; of the processes ps and stat.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import { ContainerCollection } from '../../../src/enrich/containers/collection.ts';
import type { Container } from '../../../src/enrich/containers/container.ts';
import { machineNames } from '../../../src/enrich/runtimes/machine.ts';
import { until } from '../kubernetes/server.ts';
import { Rig, type RigPod, type RigRuntime } from '../runtimes/rig.ts';

t.setTimeout(600_000);

const rig = new Rig('docker', 'containerd', 'cri', 'podman', 'runc', 'crun', 'lxc', 'systemd-nspawn');
/** Closed at the end, whatever failed before: an open one keeps this process from ending. */
const collections: ContainerCollection[] = [];
t.teardown(() => {
  for (const collection of collections) collection.close();
  rig.stop();
});
// However it ends: a time limit does not run teardowns.
process.once('exit', () => rig.stop());
process.once('SIGTERM', () => process.exit(1));

const image = 'docker.io/library/rigbox:1';
const node = 'node-1';
const said = (...command: readonly string[]): string =>
  execFileSync(command[0] ?? '', command.slice(1), { env: { ...rig.env, TZ: 'UTC', LC_ALL: 'C' }, encoding: 'utf8' }).trim();
const inspected = (runtime: RigRuntime, ...args: readonly string[]): unknown => JSON.parse(rig.exec(runtime, ...args));

/** What a container's fields must be. */
interface Wanted {
  readonly runtimeName: string;
  readonly id: string;
  readonly pid: number;
  readonly name?: string;
  readonly image?: string;
  readonly digest?: string;
  /** Where the runtime's client tells it; ps tells whole seconds for all. */
  readonly startedAt?: string;
  readonly k8s?: Readonly<Record<string, unknown>>;
}

/** The number of a task, as `ctr task ls` lists it. */
function taskPid(space: RigRuntime, id: string): number {
  const lines = rig.exec(space, 'task', 'ls').split('\n');
  return Number(lines.map((line) => line.split(/\s+/)).find(([task]) => task === id)?.[1] ?? 0);
}

/** What was compared, with what: a line a field, a column a runtime; printed at the end. */
const table = new Map<string, Map<string, string>>();

function note(runtime: string, found: Container | undefined, wanted: Wanted): void {
  const fields = { ...flat('runtime', found?.fields.runtime ?? {}), ...flat('k8s', found?.fields.k8s ?? {}) };
  for (const [field, value] of Object.entries(fields)) {
    const row = table.get(field) ?? new Map<string, string>();
    const empty = value === '' || value === false || value === 0;
    const told = field === 'runtime.containerStartedAt' && wanted.startedAt === undefined ? 'as ps says' : 'same';
    if (!empty || !row.has(runtime)) row.set(runtime, empty ? '' : told);
    table.set(field, row);
  }
}

function flat(prefix: string, fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([key, value]: [string, unknown]) =>
      typeof value === 'object' && value !== null ? Object.entries(flat(`${prefix}.${key}`, value)) : [[`${prefix}.${key}`, value]],
    ),
  );
}

const noPod = { node: '', namespace: '', podName: '', containerName: '', podLabels: '', hostnetwork: false, owner: { kind: '', name: '' } };

function check(t: Test, what: string, containers: readonly Container[], wanted: Wanted): void {
  const found = containers.find(({ id }) => id === wanted.id);
  t.ok(found, `${what}: it is listed`);
  const startedAt = found?.fields.runtime.containerStartedAt ?? '';
  t.same(
    found?.fields.runtime,
    {
      runtimeName: wanted.runtimeName,
      containerName: wanted.name ?? '',
      containerId: wanted.id,
      containerPid: wanted.pid,
      containerImageName: wanted.image ?? '',
      containerImageDigest: wanted.digest ?? '',
      containerStartedAt: startedAt,
      innerContainerId: '',
    },
    `${what}: runtime.*`,
  );
  t.same(found?.fields.k8s, wanted.k8s ?? noPod, `${what}: k8s.*`);
  note(what.replace(/: .*/, ''), found, wanted);
  // Go leaves zeros at the end out.
  t.match(startedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z$/, `${what}: ${startedAt}`);
  // A runtime's word for when its program started, or the first process's start: a busy machine may have some seconds between them.
  const ofPs = Date.parse(`${said('ps', '-o', 'lstart=', '-p', String(wanted.pid))} UTC`);
  t.ok(Math.abs(Date.parse(startedAt) - ofPs) < 10_000, `${what}: ps agrees, but for ${Date.parse(startedAt) - ofPs} ms`);
  if (wanted.startedAt !== undefined) t.equal(Date.parse(startedAt), Date.parse(wanted.startedAt), `${what}: started as its client says`);
}

void t.test('each field of the containers of each runtime', async (t) => {
  const docker = rig.exec('docker', 'run', '-d', '--name', 'd1', '--network', 'none', '-l', 'a=b', 'rigbox:1', '/bin/sleep', '1000');
  const podman = rig.exec('podman', 'run', '-d', '--name', 'p1', '-l', 'a=b', image, '/bin/sleep', '1000');
  const c1 = `c1-${process.pid}`;
  rig.exec('containerd', 'run', '-d', '--label', 'a=b', image, c1, '/bin/sleep', '1000');
  // As nerdctl labels them.
  const nerdctl = createHash('sha256').update(c1).digest('hex');
  rig.exec('containerd', 'run', '-d', '--label', 'nerdctl/name=shop', image, nerdctl, '/bin/sleep', '1000');
  const pods: readonly (readonly [pod: RigPod, hostnetwork: boolean])[] = [
    [rig.pod('web-0', 'main=sleep 1000', 'side=sleep 1000', '--label', 'app=web', '--label', 'tier=front', '--namespace', 'shop'), false],
    [rig.pod('agent', 'main=sleep 1000', '--host-network', '--namespace', 'kube-system'), true],
  ];
  /** Unlike any other's on this machine. */
  const seconds = String(1_000_000 + process.pid);
  const bare = (['runc', 'crun', 'lxc', 'systemd-nspawn'] as const).map((kind) => rig.bare(kind, `${kind}-b1`, '/bin/sleep', seconds));
  const sleeps = (): readonly number[] => {
    const lines = said('ps', '-eo', 'pid=,stat=,args=').split('\n');
    return lines
      .map((line) => line.trim().split(/\s+/))
      .filter((words) => words.slice(2).join(' ') === `/bin/sleep ${seconds}`)
      .map(([pid]) => Number(pid));
  };
  await until(() => sleeps().length >= bare.length, 'the bare ones run', 30_000);
  const inode = (pid: number): number => Number(said('stat', '-L', '-c', '%i', `/proc/${pid}/ns/mnt`));

  const [ofDocker] = inspected('docker', 'inspect', docker) as [
    { Id: string; State: { Pid: number; StartedAt: string }; Config: { Image: string } },
  ];
  const [ofPodman] = inspected('podman', 'inspect', podman) as [
    { State: { Pid: number; StartedAt: string }; ImageName: string; ImageDigest: string },
  ];
  const digest =
    rig
      .exec('containerd', 'image', 'ls', `name==${image}`)
      .split(/\s+/)
      .find((word) => word.startsWith('sha256:')) ?? 'none';
  const ofRunc = JSON.parse(said('runc', '--root', `${rig.bareFolder('runc')}/state`, 'state', 'runc-b1')) as {
    id: string;
    pid: number;
    created: string;
  };
  const ofCrun = JSON.parse(said('crun', '--root', `${rig.bareFolder('crun')}/state`, 'state', 'crun-b1')) as { id: string; pid: number };
  const lxcPid = Number(said('lxc-info', '-P', rig.bareFolder('lxc'), '-n', 'lxc-b1', '-p', '-H'));
  const nspawnPid =
    sleeps().find((pid) => said('ps', '-o', 'comm=', '-p', said('ps', '-o', 'ppid=', '-p', String(pid))).startsWith('systemd-nspawn')) ?? 0;

  const sockets = {
    docker: [rig.sockets.docker],
    podman: [rig.sockets.podman],
    containerd: [rig.sockets.containerd],
    crio: [],
    podmanFolders: [rig.podmanFolders],
  };
  const open = async (given: typeof sockets | null, ids: readonly string[] = []): Promise<ContainerCollection> => {
    const collection = ContainerCollection.open({ names: given === null ? null : machineNames({ sockets: given }), node });
    collections.push(collection);
    await collection.ready;
    // A runtime on a busy machine takes longer than that.
    const isNamed = (id: string): boolean => collection.list.some((each) => each.id === id && each.fields.runtime.containerName !== '');
    await until(() => ids.every(isNamed), 'they have names', 60_000);
    return collection;
  };

  const inDocker = { runtimeName: 'docker', id: docker, pid: ofDocker.State.Pid };
  const inPodman = { runtimeName: 'podman', id: podman, pid: ofPodman.State.Pid };
  const podmanSays = { ...inPodman, name: 'p1', image: ofPodman.ImageName, digest: ofPodman.ImageDigest };
  const inContainerd = { runtimeName: 'containerd', id: c1, pid: taskPid('containerd', c1) };
  const inNerdctl = { runtimeName: 'containerd', id: nerdctl, pid: taskPid('containerd', nerdctl) };
  const bareOnes: readonly Wanted[] = [
    { runtimeName: 'runc', id: ofRunc.id, pid: ofRunc.pid },
    { runtimeName: 'crun', id: ofCrun.id, pid: ofCrun.pid },
    { runtimeName: 'lxc', id: 'lxc-b1', pid: lxcPid },
    { runtimeName: 'systemd-nspawn', id: `mntns-${inode(nspawnPid)}`, pid: nspawnPid },
  ];

  const inPods = pods.flatMap(([pod]) => Object.values(pod.containers));
  const all = await open(sockets, [docker, podman, c1, nerdctl, ...inPods]);
  // Of an image that was loaded docker knows no digest.
  check(t, 'docker', all.list, { ...inDocker, name: 'd1', image: ofDocker.Config.Image, startedAt: ofDocker.State.StartedAt });
  check(t, 'podman', all.list, { ...podmanSays, startedAt: ofPodman.State.StartedAt });
  check(t, 'containerd, default', all.list, { ...inContainerd, name: c1, image, digest });
  check(t, "containerd with nerdctl's labels", all.list, { ...inNerdctl, name: 'shop', image, digest });
  for (const [pod, hostnetwork] of pods) {
    for (const [name, id] of Object.entries(pod.containers)) {
      const ofPod = (inspected('cri', 'container', 'info', pod.sandbox) as { Labels: Record<string, string> }).Labels;
      const ofIt = (inspected('cri', 'container', 'info', id) as { Labels: Record<string, string> }).Labels;
      t.equal(ofIt['io.kubernetes.container.name'], name);
      check(t, `CRI, k8s.io: ${pod.name} ${name}`, all.list, {
        runtimeName: 'containerd',
        id,
        pid: taskPid('cri', id),
        name,
        image,
        digest,
        k8s: {
          node,
          namespace: ofIt['io.kubernetes.pod.namespace'],
          podName: ofIt['io.kubernetes.pod.name'],
          containerName: name,
          podLabels: Object.entries(ofPod)
            // containerd's own list has those of the sandbox's image among them: `name`.
            .filter(([key]) => !key.startsWith('io.') && key !== 'name')
            .map(([key, value]) => `${key}=${value}`)
            .toSorted()
            .join(','),
          hostnetwork,
          owner: { kind: '', name: '' },
        },
      });
    }
    t.notOk(
      all.list.some(({ id }) => id === pod.sandbox),
      `${pod.name}: its sandbox is no container`,
    );
  }
  for (const wanted of bareOnes) check(t, wanted.runtimeName, all.list, wanted);
  all.close();

  const moby = await open({ ...sockets, docker: [], podman: [], podmanFolders: [] });
  check(t, 'docker, by containerd, moby', moby.list, inDocker);
  check(t, 'podman, nobody asked', moby.list, inPodman);
  moby.close();

  const files = await open({ ...sockets, docker: [], podman: [], containerd: [] }, [podman]);
  check(t, 'podman, by its files', files.list, podmanSays);
  files.close();

  const nobody = await open(null);
  for (const wanted of [inDocker, inPodman, inContainerd, ...bareOnes]) check(t, `${wanted.runtimeName}, no socket`, nobody.list, wanted);
  check(t, "nerdctl's, no socket", nobody.list, inNerdctl);
  for (const id of inPods) {
    check(t, 'CRI, no socket', nobody.list, { runtimeName: 'containerd', id, pid: taskPid('cri', id) });
  }
  nobody.close();

  const columns = [...new Set([...table.values()].flatMap((row) => [...row.keys()]))];
  t.comment(`| field | ${columns.join(' | ')} |`);
  for (const [field, row] of table) t.comment(`| ${field} | ${columns.map((column) => row.get(column) ?? '').join(' | ')} |`);
  t.end();
});
