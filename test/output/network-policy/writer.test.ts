import t from 'tap';
import type { EndpointName } from '../../../src/gadget/context.ts';
import { PolicyWriter } from '../../../src/output/network-policy/writer.ts';
import { sourceFixture } from '../../gadget/fixture.ts';
import { allows, parsePolicies, type End } from './evaluate.ts';
import { openAdvisor, rowBytes, type LocalPod, type Row, type World } from './rows.ts';

const labelsOf = (text: string): Record<string, string> =>
  Object.fromEntries(text.split(',').map((each) => each.split('=') as [string, string]));
const podName = ({ name, namespace, labels }: LocalPod): EndpointName => ({ kind: 'pod', name, namespace, labels, selector: '' });

/** A shop as its pods were recorded: two web servers of one Deployment, a database, a client in another namespace, DNS. */
const shop = { namespace: 'shop' };
const web = (n: number): LocalPod => ({
  ...shop,
  name: `web-7d4b9-${n}`,
  labels: 'app=web,pod-template-hash=7d4b9,topology.kubernetes.io/zone=a',
  owner: 'web',
});
const db: LocalPod = {
  ...shop,
  name: 'db-0',
  labels: 'app=db,controller-revision-hash=x,statefulset.kubernetes.io/pod-name=db-0',
  owner: 'db',
};
const client: LocalPod = { name: 'client', namespace: 'visitors', labels: 'run=client' };
const bare: LocalPod = { ...shop, name: 'bare', labels: '' };
const dns: EndpointName = { kind: 'svc', name: 'kube-dns', namespace: 'kube-system', labels: '', selector: 'k8s-app=kube-dns' };

function world(): World {
  return {
    pods: new Map([
      [101, web(1)],
      [102, web(2)],
      [103, db],
      [104, client],
      [105, bare],
      [106, { ...client, name: 'proxy', hostNetwork: true }],
    ]),
    addresses: new Map<string, EndpointName>([
      ['10.0.0.1', podName(web(1))],
      ['10.0.0.2', podName(web(2))],
      ['10.0.0.3', podName(db)],
      ['fd00::3', podName(db)],
      ['10.0.0.4', podName(client)],
      ['10.0.0.5', podName(bare)],
      ['10.96.0.10', dns],
      [
        '10.96.0.80',
        {
          ...dns,
          name: 'web',
          namespace: 'shop',
          selector: 'app=web',
          targetPorts: new Map([
            ['80/TCP', '8080'],
            ['443/TCP', 'https'],
          ]),
        },
      ],
      ['10.96.0.1', { ...dns, name: 'kubernetes', namespace: 'default', selector: '' }],
      ['192.168.0.1', { kind: 'node', name: 'node-1', namespace: '', labels: '', selector: '' }],
    ]),
  };
}

/** Gives rows to a writer, a batch each; `steps` may change the world, and the time, in between. */
function policies(place: World, rows: readonly Row[], steps: readonly { readonly ms: number; readonly work?: () => void }[] = []): string {
  const { source } = openAdvisor(place);
  let now = 0;
  const writer = new PolicyWriter(source, () => now);
  const record = source.makeRecord();
  const batch = (some: readonly Row[]): void => {
    writer.batch(
      (function* () {
        for (const row of some) {
          const bytes = rowBytes(source, row);
          yield record.point(new DataView(bytes.buffer), 0, bytes.length);
        }
      })(),
    );
  };
  batch(rows);
  for (const { ms, work } of steps) {
    now += ms;
    work?.();
    batch([]);
  }
  return writer.finish();
}

const seen: readonly Row[] = [
  // A visitor asks for the name, then for the service, and lands at a pod's port 8080.
  { netns: 104, egress: true, address: '10.96.0.10', port: 53, proto: 17 },
  { netns: 104, egress: true, address: '10.96.0.80', port: 80 },
  { netns: 101, egress: false, address: '10.0.0.4', port: 8080 },
  // Both web servers ask the database, one over IPv6.
  { netns: 101, egress: true, address: '10.0.0.3', port: 5432 },
  { netns: 102, egress: true, address: 'fd00::3', port: 5432 },
  { netns: 103, egress: false, address: '10.0.0.1', port: 5432 },
  { netns: 102, egress: true, address: '203.0.113.9', port: 443 },
  { netns: 102, egress: true, address: '203.0.113.9', port: 80 },
  // A probe of the node.
  { netns: 101, egress: false, address: '192.168.0.1', port: 8080 },
];

void t.test('policies of a shop, word for word', (t) => {
  t.equal(
    policies(world(), seen),
    `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: db-network
  namespace: shop
spec:
  ingress:
  - ports:
    - port: 5432
      protocol: TCP
    from:
    - podSelector:
        matchLabels:
          app: web
  podSelector:
    matchLabels:
      app: db
  policyTypes:
  - Ingress
  - Egress
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: web-network
  namespace: shop
spec:
  egress:
  - ports:
    - port: 80
      protocol: TCP
    - port: 443
      protocol: TCP
    to:
    - ipBlock:
        cidr: "203.0.113.9/32"
  - ports:
    - port: 5432
      protocol: TCP
    to:
    - podSelector:
        matchLabels:
          app: db
  ingress:
  # node node-1
  - ports:
    - port: 8080
      protocol: TCP
    from:
    - ipBlock:
        cidr: "192.168.0.1/32"
  - ports:
    - port: 8080
      protocol: TCP
    from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: visitors
      podSelector:
        matchLabels:
          run: client
  podSelector:
    matchLabels:
      app: web
  policyTypes:
  - Ingress
  - Egress
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: client-network
  namespace: visitors
spec:
  egress:
  - ports:
    - port: 8080
      protocol: TCP
    to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: shop
      podSelector:
        matchLabels:
          app: web
  - ports:
    # DNS answers that are too long for UDP
    - port: 53
      protocol: TCP
    - port: 53
      protocol: UDP
    to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  podSelector:
    matchLabels:
      run: client
  policyTypes:
  - Ingress
  - Egress
`,
  );
  t.end();
});

void t.test('what was seen is allowed, and nothing else', (t) => {
  const made = parsePolicies(policies(world(), seen));
  const end = (pod: LocalPod, address: string): End => ({ address, namespace: pod.namespace, labels: labelsOf(pod.labels) });
  const ends: Readonly<Record<string, End>> = {
    web1: end(web(1), '10.0.0.1'),
    web2: end(web(2), '10.0.0.2'),
    // A pod of a later revision.
    web3: { ...end(web(3), '10.0.0.9'), labels: { app: 'web', 'pod-template-hash': 'other' } },
    db: end(db, '10.0.0.3'),
    client: end(client, '10.0.0.4'),
    dns: { address: '10.0.1.1', namespace: 'kube-system', labels: { 'k8s-app': 'kube-dns' } },
    web_elsewhere: { address: '10.0.1.2', namespace: 'visitors', labels: { app: 'web' } },
    outside: { address: '203.0.113.9' },
    node: { address: '192.168.0.1' },
  };
  const wanted = new Set<string>();
  for (const from of ['web1', 'web2', 'web3']) {
    wanted.add(`${from} db 5432/TCP`).add(`${from} outside 443/TCP`).add(`${from} outside 80/TCP`);
    wanted.add(`client ${from} 8080/TCP`).add(`node ${from} 8080/TCP`);
  }
  wanted.add('client dns 53/UDP').add('client dns 53/TCP');
  const allowed = new Set<string>();
  const free = new Set(['dns', 'web_elsewhere', 'outside', 'node']);
  for (const [fromName, from] of Object.entries(ends)) {
    for (const [toName, to] of Object.entries(ends)) {
      // Traffic between ends that no policy is about is nobody's business.
      if (fromName === toName || (free.has(fromName) && free.has(toName))) continue;
      for (const [port, protocol] of [
        [53, 'UDP'],
        [53, 'TCP'],
        [80, 'TCP'],
        [443, 'TCP'],
        [5432, 'TCP'],
        [8080, 'TCP'],
        [8080, 'UDP'],
      ] as const) {
        if (allows(made, from, to, port, protocol)) allowed.add(`${fromName} ${toName} ${port}/${protocol}`);
      }
    }
  }
  t.same([...allowed].toSorted(), [...wanted].toSorted());
  t.end();
});

void t.test('what cannot be said by labels', (t) => {
  const text = policies(world(), [
    { netns: 105, egress: true, address: '10.0.0.3', port: 5432 },
    { netns: 103, egress: false, address: '10.0.0.5', port: 5432 },
    { netns: 103, egress: true, address: '10.96.0.1', port: 443 },
    { netns: 106, egress: true, address: '10.0.0.3', port: 5432 },
    { netns: 999, egress: true, address: '10.0.0.3', port: 5432 },
    // A protocol that policies know nothing of.
    { netns: 103, egress: true, address: '10.0.0.1', port: 1, proto: 136 },
  ]);
  t.match(
    text,
    '# pod shop/bare has no label that a policy could select it by: it is left out\n# 2 connections were of no pod: they are left out\n',
  );
  t.match(text, '  # service default/kubernetes, which selects no pods\n  - ports:\n    - port: 443\n');
  t.match(text, '  # pod shop/bare, which has no labels\n  - ports:\n    - port: 5432\n');
  const made = parsePolicies(text);
  t.same(
    made.map(({ metadata }) => metadata.name),
    ['db-network'],
  );
  t.match(made[0]?.spec, {
    egress: [{ to: [{ ipBlock: { cidr: '10.96.0.1/32' } }] }],
    ingress: [{ from: [{ ipBlock: { cidr: '10.0.0.5/32' } }] }],
  });
  for (const { spec } of made)
    for (const { from = [], to = [] } of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) {
      for (const { podSelector } of [...from, ...to])
        t.not(podSelector && Object.keys(podSelector.matchLabels ?? {}).length, 0, 'no selector is about everybody');
    }
  t.match(policies(world(), []), /^# no pod was seen/);
  t.end();
});

void t.test('ports that pods name, jobs, and pods of one owner with different labels', (t) => {
  const place = world();
  place.pods.set(201, { ...shop, name: 'job-a', labels: 'controller-uid=1,job-name=a', owner: 'nightly' });
  place.pods.set(202, { ...shop, name: 'job-b', labels: 'controller-uid=2,job-name=b', owner: 'nightly' });
  const made = parsePolicies(
    policies(place, [
      { netns: 201, egress: true, address: '10.96.0.80', port: 443 },
      { netns: 202, egress: true, address: 'fe80::1', port: 9 },
    ]),
  );
  t.same(
    made.map(({ metadata, spec }) => [metadata.name, spec.podSelector.matchLabels, spec.egress?.[0]?.ports[0]?.port]),
    [
      ['nightly-network', { 'job-name': 'a' }, 'https'],
      ['nightly-network-2', { 'job-name': 'b' }, 9],
    ],
  );
  t.same(made[1]?.spec.egress?.[0]?.to, [{ ipBlock: { cidr: 'fe80::1/128' } }]);
  t.end();
});

void t.test('names that come late', (t) => {
  const late = (ms: number): string => {
    const place = world();
    place.pods.delete(101);
    place.addresses.delete('10.0.0.3');
    return policies(
      place,
      [{ netns: 101, egress: true, address: '10.0.0.3', port: 5432 }],
      [
        { ms },
        { ms: 1, work: () => void place.pods.set(101, web(1)).set(102, web(2)) },
        { ms: 1, work: () => void place.addresses.set('10.0.0.3', podName(db)) },
        // The address is another pod's by now: it must not be asked for again.
        { ms: 60_000, work: () => void place.addresses.set('10.0.0.3', podName(client)) },
      ],
    );
  };
  t.match(parsePolicies(late(1000))[0]?.spec.egress, [{ to: [{ podSelector: { matchLabels: { app: 'db' } } }] }]);
  t.match(late(20_000), /1 connections were of no pod/, 'not for ever: an address and a namespace may be used again');
  t.end();
});

void t.test('hostile names', (t) => {
  const place = world();
  const name = 'x\n---\nkind: Evil\n#\u001b[2J';
  place.pods.set(101, { name, namespace: 'a: b', labels: 'k=true,l=: {' });
  place.pods.set(102, { name, namespace: 'n', labels: '' });
  place.addresses.set('10.0.0.3', { ...dns, name, selector: '' });
  const text = policies(
    place,
    [101, 102].map((netns) => ({ netns, egress: true, address: '10.0.0.3', port: 5432 })),
  );
  const made = parsePolicies(text);
  t.equal(made.length, 1);
  t.match(made[0], {
    kind: 'NetworkPolicy',
    metadata: { name: `${name}-network`, namespace: 'a: b' },
    spec: { podSelector: { matchLabels: { k: 'true', l: ': {' } } },
  });
  t.notOk(text.includes('\u001b'));
  t.end();
});

void t.test('events that are no connections', (t) => {
  t.throws(() => new PolicyWriter(sourceFixture('event').source), { code: 'E_OUTPUT_ADVISE', why: /generate_networkpolicy\.enable/ });
  t.end();
});
