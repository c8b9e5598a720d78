import type { PodNames } from '../containers/names.ts';
import { at, elements, member, text, type Json } from '../json.ts';
import { emptyPod } from './source.ts';

/** What kubelets write on containers (k8s.io/kubelet, pkg/types/labels.go names them). */
const prefix = 'io.kubernetes.';

/** Names out of the labels that every container of a kubelet has; null where there are none. `podLabels` are the sandbox's. */
export function podOfLabels(
  labels: ReadonlyMap<string, string>,
  podLabels: ReadonlyMap<string, string>,
  hostnetwork: boolean | null,
): PodNames | null {
  const of = (name: string): string => labels.get(`${prefix}${name}`) ?? '';
  const podName = of('pod.name');
  if (podName === '') return null;
  return {
    ...emptyPod,
    namespace: of('pod.namespace'),
    podName,
    podUid: of('pod.uid'),
    containerName: of('container.name'),
    podLabels: userLabels(podLabels),
    hostnetwork,
  };
}

/** Without what kubelets and runtimes add. */
export function userLabels(labels: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  return new Map(
    [...labels].filter(([name]) => !name.startsWith(prefix) && !name.startsWith('io.cri-containerd.') && !name.startsWith('annotation.')),
  );
}

/** `sha256:...` out of `registry/name@sha256:...`; empty where there is none. */
export function digestOf(reference: string): string {
  return /@(sha(?:256|512):[0-9a-f]+)$/.exec(reference)?.[1] ?? '';
}

/** Whether an OCI spec leaves a container in the host's network namespace; null where there is no such spec. */
export function hostNetworkOf(spec: Json): boolean | null {
  const linux = at(spec, 'linux');
  if (linux === undefined) return null;
  return !elements(member(linux, 'namespaces')).some((each) => text(member(each, 'type')) === 'network');
}
