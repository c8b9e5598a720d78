// Names of a cluster in what `rawbpf run` prints, with real connections, and what becomes of them when the API server misbehaves.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { at, parseJson, text } from '../../src/enrich/json.ts';
import { pod, running } from '../enrich/kubernetes/cases.ts';
import { FakeApiServer, type Misdeed } from '../enrich/kubernetes/fake-api-server.ts';
import { until } from '../enrich/kubernetes/server.ts';
import { root } from '../support/examples.ts';

t.setTimeout(115_000);

const program = path.join(root, 'build', 'src', 'cli', 'rawbpf.js');
const pods = '/api/v1/namespaces/shop/pods';
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-cli-k8s-'));
t.teardown(() => rmSync(folder, { recursive: true }));

/** A network of its own that has all addresses of 10.94.0.0/24; it connects to those it is told. */
const network = spawn(
  'unshare',
  [
    '-n',
    'sh',
    '-c',
    'ip link set lo up && ip route add local 10.94.0.0/24 dev lo && exec "$0" -e \'const net = require("net"); net.createServer((each) => each.on("error", () => {}).end()).listen(8094, "0.0.0.0", () => { require("readline").createInterface({ input: process.stdin }).on("line", (host) => net.connect({ host, port: 8094 }).on("error", () => {}).resume()); });\'',
    process.execPath,
  ],
  { stdio: ['pipe', 'ignore', 'inherit'] },
);
t.teardown(() => network.kill('SIGKILL'));

interface Running {
  readonly child: ChildProcess;
  readonly rows: Map<string, readonly string[]>;
  notices: string;
}

let runs = 0;

/** `rawbpf run trace_tcp` with a kubeconfig; `rows` are `kind namespace/name` by the address that was connected to. */
async function start(t: Test, cluster: object, user: object): Promise<Running> {
  const file = path.join(folder, `${runs++}.kubeconfig`);
  const config = {
    'current-context': 'x',
    contexts: [{ name: 'x', context: { cluster: 'x', user: 'x' } }],
    clusters: [{ name: 'x', cluster }],
    users: [{ name: 'x', user }],
  };
  writeFileSync(file, JSON.stringify(config));
  const args = ['run', 'trace_tcp', '--kubeconfig', file, '--no-containers', '-v', '-o', 'json'];
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  const run: Running = { child, rows: new Map(), notices: '' };
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (part: string) => {
    const lines = (rest + part).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = parseJson(line);
      const address = text(at(event, 'dst', 'addr'));
      if (!address.startsWith('10.94.0.')) continue;
      const k8s = at(event, 'dst', 'k8s');
      run.rows.set(address, [
        ...(run.rows.get(address) ?? []),
        `${text(at(k8s, 'kind'))} ${text(at(k8s, 'namespace'))}/${text(at(k8s, 'name'))}`,
      ]);
    }
  });
  child.stderr.setEncoding('utf8').on('data', (part: string) => (run.notices += part));
  await until(() => run.notices.includes('trace_tcp: attached') || child.exitCode !== null, 'it is attached', 60_000);
  t.equal(child.exitCode, null, run.notices);
  return run;
}

/** Connects until a row of that address is printed; the last one. */
async function connect({ rows }: Running, address: string): Promise<string> {
  const before = rows.get(address)?.length ?? 0;
  network.stdin?.write(`${address}\n`);
  await until(() => (rows.get(address)?.length ?? 0) > before, `there is a row of ${address}`);
  return rows.get(address)?.at(-1) ?? '';
}

async function named(run: Running, address: string, name: string): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if ((await connect(run, address)) === name) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`${address} is not called ${name} but ${run.rows.get(address)?.at(-1)}: ${run.notices}`);
}

t.test('pods and services are called by their names; an event with the address of a new pod waits for it', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  await server.create(pods, pod('web'));
  await server.patchStatus(`${pods}/web`, running('10.94.0.1'));
  await server.create('/api/v1/namespaces/shop/services', { metadata: { name: 'front' }, spec: { clusterIP: '10.94.0.2' } });
  const run = await start(t, { server: server.access('admin').server }, { token: 'admin' });
  t.equal(await connect(run, '10.94.0.1'), 'pod shop/web');
  t.equal(await connect(run, '10.94.0.2'), 'svc shop/front');
  t.equal(await connect(run, '10.94.0.3'), 'raw /');
  await server.create(pods, pod('fresh'));
  await server.create(pods, pod('marker'));
  await server.patchStatus(`${pods}/marker`, running('10.94.0.5'));
  // What was told before that is known, too.
  await named(run, '10.94.0.5', 'pod shop/marker');
  network.stdin?.write('10.94.0.4\n10.94.0.1\n');
  const before = run.rows.get('10.94.0.1')?.length ?? 0;
  await new Promise((resolve) => setTimeout(resolve, 200));
  const held = run.rows.get('10.94.0.4') === undefined;
  await server.patchStatus(`${pods}/fresh`, running('10.94.0.4'));
  await until(() => (run.rows.get('10.94.0.1')?.length ?? 0) > before, 'both are shown');
  t.ok(held, 'it was not shown before');
  t.equal(run.rows.get('10.94.0.4')?.[0], 'pod shop/fresh');

  // Misdeeds in the middle of a run cost no event, and names come back.
  for (const misdeed of ['garbage', 'cut', 'error-500'] satisfies Misdeed[]) {
    server.misdeeds.set('watch /api/v1/pods', misdeed);
    server.dropWatches();
    t.match(await connect(run, '10.94.0.1'), /^(?:pod shop\/web|raw \/)$/, misdeed);
    server.misdeeds.clear();
    await server.patchStatus(`${pods}/web`, running('10.94.0.1', `10.94.0.${100 + misdeed.length}`));
    await named(run, `10.94.0.${100 + misdeed.length}`, 'pod shop/web');
  }
  t.match(run.notices, /Kubernetes cannot be asked for \/api\/v1\/pods/);
});

t.test('a token that is replaced in its file is used when the server refuses the old one', async (t) => {
  const server = await FakeApiServer.start();
  t.teardown(() => server.close());
  const account = await server.account();
  await account.grant();
  const [one, two] = [await account.token(), await account.token()];
  const tokenFile = path.join(folder, 'token');
  writeFileSync(tokenFile, one.text);
  const run = await start(t, { server: server.access('admin').server }, { tokenFile });
  await server.create(pods, pod('web'));
  await server.patchStatus(`${pods}/web`, running('10.94.0.1'));
  await named(run, '10.94.0.1', 'pod shop/web');
  await one.revoke();
  server.dropWatches();
  await until(() => run.notices.includes('HTTP status 401'), 'the old one is refused');
  writeFileSync(tokenFile, two.text);
  await server.patchStatus(`${pods}/web`, running('10.94.0.6'));
  await named(run, '10.94.0.6', 'pod shop/web');
  t.notOk(
    [one.text, two.text].some((each) => run.notices.includes(each)),
    'no token is told',
  );
});

const rows: readonly (readonly [what: string, misdeed: Misdeed | null, token: string, notice: RegExp])[] = [
  ['garbage', 'garbage', 'admin', /Kubernetes cannot be asked for \/api\/v1\/pods.*no JSON/],
  ['status 500', 'error-500', 'admin', /HTTP status 500/],
  ['an answer that is cut off', 'cut', 'admin', /Kubernetes cannot be asked for \/api\/v1\/pods/],
  ['no answer', 'stall', 'admin', /has not told everything in 5 s/],
  ['status 403', null, 'nobody', /Kubernetes refuses \/api\/v1\/pods.*HTTP status 403/],
  ['status 401', null, 'secret-of-mine', /Kubernetes refuses \/api\/v1\/pods.*HTTP status 401/],
];

for (const [what, misdeed, token, notice] of rows)
  t.test(`with ${what} from the beginning there are raw addresses and a notice`, async (t) => {
    const server = await FakeApiServer.start();
    t.teardown(() => server.close());
    if (misdeed !== null) server.misdeeds.set('/api/v1/pods', misdeed);
    const run = await start(t, { server: server.access('admin').server }, { token });
    t.equal(await connect(run, '10.94.0.1'), 'raw /');
    t.match(run.notices, notice);
    t.notMatch(run.notices, 'secret-of-mine', 'no token is told');
  });

t.test("a certificate of somebody else's brings raw addresses and a notice, and no token goes out", async (t) => {
  const [key, cert] = [path.join(folder, 'key.pem'), path.join(folder, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', key, '-out', cert, '-days', '2', '-subj', '/CN=x'];
  execFileSync('openssl', [...request, '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'pipe' });
  const seen: string[] = [];
  const server = https.createServer({ key: readFileSync(key), cert: readFileSync(cert) }, (incoming, response) => {
    seen.push(incoming.headers.authorization ?? '');
    response.writeHead(500).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const run = await start(t, { server: `https://127.0.0.1:${(server.address() as AddressInfo).port}` }, { token: 'secret-of-mine' });
  t.equal(await connect(run, '10.94.0.1'), 'raw /');
  t.match(run.notices, /Kubernetes cannot be asked for .*self-signed certificate/);
  t.same(seen, []);
});
