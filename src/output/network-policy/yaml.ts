import { printable } from '../../bytes/printable.ts';
import { scalarText } from '../yaml.ts';
import type { Advice, Policy, Rule, RulePeer } from './policy.ts';

/** The policies as documents of `networking.k8s.io/v1`, for `kubectl apply -f -`; what needs a word beside it has a comment. */
export function policiesText({ policies, unlabelled }: Advice, unknown: number): string {
  const comments = unlabelled.map((pod) => `# pod ${printable(pod)} has no label that a policy could select it by: it is left out`);
  if (unknown > 0) comments.push(`# ${unknown} connections were of no pod: they are left out`);
  if (policies.length === 0) comments.push('# no pod was seen that talks to another address: there is no policy to advise');
  const lines = policies.map((policy) => `${policyLines(policy).join('\n')}\n`).join('---\n');
  return `${comments.map((line) => `${line}\n`).join('')}${lines}`;
}

function policyLines({ name, namespace, labels, ingress, egress }: Policy): string[] {
  return [
    'apiVersion: networking.k8s.io/v1',
    'kind: NetworkPolicy',
    'metadata:',
    `  name: ${scalarText(name)}`,
    `  namespace: ${scalarText(namespace)}`,
    'spec:',
    ...rulesLines('egress', 'to', egress),
    ...rulesLines('ingress', 'from', ingress),
    '  podSelector:',
    ...labelLines(labels, '    '),
    '  policyTypes:',
    '  - Ingress',
    '  - Egress',
  ];
}

function rulesLines(kind: string, whose: string, rules: readonly Rule[]): string[] {
  if (rules.length === 0) return [];
  const lines = [`  ${kind}:`];
  for (const { peer, ports, note } of rules) {
    if (note !== null) lines.push(`  # ${printable(note)}`);
    lines.push('  - ports:');
    for (const { port, protocol, note } of ports) {
      if (note !== null) lines.push(`    # ${note}`);
      lines.push(`    - port: ${typeof port === 'number' ? port : scalarText(port)}`, `      protocol: ${protocol}`);
    }
    lines.push(`    ${whose}:`, ...peerLines(peer));
  }
  return lines;
}

function peerLines(peer: RulePeer): string[] {
  if ('cidr' in peer) return ['    - ipBlock:', `        cidr: ${scalarText(peer.cidr)}`];
  const pods = ['podSelector:', ...labelLines(peer.labels, '        ')];
  // Every namespace has this label since Kubernetes 1.21 (NamespaceDefaultLabelName).
  const namespace =
    peer.namespace === null ? [] : ['namespaceSelector:', ...labelLines([['kubernetes.io/metadata.name', peer.namespace]], '        ')];
  const [first = '', ...rest] = [...namespace, ...pods].map((line) => (line.startsWith(' ') ? line : `      ${line}`));
  return [`    - ${first.trimStart()}`, ...rest];
}

function labelLines(labels: readonly (readonly [string, string])[], indent: string): string[] {
  return [`${indent}matchLabels:`, ...labels.map(([name, value]) => `${indent}  ${scalarText(name)}: ${scalarText(value)}`)];
}
