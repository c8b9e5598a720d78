// The cases against a real kube-apiserver and etcd (`npm run test:k8s`): admin by a client certificate, reader by a token, nobody by a file with one.
import { readFileSync } from 'node:fs';
import t from 'tap';
import { KubernetesApi } from '../../../src/enrich/kubernetes/api.ts';
import { at, text } from '../../../src/enrich/json.ts';
import { ClusterNames } from '../../../src/enrich/kubernetes/names.ts';
import { machineNames } from '../../../src/enrich/runtimes/machine.ts';
import { Rig } from '../runtimes/rig.ts';
import type { EndpointName } from '../../../src/gadget/context.ts';
import { RecordList } from '../../../src/gadget/record-list.ts';
import { EventOutput } from '../../../src/output/output.ts';
import { openAdvisor, rowBytes, type Row } from '../../output/network-policy/rows.ts';
import { clusterCases, pod, running, started } from './cases.ts';
import { followCases } from './follow-cases.ts';
import { startRealServer } from './real-server.ts';

const { server, stop } = startRealServer();
t.teardown(stop);

t.test('against a real API server', async (t) => {
  clusterCases(t, () => server, 300);
  followCases(t, () => server);
});

t.test('a page that the server has forgotten is refused with 410, as by the server of the unit tests', async (t) => {
  const api = new KubernetesApi(server.access('admin'));
  t.teardown(() => api.close());
  const pods = '/api/v1/namespaces/shop/pods';
  for (const name of ['one', 'two']) await server.create(pods, pod(name));
  const { signal } = new AbortController();
  const page = await api.get('/api/v1/pods?limit=1', signal);
  const token = encodeURIComponent(text(at(page, 'metadata', 'continue')));
  t.not(token, '');
  await server.create(pods, pod('three'));
  await server.forget();
  await t.rejects(api.get(`/api/v1/pods?limit=1&continue=${token}`, signal), { code: 'E_KUBERNETES_API', status: 410 });
  const cluster = await started(server, { pageSize: 1 });
  t.teardown(() => cluster.close());
  t.equal(cluster.counts.pods, 3);
});

t.test('the policies that advise_networkpolicy writes are taken by the server', async (t) => {
  const labels = (app: string): string => `app=${app},pod-template-hash=7d4b9`;
  const name = (app: string, namespace: string): EndpointName => ({
    kind: 'pod',
    name: `${app}-0`,
    namespace,
    labels: labels(app),
    selector: '',
  });
  const { gadget, source } = openAdvisor({
    pods: new Map([
      [1, { name: 'web-0', namespace: 'shop', labels: labels('web'), owner: 'web' }],
      [2, { name: 'db-0', namespace: 'shop', labels: labels('db'), owner: 'db' }],
    ]),
    addresses: new Map([
      ['10.1.0.1', name('web', 'shop')],
      ['10.1.0.2', name('db', 'shop')],
      ['10.1.0.3', name('client', 'default')],
      ['fd00::2', name('db', 'shop')],
      [
        '10.96.0.10',
        { ...name('dns', 'kube-system'), kind: 'svc', selector: 'k8s-app=kube-dns', targetPorts: new Map([['53/UDP', 'dns']]) },
      ],
    ]),
  });
  let text = '';
  const target = { write: (chunk: Uint8Array): boolean => ((text += Buffer.from(chunk).toString()), true), once: () => target };
  const output = new EventOutput({ mode: 'advise', sources: gadget.sources, target });
  output.open();
  const rows: Row[] = [
    { netns: 1, egress: true, address: '10.1.0.2', port: 5432 },
    { netns: 1, egress: true, address: 'fd00::2', port: 5432 },
    { netns: 1, egress: true, address: '10.96.0.10', port: 53, proto: 17 },
    { netns: 1, egress: true, address: '203.0.113.9', port: 443 },
    { netns: 1, egress: false, address: '10.1.0.3', port: 8080 },
    { netns: 2, egress: false, address: '10.1.0.1', port: 5432 },
  ];
  output.batch(source, new RecordList(Buffer.concat(rows.map((row) => rowBytes(source, row))), source.size, source.makeRecord()));
  output.end();
  const documents = text.split(/^---$/m).filter((each) => /^kind: NetworkPolicy$/m.test(each));
  t.equal(documents.length, 2, text);
  for (const document of documents) {
    const made = await server.post('/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies?dryRun=All', document, 'application/yaml');
    t.match(made.metadata.name, /^(?:web|db)-network$/);
    // The server gives back what it has understood: nothing of the rules was left out as unknown.
    t.match(made, { spec: { policyTypes: ['Ingress', 'Egress'], podSelector: { matchLabels: { app: /^(?:web|db)$/ } } } });
  }
  const [document = ''] = documents;
  await t.rejects(
    server.post(
      '/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies?dryRun=All',
      document.replace(/port: \d+/, 'port: 99999'),
      'application/yaml',
    ),
    /422/,
    'which it would refuse otherwise',
  );
});

t.test("containers of real pods get node, labels and owner of the server's pods, with and without the runtime", async (t) => {
  const rig = new Rig('cri');
  t.teardown(() => rig.stop());
  const pods = '/api/v1/namespaces/shop/pods';
  const owners = [{ apiVersion: 'apps/v1', kind: 'StatefulSet', name: 'db', uid: 's-uid', controller: true }];
  const made = await server.create(pods, pod('db-0', { labels: { app: 'db' }, owners }));
  const real = rig.pod('db-0', 'main=sleep 1000', '--namespace', 'shop', '--uid', made.metadata.uid, '--label', 'app=db');
  const id = real.containers['main'] ?? '';
  await server.patchStatus(`${pods}/db-0`, {
    ...running('10.90.3.1'),
    containerStatuses: [{ name: 'main', containerID: `containerd://${id}`, image: 'x', imageID: '', ready: true, restartCount: 0 }],
  });
  const cluster = await started(server);
  t.teardown(() => cluster.close());
  const pid = Number(
    rig
      .exec('cri', 'task', 'ls')
      .split('\n')
      .find((line) => line.startsWith(id))
      ?.split(/\s+/)[1] ?? 0,
  );
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  const cgroupPath = lines.at(-1)?.split(':').slice(2).join(':') ?? '';
  const k8s = {
    node: 'node-1',
    namespace: 'shop',
    podName: 'db-0',
    podUid: made.metadata.uid,
    containerName: 'main',
    hostnetwork: false,
    owner: { kind: 'StatefulSet', name: 'db' },
  };
  for (const containerd of [[rig.sockets.cri], []]) {
    const names = new ClusterNames(machineNames({ sockets: { docker: [], podman: [], crio: [], podmanFolders: [], containerd } }), cluster);
    const found = await names.lookup({ id, pid, cgroupPath, runtimeHint: '' });
    t.match(found, { containerId: id, containerName: 'main', k8s }, `sockets: ${containerd.length}`);
    t.equal(found?.k8s?.podLabels.get('app'), 'db');
    names.close();
  }
  await server.remove(`${pods}/db-0`);
});
