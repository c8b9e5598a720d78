import t from 'tap';
import type { NameEvent, NameQuery, NameSource, RuntimeNames } from '../../../src/enrich/containers/names.ts';
import { Backoff } from '../../../src/enrich/backoff.ts';
import { ClusterNames } from '../../../src/enrich/kubernetes/names.ts';
import { emptyNames, emptyPod } from '../../../src/enrich/runtimes/source.ts';
import { pod, running, started } from './cases.ts';
import { FakeApiServer } from './fake-api-server.ts';

const pods = '/api/v1/namespaces/shop/pods';
const id = 'ab'.repeat(32);

/** A runtime that knows these containers. */
class FixedNames implements NameSource {
  readonly name = 'fixed';
  readonly present = true;
  readonly #known: readonly RuntimeNames[];
  listener: (event: NameEvent) => void = () => {};

  constructor(known: readonly RuntimeNames[]) {
    this.#known = known;
  }

  lookup(query: NameQuery): Promise<RuntimeNames | null> {
    return Promise.resolve(this.#known.find((each) => each.containerId === query.id) ?? null);
  }

  list(): Promise<readonly RuntimeNames[]> {
    return Promise.resolve(this.#known);
  }

  onEvent(listener: (event: NameEvent) => void): void {
    this.listener = listener;
  }

  close(): void {
    // Nothing is held.
  }
}

const query = (cgroupPath: string): NameQuery => ({ id, pid: 0, cgroupPath, runtimeHint: '' });

t.test("a cluster adds node, labels and owner to a runtime's names", async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const owners = [{ kind: 'ReplicaSet', name: 'web-5d4f', controller: true }];
  const made = await server.create(pods, pod('web-5d4f-x', { labels: { app: 'web', 'pod-template-hash': '5d4f' }, owners }));
  const cluster = await started(server);
  t.teardown(() => cluster.close());
  const k8s = { ...emptyPod, namespace: 'shop', podName: 'web-5d4f-x', podUid: made.metadata.uid, containerName: 'main' };
  const known: RuntimeNames = { ...emptyNames, containerId: id, runtimeName: 'containerd', containerName: 'main', k8s };
  const inner = new FixedNames([known, { ...emptyNames, containerId: 'plain', containerName: 'plain' }]);
  const names = new ClusterNames(inner, cluster);
  const wanted = {
    ...known,
    k8s: {
      ...k8s,
      node: 'node-1',
      podLabels: new Map([
        ['app', 'web'],
        ['pod-template-hash', '5d4f'],
      ]),
      hostnetwork: false,
      // There is no such ReplicaSet to be asked: the hash tells.
      owner: { kind: 'Deployment', name: 'web' },
    },
  };
  t.same(await names.lookup(query('')), wanted);
  t.same((await names.list())[0], wanted);
  t.equal((await names.list())[1]?.k8s, null, 'what is in no pod stays so');
  const events: NameEvent[] = [];
  names.onEvent((event) => events.push(event));
  inner.listener({ type: 'removed', id });
  inner.listener({ type: 'names', id, names: known });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.same(events, [
    { type: 'removed', id },
    { type: 'names', id, names: wanted },
  ]);
});

t.test("without any runtime the pod's uid in the cgroup's path is enough", async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const made = await server.create(
    pods,
    pod('db-0', { owners: [{ kind: 'StatefulSet', name: 'db', controller: true }], spec: { hostNetwork: true } }),
  );
  await server.patchStatus(`${pods}/db-0`, {
    ...running('10.0.0.1'),
    containerStatuses: [{ name: 'main', containerID: `containerd://${id}` }],
  });
  const cluster = await started(server);
  t.teardown(() => cluster.close());
  const names = new ClusterNames(new FixedNames([]), cluster);
  t.match(await names.lookup(query(`/kubepods/besteffort/pod${made.metadata.uid}/${id}`)), {
    containerId: id,
    containerName: 'main',
    k8s: {
      node: 'node-1',
      namespace: 'shop',
      podName: 'db-0',
      podUid: made.metadata.uid,
      containerName: 'main',
      hostnetwork: true,
      owner: { kind: 'StatefulSet', name: 'db' },
    },
  });
  t.equal(await names.lookup(query(`/kubepods/besteffort/pod00000000-0000-0000-0000-000000000000/${id}`)), null);
  t.equal(await names.lookup(query(`/docker/${id}`)), null);
});

t.test('waits grow, and are not the same for all', async (t) => {
  const low = new Backoff(100, 1000, () => 0);
  const high = new Backoff(100, 1000, () => 0.999999);
  t.same(
    Array.from({ length: 6 }, () => low.next()),
    [50, 100, 200, 400, 500, 500],
  );
  t.same(
    Array.from({ length: 6 }, () => Math.round(high.next())),
    [100, 200, 400, 800, 1000, 1000],
  );
  low.reset();
  t.equal(low.next(), 50);
});
