// What must hold against any API server.
import type { Test } from 'tap';
import { Cluster } from '../../../src/enrich/kubernetes/cluster.ts';
import { EndpointPart } from '../../../src/enrich/kubernetes/part.ts';
import { HeldEvents, type Lane } from '../../../src/gadget/held-events.ts';
import { openAdvisor, rowBytes } from '../../output/network-policy/rows.ts';
import { until, type TestServer } from './server.ts';

const pods = '/api/v1/namespaces/shop/pods';
const fast = { minBackoffMs: 5, maxBackoffMs: 50 } as const;

export function pod(
  name: string,
  more: { readonly labels?: object; readonly spec?: object; readonly owners?: readonly object[] } = {},
): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: more.labels ?? { app: name }, ...(more.owners === undefined ? {} : { ownerReferences: more.owners }) },
    spec: { nodeName: 'node-1', automountServiceAccountToken: false, containers: [{ name: 'main', image: 'x' }], ...more.spec },
  };
}

export const running = (...ips: readonly string[]): object => ({ phase: 'Running', podIP: ips[0], podIPs: ips.map((ip) => ({ ip })) });

const serviceSpec = (more: object): object => ({ selector: { app: 'web' }, ports: [{ port: 80 }], ...more });

const reference = (kind: string, name: string, uid: string): object => ({ apiVersion: 'apps/v1', kind, name, uid, controller: true });

export async function started(server: TestServer, options: ConstructorParameters<typeof Cluster>[1] = {}): Promise<Cluster> {
  const cluster = new Cluster(server.access('admin'), { ...fast, ...options });
  await cluster.start();
  return cluster;
}

/** Each case makes and removes its own objects. */
export function clusterCases(t: Test, serverOf: () => TestServer, churnPods: number): void {
  t.test('a pod has all of its addresses, from status to deletion', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    await server.create(pods, pod('dual', { labels: { app: 'web', tier: 'front' } }));
    t.equal(cluster.endpoint('10.90.1.1'), null);
    await server.patchStatus(`${pods}/dual`, running('10.90.1.1', 'fd00:0:0::1:1'));
    const wanted = { kind: 'pod', name: 'dual', namespace: 'shop', labels: 'app=web,tier=front', selector: '' };
    await until(() => cluster.endpoint('fd00::1:1') !== null, 'the pod has its addresses');
    t.same(cluster.endpoint('10.90.1.1'), wanted);
    t.same(cluster.endpoint('fd00::1:1'), wanted);
    t.same(cluster.endpoint('::ffff:10.90.1.1'), wanted, 'as dual-stack sockets write it');
    await server.remove(`${pods}/dual`);
    await until(() => cluster.endpoint('10.90.1.1') === null, 'the address is free');
    t.equal(cluster.endpoint('fd00::1:1'), null);
  });

  t.test("a pod in the host's network is not called by the node's address", async (t) => {
    const server = serverOf();
    await server.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', labels: { zone: 'a' } } });
    await server.patchStatus('/api/v1/nodes/node-1', {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.10' },
        { type: 'Hostname', address: 'node-1' },
      ],
    });
    await server.create(pods, pod('agent', { spec: { hostNetwork: true } }));
    await server.patchStatus(`${pods}/agent`, running('192.0.2.10'));
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    t.match(cluster.endpoint('192.0.2.10'), { kind: 'node', name: 'node-1', namespace: '' });
    await server.remove(`${pods}/agent`);
    await server.remove('/api/v1/nodes/node-1');
    await until(() => cluster.endpoint('192.0.2.10') === null, 'the node is gone');
  });

  t.test('an address that is used again belongs to the new pod, also when the old one is deleted later', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    await server.create(pods, pod('job-1'));
    await server.patchStatus(`${pods}/job-1`, running('10.90.1.2'));
    await until(() => cluster.endpoint('10.90.1.2')?.name === 'job-1', 'the first pod has it');
    await server.patchStatus(`${pods}/job-1`, { phase: 'Succeeded' });
    await until(() => cluster.endpoint('10.90.1.2') === null, 'a finished pod has no address');
    await server.create(pods, pod('job-2'));
    await server.patchStatus(`${pods}/job-2`, running('10.90.1.2'));
    await until(() => cluster.endpoint('10.90.1.2')?.name === 'job-2', 'the second pod has it');
    const marker = await server.create(pods, pod('marker'));
    await server.remove(`${pods}/job-1`);
    await server.remove(`${pods}/marker`);
    await until(() => cluster.pod(marker.metadata.uid) === null, 'both deletions were seen');
    t.equal(cluster.endpoint('10.90.1.2')?.name, 'job-2');
    await server.remove(`${pods}/job-2`);
  });

  t.test('a pod that is made again under its name is another one, and so is a new address', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const first = await server.create(pods, pod('web-0', { labels: { generation: 'one' } }));
    await server.patchStatus(`${pods}/web-0`, running('10.90.1.3'));
    await server.remove(`${pods}/web-0`);
    const second = await server.create(pods, pod('web-0', { labels: { generation: 'two' } }));
    await server.patchStatus(`${pods}/web-0`, running('10.90.1.4'));
    await until(() => cluster.endpoint('10.90.1.4') !== null, 'the second pod has its address');
    t.equal(cluster.pod(first.metadata.uid), null);
    t.equal(cluster.pod(second.metadata.uid)?.labels, 'generation=two');
    t.equal(cluster.endpoint('10.90.1.3'), null);
    await server.patchStatus(`${pods}/web-0`, running('10.90.1.5'));
    await until(() => cluster.endpoint('10.90.1.5') !== null, 'the address changed');
    t.equal(cluster.endpoint('10.90.1.4'), null);
    await server.remove(`${pods}/web-0`);
  });

  t.test('services have their cluster address, headless ones none', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const services = '/api/v1/namespaces/shop/services';
    const made = await server.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'front', labels: { of: 'shop' } },
      spec: serviceSpec({ clusterIP: '10.96.7.7', externalIPs: ['198.51.100.7'] }),
    });
    await server.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'headless' },
      spec: serviceSpec({ clusterIP: 'None' }),
    });
    await until(() => cluster.endpoint('198.51.100.7') !== null, 'the service is known');
    t.same(cluster.endpoint(made.spec?.clusterIP ?? ''), {
      kind: 'svc',
      name: 'front',
      namespace: 'shop',
      labels: 'of=shop',
      selector: 'app=web',
    });
    t.equal(cluster.endpoint('None'), null);
    await server.remove(`${services}/headless`);
    await server.remove(`${services}/front`);
    await until(() => cluster.endpoint('10.96.7.7') === null, 'the service is gone');
  });

  t.test('addresses written into an endpoint slice by hand are called as their service', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const slices = '/apis/discovery.k8s.io/v1beta1/namespaces/shop/endpointslices';
    await server.create(slices, {
      apiVersion: 'discovery.k8s.io/v1beta1',
      kind: 'EndpointSlice',
      metadata: { name: 'db-1', labels: { 'kubernetes.io/service-name': 'db' } },
      addressType: 'IPv4',
      ports: [],
      endpoints: [{ addresses: ['203.0.113.5'] }, { addresses: ['10.90.9.9'], targetRef: { kind: 'Pod', name: 'x', namespace: 'shop' } }],
    });
    await until(() => cluster.endpoint('203.0.113.5') !== null, 'the slice is known');
    t.match(cluster.endpoint('203.0.113.5'), { kind: 'svc', name: 'db', namespace: 'shop' });
    t.equal(cluster.endpoint('10.90.9.9'), null, "a pod's address is the pod's to tell");
    await server.remove(`${slices}/db-1`);
  });

  t.test('the owner of a pod is what controls its controller', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const sets = '/apis/apps/v1/namespaces/shop/replicasets';
    const template = { metadata: { labels: { app: 'api' } }, spec: { containers: [{ name: 'main', image: 'x' }] } };
    const set = await server.create(sets, {
      apiVersion: 'apps/v1',
      kind: 'ReplicaSet',
      metadata: { name: 'api-5d4f', ownerReferences: [reference('Deployment', 'api', 'd-uid')] },
      spec: { replicas: 0, selector: { matchLabels: { app: 'api' } }, template },
    });
    const owned = await server.create(pods, pod('api-5d4f-x', { owners: [reference('ReplicaSet', 'api-5d4f', set.metadata.uid)] }));
    const single = await server.create(pods, pod('single'));
    const stateful = await server.create(pods, pod('db-0', { owners: [reference('StatefulSet', 'db', 's-uid')] }));
    const daemon = await server.create(pods, pod('agent-x', { owners: [reference('DaemonSet', 'agent', 'a-uid')] }));
    const jobs = '/apis/batch/v1/namespaces/shop/jobs';
    const job = (name: string, owners: readonly object[]): object => ({
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name, ...(owners.length > 0 ? { ownerReferences: owners } : {}) },
      spec: { template: { spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'x' }] } } },
    });
    const nightly = await server.create(jobs, job('backup-2711', [{ ...reference('CronJob', 'backup', 'c-uid'), apiVersion: 'batch/v1' }]));
    const once = await server.create(jobs, job('once', []));
    const ofCron = await server.create(pods, pod('backup-2711-x', { owners: [reference('Job', 'backup-2711', nightly.metadata.uid)] }));
    const ofJob = await server.create(pods, pod('once-x', { owners: [reference('Job', 'once', once.metadata.uid)] }));
    await until(() => cluster.pod(ofJob.metadata.uid) !== null, 'the pods are known');
    const ownerOf = async (uid: string): Promise<object | null> => {
      const found = cluster.pod(uid);
      return found === null ? null : await cluster.owner(found);
    };
    t.same(await ownerOf(owned.metadata.uid), { kind: 'Deployment', name: 'api' });
    t.same(await ownerOf(single.metadata.uid), { kind: '', name: '' });
    t.same(await ownerOf(stateful.metadata.uid), { kind: 'StatefulSet', name: 'db' });
    t.same(await ownerOf(daemon.metadata.uid), { kind: 'DaemonSet', name: 'agent' });
    t.same(await ownerOf(ofCron.metadata.uid), { kind: 'CronJob', name: 'backup' });
    t.same(await ownerOf(ofJob.metadata.uid), { kind: 'Job', name: 'once' });
    for (const name of ['api-5d4f-x', 'single', 'db-0', 'agent-x', 'backup-2711-x', 'once-x']) await server.remove(`${pods}/${name}`);
    for (const name of ['backup-2711', 'once']) await server.remove(`${jobs}/${name}`);
    await server.remove(`${sets}/api-5d4f`);
  });

  t.test("an event with a new pod's address waits for the pod's name, two seconds at most, and only while one is expected", async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    const part = new EndpointPart(cluster);
    const { source } = openAdvisor({ pods: new Map(), addresses: new Map() });
    const judge = part.judge(source);
    const held = new HeldEvents(1 << 20);
    part.onRelease(() => held.release());
    t.teardown(() => {
      part.close();
      cluster.close();
    });
    const shown: { readonly address: string; readonly name: string | null; readonly at: number }[] = [];
    const lane: Lane = {
      source,
      judge,
      deliver(record) {
        const address = source.field('endpoint.addr').text(record, record.offset);
        shown.push({ address, name: cluster.endpoint(address)?.name ?? null, at: performance.now() });
      },
    };
    const event = (address: string): number => {
      const bytes = rowBytes(source, { netns: 1, egress: true, address, port: 80 });
      held.push(lane, new DataView(bytes.buffer), 0, bytes.length);
      held.release();
      return performance.now();
    };
    event('10.92.0.1');
    t.match(shown, [{ address: '10.92.0.1', name: null }], 'nothing is expected: at once');
    await server.create(pods, pod('fresh'));
    await until(() => cluster.expectsPods, 'the pod is expected');
    event('127.0.0.1');
    t.equal(shown.length, 2, "loopback is no pod's");
    const asked = event('10.92.0.2');
    event('10.92.0.3');
    t.equal(held.length, 2, 'both may be its address');
    await server.patchStatus(`${pods}/fresh`, running('10.92.0.2'));
    await until(() => shown.length === 4, 'the name is there');
    t.match(
      shown.slice(2),
      [
        { address: '10.92.0.2', name: 'fresh' },
        { address: '10.92.0.3', name: null },
      ],
      'and nobody else is expected',
    );
    t.comment(`held for ${((shown[2]?.at ?? 0) - asked).toFixed(0)} ms`);
    // A pod whose address never comes holds nothing for long, and the same address once.
    await server.create(pods, pod('stuck'));
    await until(() => cluster.expectsPods, 'the next pod is expected');
    const from = event('10.92.0.4');
    await until(() => shown.length === 5, 'it is shown all the same', 30_000);
    const ms = (shown[4]?.at ?? 0) - from;
    t.ok(ms >= 1900, `not before its time: ${ms.toFixed(0)} ms`);
    t.equal(shown[4]?.name, null);
    event('10.92.0.4');
    t.equal(shown.length, 6, 'not again');
    for (const name of ['fresh', 'stuck']) await server.remove(`${pods}/${name}`);
    await until(() => !cluster.expectsPods, 'nobody is expected');
  });

  t.test('a held event is shown with the name of whom the address belonged to when it came', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    const part = new EndpointPart(cluster);
    const { source } = openAdvisor({ pods: new Map(), addresses: new Map() });
    const held = new HeldEvents(1 << 20, (time) => part.asOf(time));
    part.onRelease(() => held.release());
    t.teardown(() => {
      part.close();
      cluster.close();
    });
    const shown: string[] = [];
    const lane: Lane = {
      source,
      judge: part.judge(source),
      deliver(record) {
        const address = source.field('endpoint.addr').text(record, record.offset);
        shown.push(`${address} ${cluster.endpoint(address)?.name ?? 'raw'}`);
      },
    };
    const event = (address: string): void => {
      const bytes = rowBytes(source, { netns: 1, egress: true, address, port: 80 });
      held.push(lane, new DataView(bytes.buffer), 0, bytes.length);
      held.release();
    };
    await server.create(pods, pod('first'));
    await server.patchStatus(`${pods}/first`, running('10.92.1.1'));
    await until(() => cluster.endpoint('10.92.1.1')?.name === 'first', 'the first pod has the address');
    await server.create(pods, pod('awaited'));
    await until(() => cluster.expectsPods, 'another one is expected');
    event('10.92.1.2');
    event('10.92.1.1');
    t.equal(held.length, 2, 'the second event waits behind the first');
    await server.remove(`${pods}/first`);
    await server.create(pods, pod('second'));
    await server.patchStatus(`${pods}/second`, running('10.92.1.1'));
    await until(() => cluster.endpoint('10.92.1.1')?.name === 'second', 'the address is used again');
    event('10.92.1.1');
    // As late as the first event can be shown.
    await server.patchStatus(`${pods}/awaited`, running('10.92.1.2'));
    await until(() => held.length === 0, 'all are shown');
    t.same(shown, ['10.92.1.2 awaited', '10.92.1.1 first', '10.92.1.1 second']);
    t.equal(cluster.endpoint('10.92.1.1')?.name, 'second', 'and what comes now is of the second');
    for (const name of ['awaited', 'second']) await server.remove(`${pods}/${name}`);
    await until(() => !cluster.expectsPods, 'nobody is expected');
  });

  t.test('what a user may not see is told once; the rest goes on', async (t) => {
    const server = serverOf();
    const notices: string[] = [];
    await server.create(pods, pod('seen'));
    await server.patchStatus(`${pods}/seen`, running('10.90.1.6'));
    const cluster = new Cluster(server.access('reader'), { ...fast, onNotice: (message) => notices.push(message) });
    t.teardown(() => cluster.close());
    await cluster.start();
    t.equal(cluster.endpoint('10.90.1.6')?.name, 'seen');
    await new Promise((resolve) => setTimeout(resolve, 150));
    t.equal(notices.length, 3, notices.join('\n'));
    for (const kind of ['services', 'nodes', 'endpointslices'])
      t.ok(
        notices.some((each) => each.includes(`refuses /`) && each.includes(kind)),
        kind,
      );
    const blind = new Cluster(server.access('nobody'), { ...fast, onNotice: (message) => notices.push(message) });
    t.teardown(() => blind.close());
    await blind.start();
    t.equal(blind.endpoint('10.90.1.6'), null, 'the raw address is left');
    await server.remove(`${pods}/seen`);
  });

  t.test(`${churnPods} pods come and go, sharing few addresses: no address is ever called wrongly`, async (t) => {
    const server = serverOf();
    const cluster = await started(server, { pageSize: 7 });
    t.teardown(() => cluster.close());
    // Each address has at most one pod at a time, as a network plugin sees to; the truth is what was last sent for it.
    const truth = new Map<string, Set<string>>();
    let looks = 0;
    const wrong: string[] = [];
    const look = (): void => {
      for (const [ip, names] of truth) {
        looks++;
        const found = cluster.endpoint(ip);
        if (found !== null && !names.has(found.name)) wrong.push(`${ip}: ${found.name}, not ${[...names].join(' or ')}`);
      }
    };
    const worker = async (index: number): Promise<void> => {
      const ip = `10.91.0.${index}`;
      for (let i = index; i < churnPods; i += workers) {
        const name = `churn-${i}`;
        await server.create(pods, pod(name));
        // Until it is told, the address may be nobody's; from then on it is this one's.
        truth.set(ip, new Set([name]));
        await server.patchStatus(`${pods}/${name}`, running(ip));
        await until(() => cluster.endpoint(ip)?.name === name, `${ip} is ${name}'s`, 30_000);
        if (i % 3 === 0) await server.patchStatus(`${pods}/${name}`, { phase: 'Succeeded' });
        if (i % 3 === 0) await until(() => cluster.endpoint(ip) === null, `${ip} is free`, 30_000);
        await server.remove(`${pods}/${name}`);
        await until(() => cluster.endpoint(ip) === null, `${ip} is nobody's`, 30_000);
      }
    };
    const workers = 6;
    const timer = setInterval(look, 1);
    await Promise.all(Array.from({ length: workers }, (_, index) => worker(index)));
    clearInterval(timer);
    t.same(wrong, []);
    t.ok(looks > churnPods, `${looks} looks`);
    t.equal(
      cluster.counts.addresses,
      cluster.endpoint('10.96.0.1') === null ? 0 : 1,
      'nothing is left but the service of the server itself',
    );
  });
}
