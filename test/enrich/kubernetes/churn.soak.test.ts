// 300 pods of a real API server share six addresses, each used again at once; what events show is compared with the server's own watch as curl has it.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import t from 'tap';
import { EndpointPart } from '../../../src/enrich/kubernetes/part.ts';
import { at, parseJson, text } from '../../../src/enrich/json.ts';
import { HeldEvents, type Lane } from '../../../src/gadget/held-events.ts';
import { openAdvisor, rowBytes } from '../../output/network-policy/rows.ts';
import { pod, running, started } from './cases.ts';
import { startRealServer } from './real-server.ts';
import { until } from './server.ts';

const pods = '/api/v1/namespaces/shop/pods';
const [count, workers] = [300, 6];
/** How much later than curl we may hear of a change, on a loaded machine. */
const lagMs = 500;

interface Claim {
  readonly name: string;
  readonly from: number;
  to: number;
}

const { server, stop } = startRealServer();
const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-churn-'));
t.teardown(() => {
  stop();
  rmSync(folder, { recursive: true });
});

t.test(`${count} pods come and go: no event shows a name that the server's watch contradicts`, async (t) => {
  const access = server.access('admin');
  const files = { cacert: access.ca, cert: access.clientCertificate, key: access.clientKey };
  const flags = Object.entries(files).flatMap(([name, pem]) => {
    writeFileSync(path.join(folder, name), pem ?? '');
    return [`--${name}`, path.join(folder, name)];
  });
  const claims = new Map<string, Claim[]>();
  let lines = 0;
  const curl = spawn('curl', ['-sS', '--no-buffer', ...flags, `${access.server}/api/v1/pods?watch=true`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.teardown(() => curl.kill());
  createInterface({ input: curl.stdout }).on('line', (line) => {
    lines++;
    const now = performance.now();
    const event = parseJson(line);
    const name = text(at(event, 'object', 'metadata', 'name'));
    const ip = text(at(event, 'object', 'status', 'podIP'));
    const ended = text(at(event, 'type')) === 'DELETED' || text(at(event, 'object', 'status', 'phase')) === 'Succeeded';
    const known = claims.get(ip) ?? [];
    const own = known.find((each) => each.name === name);
    if (own === undefined && !ended && ip !== '') claims.set(ip, [...known, { name, from: now, to: Number.POSITIVE_INFINITY }]);
    else if (own !== undefined && ended) own.to = Math.min(own.to, now);
  });
  const cluster = await started(server);
  const part = new EndpointPart(cluster);
  const { source } = openAdvisor({ pods: new Map(), addresses: new Map() });
  const held = new HeldEvents(16 << 20, (time) => part.asOf(time));
  part.onRelease(() => held.release());
  t.teardown(() => {
    part.close();
    cluster.close();
  });
  const shown: { readonly ip: string; readonly name: string | null; readonly shown: number }[] = [];
  const came: number[] = [];
  const lane: Lane = {
    source,
    judge: part.judge(source),
    deliver(record) {
      const ip = source.field('endpoint.addr').text(record, record.offset);
      shown.push({ ip, name: cluster.endpoint(ip)?.name ?? null, shown: performance.now() });
    },
  };
  const event = (address: string): void => {
    const bytes = rowBytes(source, { netns: 1, egress: true, address, port: 80 });
    came.push(performance.now());
    held.push(lane, new DataView(bytes.buffer), 0, bytes.length);
    held.release();
  };
  // Both clients see it: curl watches.
  await server.create(pods, pod('marker'));
  await until(() => lines > 0, 'curl watches');
  await server.remove(`${pods}/marker`);
  const ipOf = (index: number): string => `10.95.0.${index}`;
  const timer = setInterval(() => {
    for (let i = 0; i < workers; i++) event(ipOf(i));
  }, 5);
  const worker = async (index: number): Promise<void> => {
    for (let i = index; i < count; i += workers) {
      const name = `churn-${i}`;
      await server.create(pods, pod(name));
      event(ipOf(index));
      await server.patchStatus(`${pods}/${name}`, running(ipOf(index)));
      event(ipOf(index));
      if (i % 3 === 0) await server.patchStatus(`${pods}/${name}`, { phase: 'Succeeded' });
      await server.remove(`${pods}/${name}`);
    }
  };
  const began = performance.now();
  await Promise.all(Array.from({ length: workers }, (_, index) => worker(index)));
  clearInterval(timer);
  const seconds = (performance.now() - began) / 1000;
  held.release(true);
  await until(
    () => [...claims.values()].flat().filter(({ to }) => to < Number.POSITIVE_INFINITY).length === count,
    'curl has seen the end of all',
  );
  t.equal(shown.length, came.length, 'every event is shown');
  const wrong: string[] = [];
  let [named, most, reused] = [0, 0, 0];
  for (const [i, { ip, name, shown: at_ }] of shown.entries()) {
    if (name === null) continue;
    named++;
    const own = claims.get(ip)?.find((each) => each.name === name);
    const time = came[i] ?? 0;
    // The next one's first packets come before the server has its address: they are its own.
    if (own === undefined || own.from > at_ + lagMs) wrong.push(`${ip}: ${name} never had it`);
    else if (time > own.to) {
      most = Math.max(most, time - own.to);
      if (time > own.to + lagMs) wrong.push(`${ip}: ${name} had it until ${(time - own.to).toFixed(0)} ms before`);
      if (claims.get(ip)?.some((each) => each.name !== name && each.from < time && each.to > time) === true) reused++;
    }
  }
  t.same(wrong, []);
  t.ok(named > count, `${named} events with a name`);
  t.equal(new Set(shown.map(({ name }) => name)).size > count / 2, true, 'most pods are seen');
  t.comment(
    `${shown.length} events in ${seconds.toFixed(1)} s, ${named} named, ${lines} lines of curl's watch; at most ${most.toFixed(1)} ms after curl had seen the end, ${reused} while curl had another one`,
  );
});
