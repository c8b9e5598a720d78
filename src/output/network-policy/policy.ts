import { lastingLabels, type Connection, type Peer } from './connection.ts';

type Labels = readonly (readonly [name: string, value: string])[];

/** Who a rule is about: pods by their labels, in their namespace where that is another one, or one address. */
export type RulePeer = { readonly labels: Labels; readonly namespace: string | null } | { readonly cidr: string };

/** A port of a rule. */
export interface RulePort {
  readonly port: number | string;
  readonly protocol: string;
  /** Not seen, but needed by who uses the others. */
  readonly note: string | null;
}

export interface Rule {
  readonly peer: RulePeer;
  readonly ports: readonly RulePort[];
  /** What the rule does not say by itself. */
  readonly note: string | null;
}

/** What pods with the same labels do, as a policy that allows it and nothing else. */
export interface Policy {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
  readonly ingress: readonly Rule[];
  readonly egress: readonly Rule[];
}

/** What policies are made of connections, and what no policy can be made of. */
export interface Advice {
  readonly policies: readonly Policy[];
  /** Pods without labels, as `namespace/name`. */
  readonly unlabelled: readonly string[];
}

/** Protocols that a policy can be about. */
const protocols = new Set(['TCP', 'UDP', 'SCTP']);
const dnsPort = 53;
/** Labels and ports are ASCII: the same order everywhere. */
const byText = (a: string, b: string): number => (a < b ? -1 : Number(a > b));

/** Groups connections by the labels of their pods. */
export function advise(connections: Iterable<Connection>): Advice {
  const groups = new Map<string, Connection[]>();
  const unlabelled = new Set<string>();
  for (const connection of connections) {
    const { pod, protocol } = connection;
    if (!protocols.has(protocol)) continue;
    const labels = lastingLabels(pod.labels);
    // A selector without labels would be about every pod of the namespace.
    if (labels.length === 0) unlabelled.add(`${pod.namespace}/${pod.name}`);
    else push(groups, JSON.stringify([pod.namespace, labels]), connection);
  }
  const taken = new Set<string>();
  const policies: Policy[] = [];
  for (const [, group] of [...groups].toSorted(([a], [b]) => byText(a, b))) {
    const [{ pod }] = group as [Connection, ...Connection[]];
    policies.push({
      name: freeName(taken, pod.namespace, `${group.map(({ pod }) => pod.owner || pod.name).toSorted()[0] ?? ''}-network`),
      namespace: pod.namespace,
      labels: lastingLabels(pod.labels),
      ingress: rulesOf(group.filter(({ egress }) => !egress)),
      egress: rulesOf(group.filter(({ egress }) => egress)),
    });
  }
  return { policies, unlabelled: [...unlabelled].toSorted() };
}

/** One rule for each peer, with all its ports. */
function rulesOf(connections: readonly Connection[]): readonly Rule[] {
  const groups = new Map<string, Connection[]>();
  for (const connection of connections) push(groups, JSON.stringify(peerOf(connection)), connection);
  return [...groups]
    .toSorted(([a], [b]) => byText(a, b))
    .map(([, group]) => {
      const [first] = group as [Connection, ...Connection[]];
      return { peer: peerOf(first), ports: portsOf(group), note: noteOf(first.peer, peerOf(first)) };
    });
}

/** Pods by their labels; an address where there are none, or no pods. */
function peerOf({ pod, peer }: Connection): RulePeer {
  const labels = lastingLabels(peer.kind === 'svc' ? peer.selector : peer.labels);
  if ((peer.kind !== 'pod' && peer.kind !== 'svc') || labels.length === 0) {
    return { cidr: `${peer.address}/${peer.version === 6 ? 128 : 32}` };
  }
  return { labels, namespace: peer.namespace === pod.namespace ? null : peer.namespace };
}

function noteOf(peer: Peer, rule: RulePeer): string | null {
  switch (peer.kind) {
    case 'node':
      return `node ${peer.name}`;
    case 'raw':
      return null;
    case 'svc':
      return 'cidr' in rule ? `service ${peer.namespace}/${peer.name}, which selects no pods` : null;
    default:
      return 'cidr' in rule ? `pod ${peer.namespace}/${peer.name}, which has no labels` : null;
  }
}

function portsOf(connections: readonly Connection[]): readonly RulePort[] {
  const ports = new Map<string, RulePort>();
  for (const { port, protocol } of connections) ports.set(`${port}/${protocol}`, { port, protocol, note: null });
  // RFC 7766, section 5: who asks over UDP asks again over TCP where the answer is cut off.
  for (const { port, protocol } of Array.from(ports.values())) {
    if (protocol !== 'UDP' || (port !== dnsPort && port !== 'dns')) continue;
    const again = port === 'dns' ? 'dns-tcp' : port;
    if (!ports.has(`${again}/TCP`))
      ports.set(`${again}/TCP`, { port: again, protocol: 'TCP', note: 'DNS answers that are too long for UDP' });
  }
  return [...ports.values()].toSorted(
    (a, b) => byText(a.protocol, b.protocol) || Number(a.port) - Number(b.port) || byText(String(a.port), String(b.port)),
  );
}

/** Pods of one owner with different labels get policies of their own. */
function freeName(taken: Set<string>, namespace: string, wanted: string): string {
  for (let i = 1; ; i++) {
    const name = i === 1 ? wanted : `${wanted}-${i}`;
    if (taken.has(`${namespace}/${name}`)) continue;
    taken.add(`${namespace}/${name}`);
    return name;
  }
}

function push<T>(groups: Map<string, T[]>, key: string, value: T): void {
  const group = groups.get(key);
  if (group === undefined) groups.set(key, [value]);
  else group.push(value);
}
