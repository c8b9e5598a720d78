// How a cluster is followed, against any API server, through a relay that shows what is asked and can break it off.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';
import { inClusterAccess, type ClusterAccess } from '../../../src/enrich/kubernetes/access.ts';
import { Cluster } from '../../../src/enrich/kubernetes/cluster.ts';
import type { ListWatchOptions } from '../../../src/enrich/kubernetes/list-watch.ts';
import { at, elements, member, text, type Json } from '../../../src/enrich/json.ts';
import { pod, running, started } from './cases.ts';
import { Relay, type RelayedRequest } from './relay.ts';
import { until, type TestServer } from './server.ts';

const pods = '/api/v1/namespaces/shop/pods';
const services = '/api/v1/namespaces/shop/services';
const fast: ListWatchOptions = { minBackoffMs: 5, maxBackoffMs: 50 };

interface Followed {
  readonly relay: Relay;
  readonly cluster: Cluster;
  readonly notices: readonly string[];
}

async function followed(t: Test, access: ClusterAccess, options: ListWatchOptions = {}): Promise<Followed> {
  const relay = await Relay.start(access);
  const notices: string[] = [];
  const cluster = new Cluster(relay.access, { ...fast, ...options, onNotice: (message) => notices.push(message) });
  t.teardown(async () => {
    cluster.close();
    await relay.close();
  });
  return { relay, cluster, notices };
}

const byToken = (server: TestServer, token: string): ClusterAccess => ({
  ...server.access('admin'),
  clientCertificate: null,
  clientKey: null,
  token,
});

async function runningPod(server: TestServer, name: string, ...ips: readonly string[]): Promise<void> {
  await server.create(pods, pod(name));
  await server.patchStatus(`${pods}/${name}`, running(...ips));
}

async function removeAll(server: TestServer, ...names: readonly string[]): Promise<void> {
  for (const name of names) await server.remove(`${pods}/${name}`);
}

const versionOf = ({ url }: RelayedRequest): string => new URL(url, 'http://relay').searchParams.get('resourceVersion') ?? '';
const eventsOf = ({ lines }: RelayedRequest, type: string): readonly Json[] =>
  lines.flatMap((line) => {
    const event: Json = line === '' ? null : JSON.parse(line);
    return member(event, 'type') === type ? [member(event, 'object')] : [];
  });

/** Each case makes and removes its own objects. */
export function followCases(t: Test, serverOf: () => TestServer): void {
  t.test('dual stack: services and nodes are called by all of their addresses', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const made = await server.create(services, {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'both' },
      spec: {
        ipFamilyPolicy: 'RequireDualStack',
        clusterIPs: ['10.96.8.8', 'fd00:10:96::88'],
        clusterIP: '10.96.8.8',
        ports: [{ port: 80 }],
      },
    });
    t.same(made.spec?.clusterIPs, ['10.96.8.8', 'fd00:10:96::88'], 'the server takes both');
    await server.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-d' } });
    await server.patchStatus('/api/v1/nodes/node-d', {
      addresses: [
        { type: 'InternalIP', address: '192.0.2.20' },
        { type: 'InternalIP', address: '2001:db8:0:0::20' },
      ],
    });
    await until(() => cluster.endpoint('fd00:10:96::88') !== null && cluster.endpoint('2001:db8::20') !== null, 'both are known');
    for (const address of ['10.96.8.8', 'fd00:10:96::88', '::ffff:10.96.8.8'])
      t.match(cluster.endpoint(address), { kind: 'svc', name: 'both' });
    for (const address of ['192.0.2.20', '2001:db8::20']) t.match(cluster.endpoint(address), { kind: 'node', name: 'node-d' });
    await server.remove(`${services}/both`);
    await server.remove('/api/v1/nodes/node-d');
    await until(() => cluster.endpoint('fd00:10:96::88') === null && cluster.endpoint('2001:db8::20') === null, 'both are gone');
  });

  t.test('finished pods have no address, whether they are seen to finish or are found so', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const ended = {
      containerStatuses: [{ name: 'main', image: 'x', imageID: '', ready: false, restartCount: 0, state: { terminated: { exitCode: 0 } } }],
    };
    const rows = [
      { name: 'succeeded', ip: '10.93.0.1', status: { phase: 'Succeeded' } },
      { name: 'failed', ip: '10.93.0.2', status: { phase: 'Failed' } },
      // Its status keeps the address.
      {
        name: 'evicted',
        ip: '10.93.0.3',
        status: { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' },
      },
      { name: 'terminated', ip: '10.93.0.4', status: ended },
    ];
    for (const { name, ip } of rows) await runningPod(server, name, ip);
    await until(() => rows.every(({ name, ip }) => cluster.endpoint(ip)?.name === name), 'all are known');
    await server.terminate(`${pods}/terminated`);
    for (const { name, status } of rows) await server.patchStatus(`${pods}/${name}`, status);
    await until(() => rows.every(({ ip }) => cluster.endpoint(ip) === null), 'none has an address');
    t.match(await server.read(`${pods}/evicted`), { status: { podIP: '10.93.0.3' } }, 'the server still shows it');
    const later = await started(server);
    t.teardown(() => later.close());
    t.equal(later.counts.pods, rows.length, 'their objects are there');
    for (const { name, ip } of rows) t.equal(later.endpoint(ip), null, name);
    // Another one gets the address while the old objects stay.
    await runningPod(server, 'next', '10.93.0.3');
    for (const each of [cluster, later]) await until(() => each.endpoint('10.93.0.3')?.name === 'next', 'the next one has it');
    await server.patchStatus(`${pods}/evicted`, { message: 'seen again' });
    const marker = await server.create(pods, pod('marker'));
    await until(() => cluster.pod(marker.metadata.uid) !== null, 'that was seen');
    t.equal(cluster.endpoint('10.93.0.3')?.name, 'next');
    await removeAll(server, 'succeeded', 'failed', 'evicted', 'terminated', 'next', 'marker');
  });

  t.test('paging: a list comes in pages, and is begun anew when the server has forgotten where they began', async (t) => {
    const server = serverOf();
    const names = Array.from({ length: 13 }, (_, i) => `paged-${i}`);
    for (const [i, name] of names.entries()) await runningPod(server, name, `10.93.1.${i}`);
    const { relay, cluster } = await followed(t, server.access('admin'), { pageSize: 5 });
    await cluster.start();
    t.equal(relay.asked('/api/v1/pods?limit=5').length, 3);
    t.equal(relay.asked('/api/v1/pods?limit=5&continue=').length, 2);
    for (const [i, name] of names.entries()) t.equal(cluster.endpoint(`10.93.1.${i}`)?.name, name);

    const late = await followed(t, server.access('admin'), { pageSize: 5 });
    let forgotten = false;
    late.relay.before = async (url) => {
      if (forgotten || !url.startsWith('/api/v1/pods?limit=5&continue=')) return;
      forgotten = true;
      await server.remove(`${pods}/paged-0`);
      await server.forget();
    };
    await late.cluster.start();
    await until(() => late.cluster.synced, 'the list is complete');
    t.ok(
      late.relay.asked('/api/v1/pods?limit=5&continue=').some(({ status }) => status === 410),
      'a page was refused with 410',
    );
    t.equal(late.cluster.endpoint('10.93.1.0'), null, 'what the first page told is not taken');
    for (const [i, name] of names.entries()) if (i > 0) t.equal(late.cluster.endpoint(`10.93.1.${i}`)?.name, name);
    t.same(late.notices, [], 'nobody need know');
    await removeAll(server, ...names.slice(1));
  });

  t.test('bookmarks: a watch without changes goes on where the server has marked it', async (t) => {
    const server = serverOf();
    await runningPod(server, 'quiet', '10.93.2.1');
    const { relay, cluster } = await followed(t, server.access('admin'), { watchSeconds: 3 });
    await cluster.start();
    const watches = (): readonly RelayedRequest[] => relay.asked('/api/v1/pods?watch=true');
    await until(() => watches().length > 0, 'pods are watched');
    const [first] = watches();
    const began = Number(first === undefined ? 0 : versionOf(first));
    // The version moves on, but not because of a pod.
    for (let i = 0; i < 3; i++) {
      await server.create('/api/v1/nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: `mark-${i}` } });
      await server.remove(`/api/v1/nodes/mark-${i}`);
    }
    const moved = (): readonly string[] =>
      (watches()[0] === undefined ? [] : eventsOf(watches()[0] as RelayedRequest, 'BOOKMARK'))
        .map((each) => text(at(each, 'metadata', 'resourceVersion')))
        .filter((each) => Number(each) > began);
    await until(() => moved().length > 0 && watches().length > 1, 'there was a bookmark, and the next watch');
    const [, second] = watches();
    t.equal(second === undefined ? '' : versionOf(second), moved().at(-1), `from ${began}`);
    t.equal(relay.asked('/api/v1/pods?limit').length, 1, 'nothing was listed again');
    t.equal(cluster.endpoint('10.93.2.1')?.name, 'quiet');
    await server.patchStatus(`${pods}/quiet`, running('10.93.2.2'));
    await until(() => cluster.endpoint('10.93.2.2')?.name === 'quiet', 'the watch tells changes');
    await removeAll(server, 'quiet');
  });

  t.test('410: a watch from a version that the server has forgotten begins with a new list', async (t) => {
    const server = serverOf();
    const service = (name: string, clusterIP: string): object => ({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name },
      spec: { clusterIP, ports: [{ port: 80 }] },
    });
    await server.create(services, service('old', '10.96.9.1'));
    const { relay, cluster, notices } = await followed(t, server.access('admin'));
    await cluster.start();
    t.equal(cluster.endpoint('10.96.9.1')?.name, 'old');
    relay.broken = (url) => url.startsWith('/api/v1/services');
    await until(() => relay.asked('/api/v1/services?watch=true').length > 0, 'services are watched');
    relay.cut('/api/v1/services');
    await server.remove(`${services}/old`);
    await server.create(services, service('new', '10.96.9.2'));
    await server.forget();
    t.equal(cluster.endpoint('10.96.9.1')?.name, 'old', 'nothing was told meanwhile');
    relay.broken = () => false;
    await until(() => cluster.endpoint('10.96.9.2')?.name === 'new', 'the new one is known');
    t.equal(cluster.endpoint('10.96.9.1'), null, 'the old one is gone');
    t.ok(
      relay
        .asked('/api/v1/services?watch=true')
        .some((each) => each.status === 410 || eventsOf(each, 'ERROR').some((error) => member(error, 'code') === 410)),
      'the server said 410',
    );
    t.equal(relay.asked('/api/v1/services?limit').filter(({ status }) => status === 200).length, 2);
    t.notOk(
      notices.some((each) => each.includes('410')),
      'that is no trouble',
    );
    await server.remove(`${services}/new`);
  });

  t.test('backoff: waits grow while nothing answers, and a watch goes on where it was afterwards', async (t) => {
    const server = serverOf();
    await runningPod(server, 'before', '10.93.3.1');
    const { relay, cluster, notices } = await followed(t, server.access('admin'), { minBackoffMs: 40, maxBackoffMs: 640 });
    await cluster.start();
    const watches = (): readonly RelayedRequest[] => relay.asked('/api/v1/pods?watch=true');
    await until(() => watches().some(({ status }) => status === 200), 'pods are watched');
    const before = watches().length;
    relay.broken = (url) => url.startsWith('/api/v1/pods');
    relay.cut('/api/v1/pods');
    await until(() => watches().length > before + 7, 'it was tried again and again');
    await runningPod(server, 'meanwhile', '10.93.3.2');
    relay.broken = () => false;
    await until(() => cluster.endpoint('10.93.3.2')?.name === 'meanwhile', 'the watch goes on');
    const times = watches()
      .slice(before)
      .map((each) => each.at);
    for (let i = 1; i < 7; i++) {
      const gap = (times[i] ?? 0) - (times[i - 1] ?? 0);
      // At least half of the whole wait (and a millisecond that timers may come early).
      const least = Math.min(640, 40 * 2 ** i) / 2 - 2;
      t.ok(gap >= least, `wait ${i}: ${gap.toFixed(0)} ms, at least ${least}`);
    }
    t.equal(relay.asked('/api/v1/pods?limit').length, 1, 'nothing was listed again');
    t.equal(notices.filter((each) => each.includes('/api/v1/pods')).length, 1, 'told once');
    await removeAll(server, 'before', 'meanwhile');
  });

  t.test('RBAC: a service account that is refused sees raw addresses, and names once it is allowed to', async (t) => {
    const server = serverOf();
    await runningPod(server, 'guarded', '10.93.4.1');
    const account = await server.account('late');
    const token = await account.token();
    const { cluster, notices } = await followed(t, byToken(server, token.text));
    await cluster.start();
    t.equal(cluster.endpoint('10.93.4.1'), null, 'the raw address');
    t.equal(cluster.synced, false);
    await until(() => notices.length >= 4, 'each kind is told');
    t.equal(notices.length, 4, notices.join('\n'));
    for (const notice of notices) {
      t.match(notice, /refuses \/api.*HTTP status 403/);
      t.notMatch(notice, token.text.slice(0, 12), 'no token in it');
    }
    await account.grant();
    await until(() => cluster.endpoint('10.93.4.1')?.name === 'guarded', 'it was allowed meanwhile');
    await until(() => cluster.synced, 'everything is known');
    await removeAll(server, 'guarded');
    await account.remove();
  });

  t.test('in a cluster: the token of the pod is read again when the server takes the old one no more', async (t) => {
    const server = serverOf();
    const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-account-'));
    t.teardown(() => rmSync(folder, { recursive: true }));
    const account = await server.account('in-pod');
    await account.grant();
    const one = await account.token();
    const admin = server.access('admin');
    // As kubelets do it: data is a link to a folder that is replaced at once.
    mkdirSync(path.join(folder, 'account'));
    const tokenFile = path.join(folder, 'account', 'token');
    writeFileSync(tokenFile, `${one.text}\n`);
    if (admin.ca !== null) writeFileSync(path.join(folder, 'account', 'ca.crt'), admin.ca);
    const { hostname, port } = new URL(admin.server);
    const inPod = inClusterAccess({ KUBERNETES_SERVICE_HOST: hostname, KUBERNETES_SERVICE_PORT: port }, path.join(folder, 'account'));
    t.match(inPod, { server: `https://${hostname}:${port}`, ca: admin.ca, tokenFile });
    if (inPod === null) return;
    // The server of this process speaks no TLS.
    const access = { ...inPod, server: admin.server };
    const direct = new Cluster(access, fast);
    t.teardown(() => direct.close());
    await direct.start();
    await until(() => direct.synced, 'everything is known, with its own certificate authority');
    const { relay, cluster, notices } = await followed(t, access);
    await cluster.start();
    await runningPod(server, 'rotated', '10.93.5.1');
    await until(() => cluster.endpoint('10.93.5.1') !== null, 'the token is good');
    await one.revoke();
    const refused = (): boolean => relay.asked('/api/v1/pods').some(({ status }) => status === 401);
    // Servers believe in a token for some seconds more.
    for (let i = 0; i < 300 && !refused(); i++) {
      relay.cut('/api/v1/pods');
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    t.ok(refused(), 'the old token is refused');
    await until(() => notices.some((each) => each.includes('HTTP status 401')), 'that is told');
    const two = await account.token();
    writeFileSync(tokenFile, `${two.text}\n`);
    await server.patchStatus(`${pods}/rotated`, running('10.93.5.2'));
    await until(() => cluster.endpoint('10.93.5.2')?.name === 'rotated', 'with the new token it goes on');
    for (const token of [one, two])
      t.notOk(
        notices.some((each) => each.includes(token.text)),
        'no token is told',
      );
    await removeAll(server, 'rotated');
    await account.remove();
  });

  t.test('owners are those that GETs of the objects themselves give', async (t) => {
    const server = serverOf();
    const cluster = await started(server);
    t.teardown(() => cluster.close());
    const reference = (kind: string, name: string, uid: string, controller = true, apiVersion = 'apps/v1'): object => ({
      apiVersion,
      kind,
      name,
      uid,
      controller,
    });
    const sets = '/apis/apps/v1/namespaces/shop/replicasets';
    const set = async (name: string, owners: readonly object[]): Promise<string> => {
      const template = { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'main', image: 'x' }] } };
      const spec = { replicas: 0, selector: { matchLabels: { app: name } }, template };
      const metadata = { name, ...(owners.length === 0 ? {} : { ownerReferences: owners }) };
      return (await server.create(sets, { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata, spec })).metadata.uid;
    };
    const owned: Record<string, readonly object[]> = {
      'of-deployment': [reference('ReplicaSet', 'web-1', await set('web-1', [reference('Deployment', 'web', 'd-1')]))],
      'of-rollout': [
        reference('ReplicaSet', 'canary-1', await set('canary-1', [reference('Rollout', 'canary', 'r-1', true, 'argoproj.io/v1alpha1')])),
      ],
      'of-set': [reference('ReplicaSet', 'alone', await set('alone', []))],
      // The controller is not the first of its owners.
      'of-many': [
        reference('ConfigMap', 'template', 'm-1', false, 'v1'),
        reference(
          'ReplicaSet',
          'web-2',
          await set('web-2', [reference('Tenant', 'red', 't-1', false, 'x.example/v1'), reference('Deployment', 'web2', 'd-2')]),
        ),
      ],
      'of-operator': [reference('PostgresCluster', 'main', 'p-1', true, 'postgres.example/v1')],
      'of-nobody': [],
    };
    const uids = new Map<string, string>();
    for (const [name, owners] of Object.entries(owned)) uids.set(name, (await server.create(pods, pod(name, { owners }))).metadata.uid);
    await until(() => [...uids.values()].every((uid) => cluster.pod(uid) !== null), 'all are known');
    const seen = async (name: string): Promise<object | null> => {
      const found = cluster.pod(uids.get(name) ?? '');
      return found === null ? null : await cluster.owner(found);
    };
    for (const name of uids.keys()) {
      const expected = await ownerByGets(server, name);
      t.same(await seen(name), expected, `${name}: ${expected.kind} ${expected.name}`);
    }
    // A set that is made again under its name, by somebody else: the new pod's owner is the new one's.
    await server.remove(`${sets}/web-1`);
    t.same(await seen('of-deployment'), { kind: 'Deployment', name: 'web' }, 'what was known stays, though the set is gone');
    const again = await set('web-1', [reference('Rollout', 'web', 'r-2', true, 'argoproj.io/v1alpha1')]);
    uids.set('again', (await server.create(pods, pod('again', { owners: [reference('ReplicaSet', 'web-1', again)] }))).metadata.uid);
    await until(() => cluster.pod(uids.get('again') ?? '') !== null, 'the next pod is known');
    t.same(await seen('again'), { kind: 'Rollout', name: 'web' });
    t.same(await seen('again'), await ownerByGets(server, 'again'));
    t.same(await seen('of-deployment'), { kind: 'Deployment', name: 'web' }, 'the old one has its own');
    // A set that is gone before it was asked for: its name, and by its pods' hash the Deployment's.
    const gone = reference('ReplicaSet', 'shop-5d4f', 'gone-uid');
    const hash = { labels: { 'pod-template-hash': '5d4f' } };
    uids.set('hashed', (await server.create(pods, pod('hashed', { owners: [gone], ...hash }))).metadata.uid);
    uids.set('plain', (await server.create(pods, pod('plain', { owners: [gone] }))).metadata.uid);
    await until(() => cluster.pod(uids.get('plain') ?? '') !== null, 'these are known');
    t.same(await seen('hashed'), { kind: 'Deployment', name: 'shop' });
    t.same(await seen('plain'), { kind: 'ReplicaSet', name: 'shop-5d4f' });
    await removeAll(server, ...uids.keys());
    for (const name of ['web-1', 'web-2', 'canary-1', 'alone']) await server.remove(`${sets}/${name}`);
  });
}

/** As somebody with kubectl would find out: the pod's controller, and the controller of that where it is a ReplicaSet. */
async function ownerByGets(server: TestServer, name: string): Promise<{ readonly kind: string; readonly name: string }> {
  const controller = (object: Json): { kind: string; name: string } => {
    const found = elements(at(object, 'metadata', 'ownerReferences')).find((each) => member(each, 'controller') === true);
    return { kind: text(member(found, 'kind')), name: text(member(found, 'name')) };
  };
  const first = controller(await server.read(`${pods}/${name}`));
  if (first.kind !== 'ReplicaSet') return first;
  const above = controller(await server.read(`/apis/apps/v1/namespaces/shop/replicasets/${first.name}`));
  return above.kind === '' ? first : above;
}
