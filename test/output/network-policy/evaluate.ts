import { parseAllDocuments } from 'yaml';

interface Selector {
  readonly matchLabels?: Readonly<Record<string, string>>;
}
interface PolicyPeer {
  readonly podSelector?: Selector;
  readonly namespaceSelector?: Selector;
  readonly ipBlock?: { readonly cidr: string };
}
interface PolicyRule {
  readonly ports: readonly { readonly port: number | string; readonly protocol: string }[];
  readonly from?: readonly PolicyPeer[];
  readonly to?: readonly PolicyPeer[];
}
export interface NetworkPolicy {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector: Selector;
    readonly policyTypes: readonly string[];
    readonly ingress?: readonly PolicyRule[];
    readonly egress?: readonly PolicyRule[];
  };
}

/** One end of a connection: a pod, or an address outside where it has no labels. */
export interface End {
  readonly address: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

export function parsePolicies(text: string): readonly NetworkPolicy[] {
  return parseAllDocuments(text).flatMap((document) => {
    for (const error of document.errors) throw error;
    const value = document.toJS() as NetworkPolicy | null;
    return value === null ? [] : [value];
  });
}

/**
 * Whether policies let one end ask the other, as the reference of NetworkPolicy v1 has it: traffic of a pod that no policy
 * selects is allowed, of one that is selected what any of its policies allows, and both ends have to allow it.
 */
export function allows(policies: readonly NetworkPolicy[], from: End, to: End, port: number | string, protocol: string): boolean {
  const side = (pod: End, peer: End, kind: 'ingress' | 'egress'): boolean => {
    const applying = policies.filter(
      ({ metadata, spec }) =>
        pod.labels !== undefined &&
        metadata.namespace === pod.namespace &&
        matches(spec.podSelector, pod.labels) &&
        spec.policyTypes.includes(kind === 'ingress' ? 'Ingress' : 'Egress'),
    );
    if (applying.length === 0) return true;
    return applying.some(({ metadata, spec }) =>
      (spec[kind] ?? []).some(
        (rule) =>
          rule.ports.some((each) => each.port === port && each.protocol === protocol) &&
          ((kind === 'ingress' ? rule.from : rule.to) ?? []).some((each) => isPeer(each, peer, metadata.namespace)),
      ),
    );
  };
  return side(from, to, 'egress') && side(to, from, 'ingress');
}

function isPeer({ podSelector, namespaceSelector, ipBlock }: PolicyPeer, end: End, namespace: string): boolean {
  if (ipBlock !== undefined) return ipBlock.cidr === `${end.address}/${end.address.includes(':') ? 128 : 32}`;
  if (end.labels === undefined || podSelector === undefined || !matches(podSelector, end.labels)) return false;
  if (namespaceSelector === undefined) return end.namespace === namespace;
  return matches(namespaceSelector, { 'kubernetes.io/metadata.name': end.namespace ?? '' });
}

function matches({ matchLabels = {} }: Selector, labels: Readonly<Record<string, string>>): boolean {
  return Object.entries(matchLabels).every(([name, value]) => labels[name] === value);
}
