#!/usr/bin/env node
// A real kube-apiserver with etcd, on ports of the loopback device that are free, with all state below one folder.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { endDaemon, startDaemon } from '../containers/daemons.mjs';
import { fetchRuntimes } from '../containers/packages.mjs';
import { buildApiserver } from './build.mjs';

const HELP = `A real Kubernetes API server with etcd, for tests.

  node scripts/kubernetes/server.mjs start   prints JSON: server, kubeconfigs of admin (by certificate), reader (by token: pods only), nobody (by a file with a token)
  node scripts/kubernetes/server.mjs stop
  node scripts/kubernetes/server.mjs with -- COMMAND   starts, runs COMMAND with the JSON in RAWBPF_K8S, stops

  --dir DIR   where everything lies (default ${path.join(os.tmpdir(), 'rawbpf-k8s')})

kube-apiserver is built once from Debian's source package (6 to 15 minutes), etcd comes as a package; both lie in ~/.cache/rawbpf-rig.
`;

const freePort = () =>
  new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

async function start(dir) {
  const binary = buildApiserver();
  const found = fetchRuntimes();
  fs.mkdirSync(path.join(dir, 'logs'), { recursive: true });
  const at = (name) => path.join(dir, name);
  certificates(at);
  const [client, peer, secure] = [await freePort(), await freePort(), await freePort()];
  const url = (port) => `http://127.0.0.1:${port}`;
  const rig = {
    dir,
    env: { ...found.env, HOME: dir },
    daemons: {
      etcd: [
        'etcd',
        `--data-dir=${at('etcd')}`,
        `--listen-client-urls=${url(client)}`,
        `--advertise-client-urls=${url(client)}`,
        `--listen-peer-urls=${url(peer)}`,
        `--initial-advertise-peer-urls=${url(peer)}`,
        `--initial-cluster=default=${url(peer)}`,
        // Bookmarks tell it, so that watches of kinds that do not change move on.
        '--experimental-watch-progress-notify-interval=1s',
      ],
      apiserver: [
        binary,
        `--etcd-servers=${url(client)}`,
        '--bind-address=127.0.0.1',
        '--advertise-address=127.0.0.1',
        `--secure-port=${secure}`,
        '--insecure-port=0',
        `--cert-dir=${at('certs')}`,
        `--tls-cert-file=${at('server.crt')}`,
        `--tls-private-key-file=${at('server.key')}`,
        `--client-ca-file=${at('ca.crt')}`,
        `--token-auth-file=${at('tokens.csv')}`,
        '--authorization-mode=RBAC',
        `--service-account-key-file=${at('sa.pub')}`,
        `--service-account-signing-key-file=${at('sa.key')}`,
        '--service-account-issuer=https://kubernetes.default.svc',
        '--feature-gates=IPv6DualStack=true,EfficientWatchResumption=true',
        '--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112',
        // Watches of services come out of etcd itself: what that forgets cannot be watched from any more.
        '--watch-cache-sizes=services#0',
        // No controllers run here: what they would do is the tests' to do.
        '--disable-admission-plugins=ServiceAccount',
        '--endpoint-reconciler-type=none',
      ],
    },
  };
  const daemons = [];
  const write = () => fs.writeFileSync(at('server.json'), JSON.stringify({ daemons }));
  try {
    daemons.push(await startDaemon(rig, 'etcd', { port: client, host: '127.0.0.1' }));
    write();
    daemons.push(await startDaemon(rig, 'apiserver', { port: secure, host: '127.0.0.1' }));
    write();
    const server = `https://127.0.0.1:${secure}`;
    const kubeconfigs = {
      admin: kubeconfig(at, 'admin', server, {
        'client-certificate': 'admin.crt',
        'client-key-data': fs.readFileSync(at('admin.key'), 'base64'),
      }),
      reader: kubeconfig(at, 'reader', server, { token: 'tok-reader' }),
      nobody: kubeconfig(at, 'nobody', server, { tokenFile: 'nobody.token' }),
    };
    await prepare(at, server);
    return { server, etcd: url(client), kubeconfigs };
  } catch (error) {
    await stop(dir);
    throw error;
  }
}

function certificates(at) {
  const openssl = (...args) => execFileSync('openssl', args, { cwd: at(''), stdio: 'pipe' });
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '30', '-subj', '/CN=test-ca');
  const signed = (name, subject, extensions) => {
    openssl('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', subject);
    fs.writeFileSync(at(`${name}.ext`), extensions);
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.crt',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-days',
      '30',
      '-extfile',
      `${name}.ext`,
      '-out',
      `${name}.crt`,
    );
  };
  signed('server', '/CN=kube-apiserver', 'subjectAltName=IP:127.0.0.1,DNS:localhost');
  signed('admin', '/O=system:masters/CN=admin', 'extendedKeyUsage=clientAuth');
  openssl('genrsa', '-out', 'sa.key', '2048');
  openssl('rsa', '-in', 'sa.key', '-pubout', '-out', 'sa.pub');
  fs.writeFileSync(at('tokens.csv'), 'tok-reader,reader,reader-uid\ntok-nobody,nobody,nobody-uid\n');
  fs.writeFileSync(at('nobody.token'), 'tok-nobody\n');
}

function kubeconfig(at, name, server, user) {
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: name } }],
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority': 'ca.crt' } }],
    users: [{ name, user }],
  };
  // JSON is YAML.
  fs.writeFileSync(at(`${name}.kubeconfig`), JSON.stringify(config));
  return at(`${name}.kubeconfig`);
}

/** The namespace of the tests, and what `reader` may. */
async function prepare(at, server) {
  const https = await import('node:https');
  const agent = new https.Agent({
    ca: fs.readFileSync(at('ca.crt')),
    cert: fs.readFileSync(at('admin.crt')),
    key: fs.readFileSync(at('admin.key')),
  });
  const post = (where, body) =>
    new Promise((resolve, reject) => {
      const request = https.request(
        `${server}${where}`,
        { method: 'POST', agent, headers: { 'content-type': 'application/json' } },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode));
        },
      );
      request.on('error', reject);
      request.end(JSON.stringify(body));
    });
  const until = Date.now() + 60_000;
  const made = async (where, body) => {
    for (let status = 0; status !== 201 && status !== 409;) {
      status = await post(where, body).catch(() => 0);
      if (Date.now() > until) throw new Error(`the API server is not ready after 60 s: status ${status} for ${where}`);
      if (status !== 201 && status !== 409) await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  await made('/api/v1/namespaces', { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } });
  const rbac = '/apis/rbac.authorization.k8s.io/v1/clusterroles';
  const apiVersion = 'rbac.authorization.k8s.io/v1';
  await made(rbac, {
    apiVersion,
    kind: 'ClusterRole',
    metadata: { name: 'pod-reader' },
    rules: [{ apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'watch'] }],
  });
  await made(`${rbac.slice(0, -1)}bindings`, {
    apiVersion,
    kind: 'ClusterRoleBinding',
    metadata: { name: 'pod-reader' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'pod-reader' },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'User', name: 'reader' }],
  });
  agent.destroy();
}

async function stop(dir) {
  let state = { daemons: [] };
  try {
    state = JSON.parse(fs.readFileSync(path.join(dir, 'server.json'), 'utf8'));
  } catch {
    // It has not come so far.
  }
  for (const daemon of state.daemons.toReversed()) await endDaemon(daemon);
  fs.rmSync(dir, { recursive: true, force: true });
}

async function main(args) {
  const end = args.indexOf('--');
  const { values, positionals } = parseArgs({
    args: end < 0 ? args : args.slice(0, end),
    allowPositionals: true,
    options: { dir: { type: 'string', default: path.join(os.tmpdir(), 'rawbpf-k8s') }, help: { type: 'boolean', short: 'h' } },
  });
  const dir = path.resolve(values.dir);
  switch (values.help ? 'help' : positionals[0]) {
    case 'start':
      process.stdout.write(`${JSON.stringify(await start(dir))}\n`);
      break;
    case 'stop':
      await stop(dir);
      break;
    case 'with':
      try {
        const { spawnSync } = await import('node:child_process');
        const env = { ...process.env, RAWBPF_K8S: JSON.stringify(await start(dir)) };
        process.exitCode = spawnSync(args[end + 1], args.slice(end + 2), { env, stdio: 'inherit' }).status ?? 1;
      } finally {
        await stop(dir);
      }
      break;
    default:
      process.stdout.write(HELP);
  }
}

main(process.argv.slice(2)).catch((error) => {
  process.stderr.write(`kubernetes: ${error.message}\n`);
  process.exitCode = 1;
});
