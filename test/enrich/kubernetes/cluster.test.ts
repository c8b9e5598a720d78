import t from 'tap';
import { Cluster } from '../../../src/enrich/kubernetes/cluster.ts';
import { clusterCases, pod, running, started } from './cases.ts';
import { followCases } from './follow-cases.ts';
import { FakeApiServer, type Misdeed } from './fake-api-server.ts';
import { until } from './server.ts';

const pods = '/api/v1/namespaces/shop/pods';
const fast = { minBackoffMs: 2, maxBackoffMs: 20 } as const;

t.test('against a server of this process', async (t) => {
  const server = await FakeApiServer.start();
  // As 1.20, which the real server of test:k8s is.
  server.absent.add('/apis/discovery.k8s.io/v1/endpointslices');
  t.teardown(() => server.close());
  clusterCases(t, () => server, 60);
  followCases(t, () => server);
});

t.test('a list comes in pages, and is begun anew when a page is gone', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  for (let i = 0; i < 25; i++) {
    await server.create(pods, pod(`p${i}`));
    await server.patchStatus(`${pods}/p${i}`, running(`10.0.0.${i}`));
  }
  const cluster = await started(server, { ...fast, pageSize: 10 });
  t.teardown(() => cluster.close());
  t.equal(cluster.counts.pods, 25);
  t.equal(server.requests.filter((each) => each.startsWith('/api/v1/pods?limit=10')).length, 3);
  t.equal(cluster.endpoint('10.0.0.24')?.name, 'p24');

  const late = new Cluster(server.access('admin'), { ...fast, pageSize: 1 });
  t.teardown(() => late.close());
  const ready = late.start();
  await until(() => server.requests.filter((each) => each.includes('limit=1&continue=')).length > 3, 'some pages were taken');
  server.compact();
  await ready;
  await until(() => late.synced, 'the list is complete');
  t.equal(late.counts.pods, 25);
});

t.test('a watch goes on where it broke, and lists anew when the server has forgotten that', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const cluster = await started(server, fast);
  t.teardown(() => cluster.close());
  const lists = (): number => server.requests.filter((each) => each.startsWith('/api/v1/pods?limit')).length;
  await server.create(pods, pod('a'));
  await server.patchStatus(`${pods}/a`, running('10.0.1.1'));
  await until(() => cluster.endpoint('10.0.1.1') !== null, 'a is known');
  server.dropWatches();
  await server.create(pods, pod('b'));
  await server.patchStatus(`${pods}/b`, running('10.0.1.2'));
  await until(() => cluster.endpoint('10.0.1.2') !== null, 'b is known');
  t.equal(lists(), 1, 'nothing was listed again');
  // A bookmark moves the place on, so that a server which forgets what was before can be asked.
  server.bookmark('/api/v1/pods');
  server.dropWatches();
  server.compact();
  await server.create('/api/v1/nodes', { metadata: { name: 'n' } });
  await server.remove(`${pods}/a`);
  await until(() => cluster.endpoint('10.0.1.1') === null, 'a is gone');
  const before = lists();
  server.dropWatches();
  for (let i = 0; i < 3; i++) await server.patchStatus(`${pods}/b`, running('10.0.1.3'));
  server.compact();
  await until(() => cluster.endpoint('10.0.1.3') !== null, 'b has moved');
  await until(() => lists() > before || cluster.endpoint('10.0.1.2') === null, 'it was listed or watched');
  t.equal(cluster.endpoint('10.0.1.2'), null);
});

t.test('what a list does not tell any more is gone', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const cluster = await started(server, fast);
  t.teardown(() => cluster.close());
  await server.create(pods, pod('old'));
  await server.patchStatus(`${pods}/old`, running('10.0.2.1'));
  await until(() => cluster.endpoint('10.0.2.1') !== null, 'old is known');
  server.misdeeds.set('watch /api/v1/pods', 'error-500');
  server.dropWatches();
  await server.remove(`${pods}/old`);
  server.compact();
  server.misdeeds.clear();
  await until(() => cluster.endpoint('10.0.2.1') === null, 'old is gone');
});

for (const misdeed of ['garbage', 'cut', 'no-list', 'error-500', 'stall', 'empty-event', 'endless'] satisfies Misdeed[]) {
  t.test(`a server that answers with ${misdeed} costs nothing but names, and is asked again`, async (t) => {
    const server = await FakeApiServer.start();
    t.teardown(() => server.close());
    await server.create(pods, pod('a'));
    await server.patchStatus(`${pods}/a`, running('10.0.3.1'));
    const notices: string[] = [];
    server.misdeeds.set('/api/v1/pods', misdeed);
    const cluster = new Cluster(server.access('admin'), { ...fast, idleMs: 30, onNotice: (message) => notices.push(message) });
    t.teardown(() => cluster.close());
    await cluster.start();
    t.equal(cluster.endpoint('10.0.3.1'), null);
    t.equal(notices.filter((each) => each.includes('/api/v1/pods')).length, 1, notices.join('\n'));
    server.misdeeds.clear();
    await until(() => cluster.endpoint('10.0.3.1')?.name === 'a', 'the list came');

    // The same in the middle of a watch.
    server.misdeeds.set('watch /api/v1/pods', misdeed);
    server.dropWatches();
    const watches = (): number => server.requests.filter((each) => each.startsWith('/api/v1/pods?watch')).length;
    const before = watches();
    await until(() => watches() > before + 2, 'it tried again');
    server.misdeeds.clear();
    await server.create(pods, pod('b'));
    await server.patchStatus(`${pods}/b`, running('10.0.3.2'));
    await until(() => cluster.endpoint('10.0.3.2')?.name === 'b', 'the watch goes on');
  });
}

t.test('lines of a watch that are no events bring a new list', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const cluster = await started(server, fast);
  t.teardown(() => cluster.close());
  const hostile = [
    '{"type":"ADDED"}',
    '{"type":"ADDED","object":{"metadata":{"uid":7}}}',
    '{"type":"DELETED","object":null}',
    '[1,2',
    '"x"',
    '{"type":"WHAT"}',
  ];
  for (const [i, line] of hostile.entries()) {
    server.say('/api/v1/pods', line);
    await server.create(pods, pod(`p${i}`));
    await server.patchStatus(`${pods}/p${i}`, running(`10.0.4.${i}`));
    await until(() => cluster.endpoint(`10.0.4.${i}`) !== null, `after ${line}`);
  }
});

t.test('a server that is not there is not waited for', async (t) => {
  const notices: string[] = [];
  const access = {
    server: 'http://127.0.0.1:1',
    ca: null,
    clientCertificate: null,
    clientKey: null,
    token: null,
    tokenFile: null,
    serverName: null,
  };
  const cluster = new Cluster({ ...access, insecure: false }, { ...fast, onNotice: (message) => notices.push(message) });
  await cluster.start();
  t.equal(cluster.synced, false);
  t.equal(notices.length, 4, 'one for each kind of objects');
  cluster.close();
});

t.test('a pod that is being deleted, and whose containers have ended, has no address any more', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const cluster = await started(server, fast);
  t.teardown(() => cluster.close());
  await server.create(pods, pod('old'));
  await server.patchStatus(`${pods}/old`, { ...running('10.0.5.1'), containerStatuses: [{ name: 'main', state: { running: {} } }] });
  await until(() => cluster.endpoint('10.0.5.1') !== null, 'old is known');
  server.patchMetadata(`${pods}/old`, { deletionTimestamp: '2026-01-01T00:00:00Z' });
  await server.create(pods, pod('new'));
  await server.patchStatus(`${pods}/new`, running('10.0.5.1'));
  await until(() => cluster.endpoint('10.0.5.1')?.name === 'new', 'the living one counts');
  await server.remove(`${pods}/new`);
  await until(() => cluster.endpoint('10.0.5.1')?.name === 'old', 'it is still there');
  await server.patchStatus(`${pods}/old`, { containerStatuses: [{ name: 'main', state: { terminated: { exitCode: 0 } } }] });
  await until(() => cluster.endpoint('10.0.5.1') === null, 'its address is free');
});
