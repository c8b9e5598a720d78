// Machines that cannot be had everywhere, from recordings of real ones (fixtures/runtimes): their /proc is laid out again, their runtimes'
// sockets answer as they did, and what comes out must be what the runtime's own client said.
import t from 'tap';
import { ContainerCollection } from '../../../src/enrich/containers/collection.ts';
import { CriSource } from '../../../src/enrich/runtimes/cri.ts';
import { FakeSocket, grpcReplay, recording } from '../runtimes/fake-sockets.ts';
import { RecordedMachine, type RecordedProcess } from '../runtimes/recorded-machine.ts';

t.setTimeout(110_000);

/** What `crictl inspect` and `crictl inspectp` say. */
interface Said {
  readonly id: string;
  readonly pid: number;
  readonly metadata: { readonly name: string; readonly namespace?: string; readonly uid?: string };
  readonly image: string;
  readonly imageRef: string;
  readonly startedAt: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly sandbox?: string;
}

interface CrioSaid {
  readonly sandboxes: readonly Said[];
  readonly containers: readonly Said[];
  readonly processes: readonly RecordedProcess[];
}

/** The recorded process on a machine with v2 alone and the systemd driver: cgroups as runc's and CRI-O's systemd managers call them. */
function underSystemd(process: RecordedProcess): RecordedProcess {
  const { mountinfo } = process.files;
  const recorded = /^\d+:pids:(.*)$/m.exec(process.files['cgroup'] ?? '')?.[1] ?? '/';
  // kubepods/besteffort/podUID -> kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID.slice, with no dash but those of slices.
  const parts = recorded.split('/').filter((part) => part !== '');
  const leaf = parts.length > 1 ? `/${parts.pop() ?? ''}.scope` : '';
  const names = parts.map((part) => part.replaceAll('-', '_'));
  const slices = names.map((_, i) => `/${names.slice(0, i + 1).join('-')}.slice`).join('');
  return {
    ...process,
    files: {
      ...process.files,
      cgroup: `0::${slices}${leaf || (slices === '' ? '/' : '')}\n`,
      ...(mountinfo === undefined ? {} : { mountinfo: '30 24 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n' }),
    },
  };
}

const machines: readonly (readonly [what: string, processes: (recorded: readonly RecordedProcess[]) => readonly RecordedProcess[]])[] = [
  ['as recorded, with the cgroupfs driver and v1', (recorded) => recorded],
  ['with the systemd driver and v2 alone', (recorded) => recorded.map(underSystemd)],
];

for (const [what, processes] of machines)
  void t.test(`CRI-O 1.26, ${what}: every field of every container, and no sandbox`, async (t) => {
    const { oracle, asked } = recording<CrioSaid>('cri-o');
    const machine = new RecordedMachine(processes(oracle.processes));
    const socket = await FakeSocket.listen(grpcReplay(asked));
    const containers = ContainerCollection.open({
      polling: 'always',
      hostRoot: machine.root,
      node: 'node-1',
      names: new CriSource(socket.path, 'cri-o'),
    });
    await containers.ready;
    const byId = new Map(containers.list.map((each) => [each.id, each]));
    t.same([...byId.keys()].toSorted(), oracle.containers.map(({ id }) => id).toSorted());
    for (const said of oracle.containers) {
      const pod = oracle.sandboxes.find(({ id }) => id === said.sandbox);
      const { fields, hostNetwork } = byId.get(said.id) ?? {};
      t.same(
        fields?.runtime,
        {
          runtimeName: 'cri-o',
          containerName: said.metadata.name,
          containerId: said.id,
          containerPid: said.pid,
          containerImageName: said.image,
          containerImageDigest: said.imageRef.split('@')[1] ?? '',
          // Go leaves zeros at the end out.
          containerStartedAt: said.startedAt.replace(/(\.\d+)Z$/, (_, part: string) => `${part.padEnd(10, '0')}Z`),
          innerContainerId: '',
        },
        `${pod?.metadata.name} ${said.metadata.name}`,
      );
      const own = Object.entries(pod?.labels ?? {}).filter(([name]) => !name.startsWith('io.kubernetes.'));
      t.same(fields?.k8s, {
        node: 'node-1',
        namespace: pod?.metadata.namespace,
        podName: pod?.metadata.name,
        containerName: said.metadata.name,
        podLabels: own.map(([key, value]) => `${key}=${value}`).join(','),
        hostnetwork: pod?.metadata.name === 'agent',
        owner: { kind: '', name: '' },
      });
      t.equal(hostNetwork, pod?.metadata.name === 'agent', 'namespaces say the same');
      const podUid = pod?.metadata.uid ?? '';
      const inSystemd = `/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod${podUid.replaceAll('-', '_')}.slice/crio-${said.id}.scope`;
      const inCgroupfs = `/kubepods/besteffort/pod${podUid}/crio-${said.id}`;
      const paths = byId.get(said.id)?.cgroups.map(({ path }) => path);
      t.ok(paths?.includes(what.includes('systemd') ? inSystemd : inCgroupfs), `its cgroup is ${paths?.join()}`);
    }
    containers.close();
    await socket.close();
    machine.close();
    t.end();
  });
