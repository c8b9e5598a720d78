// What following a cluster costs: memory for 10,000 pods of usual size, time of the first list and of a change.
//   npm run build && node --expose-gc build/bench/kubernetes.js [PODS]
import { fork } from 'node:child_process';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Cluster } from '../src/enrich/kubernetes/cluster.ts';

const count = Number(process.argv[2] ?? '10000');
const page = 500;

/** A pod as kubectl get -o json shows those of a Deployment: about 9 kB, of which managed fields are half. */
function podJson(i: number): string {
  const app = `app-${Math.floor(i / 20)}`;
  // Twenty pods are of one ReplicaSet.
  const hash = `${(Math.floor(i / 20) % 97).toString(16)}5d4f6c7b`;
  const pad = (bytes: number): string => 'f:x'.repeat(Math.ceil(bytes / 3));
  const container = {
    name: 'main',
    image: `registry.example/${app}:1.2.3`,
    env: Array.from({ length: 20 }, (_, n) => ({ name: `SETTING_${n}`, value: `value-${i}-${n}` })),
    resources: { limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '100m', memory: '128Mi' } },
    volumeMounts: [{ mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', name: `token-${i}`, readOnly: true }],
  };
  const hex = i.toString(16).padStart(12, '0');
  return JSON.stringify({
    metadata: {
      name: `${app}-${hash}-${i.toString(36).padStart(5, 'x')}`,
      namespace: `team-${i % 50}`,
      uid: `0f0f0f0f-1111-2222-3333-${hex}`,
      resourceVersion: String(1000 + i),
      labels: { app, 'app.kubernetes.io/part-of': 'shop', 'pod-template-hash': hash, tier: i % 3 === 0 ? 'front' : 'back' },
      annotations: { 'checksum/config': hex.repeat(5) },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: `${app}-${hash}`,
          uid: `0e0e0e0e-1111-2222-3333-${Math.floor(i / 20)
            .toString(16)
            .padStart(12, '0')}`,
          controller: true,
        },
      ],
      managedFields: [{ manager: 'kubelet', fieldsV1: pad(4500) }],
    },
    spec: { nodeName: `node-${i % 200}`, containers: [container], tolerations: [{ key: 'a', operator: 'Exists' }] },
    status: {
      phase: 'Running',
      podIP: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
      podIPs: [{ ip: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}` }, { ip: `fd00::${i.toString(16)}` }],
      containerStatuses: [{ name: 'main', containerID: `containerd://${hex.repeat(5)}abcd`, state: { running: {} } }],
    },
  });
}

function serve(): void {
  let watching: http.ServerResponse | null = null;
  const server = http.createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://server');
    const pods = url.pathname === '/api/v1/pods';
    if (url.searchParams.has('watch')) {
      response.writeHead(200);
      response.flushHeaders();
      if (pods) {
        watching = response;
        process.send?.('watching');
      }
      return;
    }
    const from = Number(url.searchParams.get('continue') ?? '0');
    const items = pods ? Array.from({ length: Math.min(page, count - from) }, (_, n) => podJson(from + n)) : [];
    const more = pods && from + page < count ? `,"continue":"${from + page}"` : '';
    response.end(`{"metadata":{"resourceVersion":"1"${more}},"items":[${items.join(',')}]}`);
  });
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as AddressInfo).port }));
  // Each message: so many pods change their address.
  process.on('message', (changes: number) => {
    for (let i = 0; i < changes; i++) {
      watching?.write(
        `${`{"type":"MODIFIED","object":${podJson(i)}}`.replaceAll('"ip":"10.', '"ip":"11.').replace('"podIP":"10.', '"podIP":"11.')}\n`,
      );
    }
  });
}

async function measure(): Promise<void> {
  const child = fork(process.argv[1] ?? '', [String(count)], { env: { ...process.env, SERVE: '1' } });
  const { port } = await new Promise<{ port: number }>((resolve) =>
    child.once('message', (message) => resolve(message as { port: number })),
  );
  const collect = (): number => {
    globalThis.gc?.();
    globalThis.gc?.();
    return process.memoryUsage().heapUsed;
  };
  const none = { ca: null, clientCertificate: null, clientKey: null, token: null, tokenFile: null, serverName: null, insecure: false };
  const cluster = new Cluster({ ...none, server: `http://127.0.0.1:${port}` });
  const [heap, rss] = [collect(), process.memoryUsage().rss];
  const started = performance.now();
  const watching = new Promise((resolve) => child.once('message', resolve));
  await cluster.start();
  const listed = performance.now() - started;
  const cpu = process.cpuUsage();
  console.log(`${cluster.counts.pods} pods, ${cluster.counts.addresses} addresses; each ${podJson(0).length} bytes of JSON`);
  console.log(`first list: ${(listed / 1000).toFixed(1)} s, CPU ${((cpu.user + cpu.system) / 1e6).toFixed(1)} s`);
  const held = collect() - heap;
  console.log(
    `held: ${(held / 1e6).toFixed(1)} MB, ${(held / count).toFixed(0)} bytes a pod (exact with --expose-gc); RSS grew by ${((process.memoryUsage().rss - rss) / 1e6).toFixed(0)} MB`,
  );
  await watching;
  const changes = Math.min(1000, count);
  const before = performance.now();
  child.send(changes);
  while (cluster.endpoint(`11.0.${((changes - 1) >> 8) & 255}.${(changes - 1) & 255}`) === null)
    await new Promise((resolve) => setTimeout(resolve, 1));
  console.log(`${changes} changes: ${((performance.now() - before) / changes).toFixed(3)} ms each`);
  const lookups = 1_000_000;
  const loop = performance.now();
  let found = 0;
  for (let i = 0; i < lookups; i++) if (cluster.endpoint(i % 2 === 0 ? '10.0.20.7' : 'fd00::1407') !== null) found++;
  console.log(`${found} of ${lookups} look-ups found: ${(((performance.now() - loop) / lookups) * 1e6).toFixed(0)} ns each`);
  cluster.close();
  child.kill();
}

if (process.env['SERVE'] === '1') serve();
else void measure();
