// Recorded answers of docker 20.10, podman 4.3 and containerd 1.6 (fixtures/runtimes, see scripts/containers/record.mjs); what must come out is what
// docker inspect, podman inspect and ctr said of the same containers.
import t from 'tap';
import type { NameEvent, NameSource, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { ContainerdSource } from '../../../src/enrich/runtimes/containerd.ts';
import { CriSource } from '../../../src/enrich/runtimes/cri.ts';
import { DockerSource } from '../../../src/enrich/runtimes/docker.ts';
import { joinSources } from '../../../src/enrich/runtimes/join.ts';
import { PodmanFiles } from '../../../src/enrich/runtimes/podman-files.ts';
import { PodmanSource } from '../../../src/enrich/runtimes/podman.ts';
import { ProtoWriter } from '../../../src/enrich/runtimes/protobuf.ts';
import { until } from '../kubernetes/server.ts';
import { brokenServers, FakeSocket, fixturePath, grpcMessage, grpcReplay, httpReplay, recording } from './fake-sockets.ts';

interface DockerSaid {
  readonly Id: string;
  readonly Name: string;
  readonly State: { readonly Pid: number; readonly StartedAt: string };
  readonly Image: string;
  readonly Labels: Readonly<Record<string, string>>;
}
interface PodmanSaid {
  readonly Id: string;
  readonly Name: string;
  readonly Pid: number;
  readonly ImageName: string;
  readonly ImageDigest: string;
  readonly Labels: Readonly<Record<string, string>>;
}
interface ContainerdSaid {
  readonly digest: string;
  readonly pods: readonly {
    readonly sandbox: string;
    readonly name: string;
    readonly namespace: string;
    readonly uid: string;
    readonly containers: { readonly main: string };
  }[];
  readonly containers: readonly {
    readonly id: string;
    readonly pid: number;
    readonly Image: string;
    readonly Labels: Readonly<Record<string, string>>;
  }[];
  readonly docker: readonly { readonly id: string; readonly pid: number }[];
}

const query = (id: string, pid = 0): { id: string; pid: number; cgroupPath: string; runtimeHint: string } => ({
  id,
  pid,
  cgroupPath: '',
  runtimeHint: '',
});
const byId = (all: readonly RuntimeNames[]): readonly RuntimeNames[] => all.toSorted((a, b) => (a.containerId < b.containerId ? -1 : 1));
const plain = (labels: ReadonlyMap<string, string>): Record<string, string> => Object.fromEntries(labels);

t.test('docker', async (t) => {
  const { oracle, asked } = recording<readonly DockerSaid[]>('docker');
  const socket = await FakeSocket.listen(httpReplay(asked));
  const source = new DockerSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const all = byId(await source.list());
  t.equal(all.length, 2);
  for (const said of oracle) {
    const names = all.find((each) => each.containerId === said.Id);
    t.match(names, {
      runtimeName: 'docker',
      containerName: said.Name.slice(1),
      containerPid: said.State.Pid,
      containerStartedAt: said.State.StartedAt,
      containerImageName: said.Image,
      containerImageDigest: '',
      k8s: null,
      sandbox: false,
    });
    t.same(plain(names?.labels ?? new Map()), said.Labels);
  }
  t.equal(await source.lookup(query('nothing')), null);
  t.equal(await source.lookup(query('../../images/json')), null, 'what cannot be an id is not asked for');
});

t.test('podman, by its service and by its files', async (t) => {
  const { oracle, asked } = recording<readonly PodmanSaid[]>('podman');
  const socket = await FakeSocket.listen(httpReplay(asked));
  const source = new PodmanSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const files = new PodmanFiles({ graph: fixturePath('podman-files/graph'), run: fixturePath('podman-files/run') });
  const said = oracle[0] as PodmanSaid;
  for (const [kind, each] of [['service', source] as const, ['files', files] as const]) {
    t.equal(each.present, true);
    const all = await each.list();
    t.equal(all.length, 1, kind);
    t.match(
      all[0],
      {
        containerId: said.Id,
        runtimeName: 'podman',
        containerName: said.Name,
        containerPid: said.Pid,
        containerImageName: said.ImageName,
        containerImageDigest: said.ImageDigest,
        k8s: null,
        sandbox: false,
      },
      kind,
    );
    t.same(await each.lookup(query(said.Id)), all[0], kind);
    t.equal((await each.lookup(query('', said.Pid)))?.containerId, said.Id, `${kind}, by process`);
    t.equal(await each.lookup(query('nothing')), null, kind);
  }
  t.same(plain((await source.list())[0]?.labels ?? new Map()), said.Labels);
  const none = new PodmanFiles({ graph: '/nonexistent', run: '/nonexistent' });
  t.equal(none.present, false);
  t.same(await none.list(), []);
});

t.test('containerd, with namespaces default, moby and k8s.io', async (t) => {
  const { oracle, asked } = recording<ContainerdSaid>('containerd');
  const socket = await FakeSocket.listen(grpcReplay(asked));
  const source = new ContainerdSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const all = await source.list();
  t.equal(all.length, oracle.containers.length + oracle.docker.length);
  for (const said of oracle.containers) {
    const names = all.find((each) => each.containerId === said.id);
    t.match(names, { runtimeName: 'containerd', containerPid: said.pid, containerImageDigest: oracle.digest });
    t.same(plain(names?.labels ?? new Map()), said.Labels);
  }
  for (const { id, pid } of oracle.docker)
    t.match(
      all.find((each) => each.containerId === id),
      { runtimeName: 'docker', containerName: '', containerPid: pid },
    );
  for (const pod of oracle.pods) {
    const k8s = { namespace: pod.namespace, podName: pod.name, podUid: pod.uid, hostnetwork: pod.name === 'agent' };
    const main = await source.lookup(query(pod.containers.main));
    t.match(main, { containerName: 'main', sandbox: false, k8s: { ...k8s, containerName: 'main' } });
    t.same(plain(main?.k8s?.podLabels ?? new Map()), pod.name === 'agent' ? {} : { app: 'web' });
    t.match(await source.lookup(query(pod.sandbox)), { containerName: '', sandbox: true, k8s });
  }
  t.equal((await source.lookup(query('', oracle.containers[0]?.pid)))?.containerId, 'c1', 'by process');
  t.equal(await source.lookup(query('nothing')), null);
});

t.test('CRI', async (t) => {
  const { oracle, asked } = recording<ContainerdSaid>('cri');
  const socket = await FakeSocket.listen(grpcReplay(asked));
  const source = new CriSource(socket.path, 'containerd');
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const all = await source.list();
  t.equal(all.length, 4);
  for (const pod of oracle.pods) {
    const pid = (id: string): number | undefined => oracle.containers.find((each) => each.id === id)?.pid;
    const k8s = { namespace: pod.namespace, podName: pod.name, podUid: pod.uid, hostnetwork: pod.name === 'agent' };
    const main = all.find((each) => each.containerId === pod.containers.main);
    t.match(main, {
      containerName: 'main',
      containerPid: pid(pod.containers.main),
      sandbox: false,
      k8s,
      containerImageName: 'docker.io/library/rigbox:1',
    });
    t.match(main?.containerStartedAt, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    t.match(await source.lookup(query(pod.sandbox)), { containerPid: pid(pod.sandbox), sandbox: true, k8s });
  }
  t.equal(await source.lookup(query('nothing')), null);
});

t.test('CRI-O: annotations of its own, a digest in the image reference (fields as runtime.v1 defines them)', async (t) => {
  const map = (writer: ProtoWriter, field: number, entries: Readonly<Record<string, string>>): ProtoWriter =>
    Object.entries(entries).reduce((w, [key, value]) => w.bytes(field, new ProtoWriter().text(1, key).text(2, value).finish()), writer);
  const own = { 'io.kubernetes.pod.name': 'web-0', 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': 'u-1' };
  // As a kubelet asks: by the image's id.
  const annotations = { 'io.kubernetes.cri-o.Image': 'ab'.repeat(32), 'io.kubernetes.cri-o.ImageName': 'quay.io/shop/web:2' };
  const info = { sandboxID: 'sand', pid: 4711, runtimeSpec: { annotations } };
  const image = 'quay.io/shop/web@sha256:aaaa';
  const status = map(
    new ProtoWriter()
      .text(1, 'ctr')
      .bytes(2, new ProtoWriter().text(1, 'main').finish())
      .number(3, 1)
      .number(5, 1_700_000_000_000_000_000)
      .bytes(8, new ProtoWriter().text(1, 'ab'.repeat(32)).finish())
      .text(9, image),
    12,
    { ...own, 'io.kubernetes.container.name': 'main' },
  );
  const answer = map(new ProtoWriter().bytes(1, status.finish()), 2, { info: JSON.stringify(info) });
  const network = new ProtoWriter().bytes(1, new ProtoWriter().bytes(2, new ProtoWriter().number(1, 2).finish()).finish());
  const sandbox = map(new ProtoWriter().text(1, 'sand').bytes(6, network.finish()), 7, { ...own, app: 'web' });
  const asked = [
    { method: 'ContainerStatus', id: 'ctr', answer },
    { method: 'PodSandboxStatus', id: 'sand', answer: map(new ProtoWriter().bytes(1, sandbox.finish()), 2, { info: '{"pid":99}' }) },
  ].map((each) => ({
    method: `/runtime.v1.RuntimeService/${each.method}`,
    namespace: '',
    request: Buffer.from(new ProtoWriter().text(1, each.id).number(2, 1).finish()).toString('base64'),
    answer: Buffer.from(each.answer.finish()).toString('base64'),
  }));
  const socket = await FakeSocket.listen(grpcReplay(asked));
  const source = new CriSource(socket.path, 'cri-o');
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  t.match(await source.lookup(query('ctr')), {
    runtimeName: 'cri-o',
    containerName: 'main',
    containerPid: 4711,
    containerImageName: 'quay.io/shop/web:2',
    containerImageDigest: 'sha256:aaaa',
    containerStartedAt: '2023-11-14T22:13:20.000000000Z',
    k8s: { namespace: 'shop', podName: 'web-0', podUid: 'u-1', containerName: 'main', hostnetwork: true },
    sandbox: false,
  });
  t.match(await source.lookup(query('sand')), { containerPid: 99, sandbox: true, k8s: { podName: 'web-0' } });
});

t.test('CRI-O calls an image as the pod did, whatever else it is called', async (t) => {
  const { asked, oracle } = recording<{ readonly containers: readonly { readonly id: string; readonly image: string }[] }>('cri-o');
  // Another name of the same image, as CRI-O may pick where it has several.
  const renamed = asked.map((each) => ({
    ...each,
    answer: Buffer.from(rename(Buffer.from(String(each.answer), 'base64'))).toString('base64'),
  }));
  const socket = await FakeSocket.listen(grpcReplay(renamed));
  const source = new CriSource(socket.path, 'cri-o');
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  for (const { id, image } of oracle.containers) t.equal((await source.lookup(query(id)))?.containerImageName, image);
});

/** Of the same length, so that the lengths around it hold. */
function rename(answer: Buffer): Buffer {
  const name = 'io.kubernetes.cri-o.ImageName":"docker.io/library/';
  return Buffer.from(answer.toString('latin1').replaceAll(`${name}rigbox:1`, `${name}others:1`), 'latin1');
}

t.test("docker's name and containerd's process become one", async (t) => {
  const docker = recording<readonly DockerSaid[]>('docker');
  const below = recording<ContainerdSaid>('containerd');
  const sockets = [await FakeSocket.listen(httpReplay(docker.asked)), await FakeSocket.listen(grpcReplay(below.asked))] as const;
  const joined = joinSources([new DockerSource(sockets[0].path), new DockerSource('/nonexistent'), new ContainerdSource(sockets[1].path)]);
  t.teardown(async () => {
    joined.close();
    for (const socket of sockets) await socket.close();
  });
  const said = docker.oracle[0] as DockerSaid;
  t.match(await joined.lookup(query(said.Id)), { runtimeName: 'docker', containerName: 'd1', containerPid: said.State.Pid });
  const all = await joined.list();
  t.equal(new Set(all.map((each) => each.containerId)).size, all.length, 'each once');
  t.equal(all.length, below.oracle.containers.length + 2);
});

t.test('events come as they happen, also after the daemon was restarted', async (t) => {
  const { oracle, asked } = recording<readonly DockerSaid[]>('docker');
  const id = (oracle[0] as DockerSaid).Id;
  const streams: { write(text: string): unknown }[] = [];
  const socket = await FakeSocket.listen(httpReplay(asked, (response) => streams.push(response)));
  const source = new DockerSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const events: NameEvent[] = [];
  source.onEvent((event) => events.push(event));
  const line = (action: string): string => `${JSON.stringify({ Type: 'container', Action: action, Actor: { ID: id } })}\n`;
  await until(() => streams.length === 1, 'the stream is open');
  streams[0]?.write(`no JSON\n{}\n[]\n${line('start').slice(0, 20)}`);
  streams[0]?.write(line('start').slice(20));
  await until(() => events.length === 1, 'the start came');
  t.match(events[0], { type: 'names', id, names: { containerName: 'd1' } });
  socket.dropConnections();
  await until(() => streams.length === 2, 'it is opened again');
  streams[1]?.write(line('destroy'));
  await until(() => events.length === 2, 'the end came');
  t.same(events[1], { type: 'removed', id });
});

t.test("containerd's events carry the process", async (t) => {
  const { asked } = recording<ContainerdSaid>('containerd');
  const streams: { write(bytes: Uint8Array): unknown }[] = [];
  const subscribe = '/containerd.services.events.v1.Events/Subscribe';
  const socket = await FakeSocket.listen(grpcReplay(asked, new Map([[subscribe, (stream) => streams.push(stream)]])));
  const source = new ContainerdSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const events: NameEvent[] = [];
  source.onEvent((event) => events.push(event));
  await until(() => streams.length === 1, 'the stream is open');
  const envelope = (topic: string, event: ProtoWriter): Buffer =>
    grpcMessage(
      new ProtoWriter()
        .text(2, 'default')
        .text(3, topic)
        .bytes(4, new ProtoWriter().text(1, 't').bytes(2, event.finish()).finish())
        .finish(),
    );
  // Messages do not begin where packets do.
  const create = envelope('/tasks/create', new ProtoWriter().text(1, 'c1').number(6, 4242));
  streams[0]?.write(create.subarray(0, 3));
  streams[0]?.write(
    Buffer.concat([
      create.subarray(3),
      grpcMessage(Uint8Array.of(0xff, 0xff)),
      envelope('/containers/delete', new ProtoWriter().text(1, 'c2')),
    ]),
  );
  await until(() => events.length === 2, 'both came');
  t.match(
    events.find((each) => each.type === 'names'),
    { id: 'c1', names: { containerPid: 4242 } },
  );
  t.match(
    events.find((each) => each.type === 'removed'),
    { id: 'c2' },
  );
});

t.test("a pod's labels are its own, not those of its sandbox's image", async (t) => {
  const entry = (writer: ProtoWriter, field: number, key: string, value: ProtoWriter): ProtoWriter =>
    writer.bytes(field, new ProtoWriter().text(1, key).bytes(2, value.finish()).finish());
  const own = { 'io.kubernetes.pod.name': 'web-0', 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': 'u-1', app: 'web' };
  let sandbox = new ProtoWriter().text(1, 'sand').text(3, 'pause:1');
  // As containerd 1.6 keeps it (pkg/cri/server): the image's labels are among the container's.
  for (const [key, value] of Object.entries({ ...own, 'io.cri-containerd.kind': 'sandbox', maintainer: 'image' }))
    sandbox = sandbox.bytes(2, new ProtoWriter().text(1, key).text(2, value).finish());
  const note = JSON.stringify({ Version: 'v1', Metadata: { ID: 'sand', Config: { labels: own } } });
  sandbox = entry(sandbox, 10, 'io.cri-containerd.sandbox.metadata', new ProtoWriter().text(1, 'type').text(2, note));
  const asked = [
    {
      method: '/containerd.services.containers.v1.Containers/Get',
      namespace: 'k8s.io',
      request: Buffer.from(new ProtoWriter().text(1, 'sand').finish()).toString('base64'),
      answer: Buffer.from(new ProtoWriter().bytes(1, sandbox.finish()).finish()).toString('base64'),
    },
  ];
  const socket = await FakeSocket.listen(grpcReplay(asked));
  const source = new ContainerdSource(socket.path);
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const found = await source.lookup(query('sand'));
  t.same([...(found?.k8s?.podLabels ?? [])], [['app', 'web']]);
  t.equal(found?.sandbox, true);
});

t.test("CRI's events name containers that are gone when they are read", async (t) => {
  const labels = (writer: ProtoWriter, field: number, entries: Readonly<Record<string, string>>): ProtoWriter =>
    Object.entries(entries).reduce((w, [key, value]) => w.bytes(field, new ProtoWriter().text(1, key).text(2, value).finish()), writer);
  const own = { 'io.kubernetes.pod.name': 'web-0', 'io.kubernetes.pod.namespace': 'shop', 'io.kubernetes.pod.uid': 'u-1' };
  const status = (id: string, name: string): Uint8Array =>
    labels(new ProtoWriter().text(1, id).bytes(2, new ProtoWriter().text(1, name).finish()), 12, {
      ...own,
      'io.kubernetes.container.name': name,
    }).finish();
  const streams: { write(bytes: Uint8Array): unknown }[] = [];
  const socket = await FakeSocket.listen(
    grpcReplay([], new Map([['/runtime.v1.RuntimeService/GetContainerEvents', (stream) => streams.push(stream)]])),
  );
  const source = new CriSource(socket.path, 'cri-o');
  t.teardown(async () => {
    source.close();
    await socket.close();
  });
  const events: NameEvent[] = [];
  source.onEvent((event) => events.push(event));
  await until(() => streams.length === 1, 'the stream is open');
  const sandbox = labels(new ProtoWriter().text(1, 'sand'), 7, { ...own, app: 'web' }).finish();
  const event = (id: string, type: number): Buffer =>
    grpcMessage(
      new ProtoWriter()
        .text(1, id)
        .number(2, type)
        .bytes(4, sandbox)
        .bytes(5, status('c1', 'first'))
        .bytes(5, status('c2', 'second'))
        .finish(),
    );
  streams[0]?.write(event('c1', 1));
  streams[0]?.write(event('c1', 3));
  await until(() => events.some(({ type }) => type === 'removed'), 'the end came');
  t.match(
    events.map((each) => [each.id, each.type, each.type === 'names' ? each.names.containerName : '']),
    [
      ['c1', 'names', 'first'],
      ['c2', 'names', 'second'],
      ['c1', 'removed', ''],
    ],
    'the one meant, and one whose own event is missing, each once',
  );
  t.match(events[0], { names: { runtimeName: 'cri-o', k8s: { podName: 'web-0', namespace: 'shop' } } });
  t.same(events[0]?.type === 'names' ? [...(events[0].names.k8s?.podLabels ?? [])] : [], [['app', 'web']]);
});

type Make = (path: string, onNotice: (message: string) => void) => NameSource;
const kinds: ReadonlyMap<string, Make> = new Map<string, Make>([
  ['docker', (path, onNotice) => new DockerSource(path, { timeoutMs: 40, onNotice })],
  ['podman', (path, onNotice) => new PodmanSource(path, { timeoutMs: 40, onNotice })],
  ['containerd', (path, onNotice) => new ContainerdSource(path, { timeoutMs: 40, onNotice })],
  ['CRI', (path, onNotice) => new CriSource(path, 'cri-o', { timeoutMs: 40, onNotice })],
]);

for (const [kind, make] of kinds) {
  for (const [how, server] of brokenServers) {
    t.test(`a socket of ${kind} that ${how} costs nothing but the name`, async (t) => {
      const socket = await FakeSocket.listen(server());
      const notices: string[] = [];
      const source = make(socket.path, (message) => notices.push(message));
      source.onEvent?.(() => t.fail('there is no event'));
      const started = performance.now();
      for (let i = 0; i < 5; i++) t.equal(await source.lookup(query('abc')), null);
      t.same(await source.list(), []);
      t.ok(performance.now() - started < 5000);
      t.ok(notices.length <= 2, notices.join('\n'));
      source.close();
      await socket.close();
    });
  }

  t.test(`${kind} that is not there, and one that was`, async (t) => {
    const gone = make('/nonexistent/socket', () => t.fail('absence is no news'));
    t.equal(gone.present, false);
    t.equal(await gone.lookup(query('abc')), null);
    t.same(await gone.list(), []);
    gone.close();
    gone.close();
  });
}
