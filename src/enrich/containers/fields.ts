import type { ContainerFields } from '../../gadget/context.ts';
import type { RuntimeNames } from './names.ts';

/** What {@link makeFields} puts together. */
export interface FieldFacts {
  readonly id: string;
  readonly runtime: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly hostNetwork: boolean;
  readonly names: RuntimeNames | null;
  /** Name of this node, where it is known. */
  readonly node: string;
}

let serial = 0;

/** What events show of a container. */
export function makeFields({ id, runtime, pid, startedAt, hostNetwork, names, node }: FieldFacts, innerId: string): ContainerFields {
  const pod = names?.k8s ?? null;
  return {
    serial: ++serial,
    runtime: {
      runtimeName: names?.runtimeName || runtime,
      containerName: names?.containerName ?? '',
      containerId: names?.containerId || id,
      containerPid: pid,
      containerImageName: names?.containerImageName ?? '',
      containerImageDigest: names?.containerImageDigest ?? '',
      containerStartedAt: startedAt,
      innerContainerId: innerId,
    },
    k8s: {
      node: pod === null ? '' : pod.node || node,
      namespace: pod?.namespace ?? '',
      podName: pod?.podName ?? '',
      containerName: pod?.containerName ?? '',
      podLabels: labelText(pod?.podLabels),
      hostnetwork: pod !== null && (pod.hostnetwork ?? hostNetwork),
      owner: { kind: pod?.owner.kind ?? '', name: pod?.owner.name ?? '' },
    },
  };
}

/** What several containers in one network namespace have in common: their pod; null where they are of different pods, or of none. */
export function commonFields(all: readonly ContainerFields[]): ContainerFields | null {
  const [first] = all;
  if (first === undefined || all.length === 1) return first ?? null;
  const { namespace, podName } = first.k8s;
  if (podName === '' || all.some(({ k8s }) => k8s.podName !== podName || k8s.namespace !== namespace)) return null;
  const none = { containerName: '', containerId: '', containerPid: 0, containerImageName: '', containerImageDigest: '' };
  const runtime = { runtimeName: first.runtime.runtimeName, ...none, containerStartedAt: '', innerContainerId: '' };
  return { serial: ++serial, runtime, k8s: { ...first.k8s, containerName: '' } };
}

/** `a=b,c=d`, sorted. */
export function labelText(labels: ReadonlyMap<string, string> | undefined): string {
  return [...(labels ?? [])]
    .map(([key, value]) => `${key}=${value}`)
    .toSorted()
    .join(',');
}
