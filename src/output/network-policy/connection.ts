/** A pod, or pods that a policy takes for one. */
export interface PodLabels {
  readonly namespace: string;
  /** As `a=b,c=d`. */
  readonly labels: string;
}

/** Who talks with a pod. */
export interface Peer extends PodLabels {
  readonly kind: 'pod' | 'svc' | 'node' | 'raw';
  /** Of a pod, service or node; empty for an address that nobody is known to have. */
  readonly name: string;
  readonly address: string;
  readonly version: number;
  /** Of a service: the pods behind it, as `a=b,c=d`. */
  readonly selector: string;
}

/** One peer of one pod, on one port. */
export interface Connection {
  readonly pod: PodLabels & { readonly name: string; readonly owner: string };
  readonly egress: boolean;
  readonly peer: Peer;
  /** The port of who is asked: a number, or the name that the asked pods give it. */
  readonly port: number | string;
  readonly protocol: string;
}

/** Labels that say where or when a pod runs, not what it is: a policy with them would not fit the next pod. */
const passing = new Set([
  'apps.kubernetes.io/pod-index',
  'batch.kubernetes.io/controller-uid',
  'batch.kubernetes.io/job-completion-index',
  'controller-revision-hash',
  'controller-uid',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'pod-template-generation',
  'pod-template-hash',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
]);
/** Labels that tell one pod of several: of use only where there are no others. */
const single = new Set(['batch.kubernetes.io/job-name', 'job-name', 'statefulset.kubernetes.io/pod-name']);

/** The labels of `a=b,c=d` that stay the same from pod to pod, sorted. */
export function lastingLabels(labels: string): readonly (readonly [name: string, value: string])[] {
  const all = (labels === '' ? [] : labels.split(','))
    .map((each) => {
      const equals = each.indexOf('=');
      return [each.slice(0, equals), each.slice(equals + 1)] as const;
    })
    .filter(([name]) => !passing.has(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  const common = all.filter(([name]) => !single.has(name));
  return common.length > 0 ? common : all;
}
