import type { NameEvent, NameQuery, NameSource, PodNames, RuntimeNames } from '../containers/names.ts';
import { containerOfCgroup } from '../runtimes/cgroup-path.ts';
import { emptyNames, emptyPod } from '../runtimes/source.ts';
import type { Cluster } from './cluster.ts';
import { labelMap, type PodObject } from './objects.ts';

/**
 * Names of containers, completed by what a cluster knows of their pods: node, labels, owner. Where no runtime answers, the pod's uid in
 * the cgroup's path is enough for everything but the image.
 */
export class ClusterNames implements NameSource {
  readonly name: string;
  readonly #inner: NameSource;
  readonly #cluster: Cluster;

  /** Closes `inner` with itself, but not the cluster, which serves endpoints too. */
  constructor(inner: NameSource, cluster: Cluster) {
    this.#inner = inner;
    this.#cluster = cluster;
    this.name = inner.name === '' ? 'Kubernetes' : `${inner.name}, Kubernetes`;
  }

  get present(): boolean {
    return this.#inner.present || this.#cluster.counts.pods > 0;
  }

  async lookup(query: NameQuery): Promise<RuntimeNames | null> {
    const names = await this.#inner.lookup(query);
    if (names !== null) return await this.#completed(names);
    const fromPath = containerOfCgroup(query.cgroupPath);
    const pod = fromPath === null ? null : this.#cluster.pod(fromPath.podUid);
    if (fromPath === null || pod === null) return null;
    const containerName = await within(1000, this.#cluster.containerName(pod, fromPath.id), '');
    const k8s = await this.#podNames({ ...emptyPod, containerName }, pod);
    return { ...emptyNames, containerId: fromPath.id, runtimeName: fromPath.runtime, containerName, k8s };
  }

  async list(): Promise<readonly RuntimeNames[]> {
    return await Promise.all((await this.#inner.list()).map((each) => this.#completed(each)));
  }

  onEvent(listener: (event: NameEvent) => void): void {
    this.#inner.onEvent?.((event) => {
      if (event.type === 'removed') listener(event);
      else void this.#completed(event.names).then((names) => listener({ ...event, names }));
    });
  }

  close(): void {
    this.#inner.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #completed(names: RuntimeNames): Promise<RuntimeNames> {
    if (names.k8s === null) return names;
    const { podUid, namespace, podName } = names.k8s;
    // A static pod has another uid at the server than on its node.
    const pod = this.#cluster.pod(podUid) ?? this.#cluster.staticPod(namespace, podName);
    return pod === null ? names : { ...names, k8s: await this.#podNames(names.k8s, pod) };
  }

  /** The runtime's word counts for names; labels change in the cluster only. */
  async #podNames(known: PodNames, pod: PodObject): Promise<PodNames> {
    return {
      node: known.node || pod.node,
      namespace: known.namespace || pod.namespace,
      podName: known.podName || pod.name,
      podUid: known.podUid || pod.uid,
      containerName: known.containerName,
      podLabels: labelMap(pod.labels),
      hostnetwork: known.hostnetwork ?? pod.hostNetwork,
      owner: await within(1000, this.#cluster.owner(pod), pod.owner),
    };
  }
}

/** The answer, or another one where it takes too long. */
async function within<T>(ms: number, answer: Promise<T>, otherwise: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(otherwise), ms);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}
