import type { NameEvent, NameQuery, NameSource, PodNames, RuntimeNames } from '../containers/names.ts';

/**
 * Several sources as one. All that are present are asked at once; what the first of them leaves empty, later ones fill in:
 * docker knows a container's name, the containerd below it the process.
 *
 * @example
 * import { ContainerdSource, DockerSource, joinSources } from 'rawbpf';
 * const names = joinSources([new DockerSource('/run/docker.sock'), new ContainerdSource('/run/containerd/containerd.sock')]);
 * names.close();
 */
export function joinSources(sources: readonly NameSource[]): NameSource {
  return new JoinedSources(sources);
}

class JoinedSources implements NameSource {
  readonly name: string;
  readonly #sources: readonly NameSource[];

  constructor(sources: readonly NameSource[]) {
    this.#sources = sources;
    this.name = sources.map((source) => source.name).join(', ');
  }

  get present(): boolean {
    return this.#sources.some((source) => source.present);
  }

  async lookup(query: NameQuery): Promise<RuntimeNames | null> {
    const answers = await Promise.all(this.#sources.map((source) => source.lookup(query)));
    return answers.reduce(mergeMaybe, null);
  }

  async list(): Promise<readonly RuntimeNames[]> {
    const merged = new Map<string, RuntimeNames>();
    for (const each of (await Promise.all(this.#sources.map((source) => source.list()))).flat()) {
      const before = merged.get(each.containerId);
      merged.set(each.containerId, before === undefined ? each : mergeNames(before, each));
    }
    return [...merged.values()];
  }

  onEvent(listener: (event: NameEvent) => void): void {
    for (const [rank, source] of this.#sources.entries()) {
      source.onEvent?.((event) => {
        // At once, for somebody may wait for it; and again when all that can be known is.
        listener(event);
        if (event.type === 'names')
          void this.#complete(rank, event.id, event.names).then((names) => listener({ type: 'names', id: event.id, names }));
      });
    }
  }

  close(): void {
    for (const source of this.#sources) source.close();
  }

  /** Whatever one source tells is completed by the others, so that a later event never says less than one before. */
  async #complete(rank: number, id: string, names: RuntimeNames): Promise<RuntimeNames> {
    const query = { id, pid: names.containerPid, cgroupPath: '', runtimeHint: names.runtimeName };
    const answers = await Promise.all(this.#sources.map((source, i) => (i === rank ? Promise.resolve(names) : source.lookup(query))));
    return answers.reduce(mergeMaybe, null) ?? names;
  }
}

function mergeMaybe(first: RuntimeNames | null, second: RuntimeNames | null): RuntimeNames | null {
  return first !== null && second !== null ? mergeNames(first, second) : (first ?? second);
}

/** Both are of one container; the first one's word counts where both say something. */
export function mergeNames(first: RuntimeNames, second: RuntimeNames): RuntimeNames {
  return {
    containerId: first.containerId,
    runtimeName: first.runtimeName || second.runtimeName,
    containerName: first.containerName || second.containerName,
    containerPid: first.containerPid || second.containerPid,
    containerImageName: first.containerImageName || second.containerImageName,
    containerImageDigest: first.containerImageDigest || second.containerImageDigest,
    containerStartedAt: first.containerStartedAt || second.containerStartedAt,
    k8s: mergePods(first.k8s, second.k8s),
    labels: first.labels.size > 0 ? first.labels : second.labels,
    sandbox: first.sandbox || second.sandbox,
  };
}

/** As {@link mergeNames}, for the pod. */
export function mergePods(first: PodNames | null, second: PodNames | null): PodNames | null {
  if (first === null || second === null) return first ?? second;
  return {
    node: first.node || second.node,
    namespace: first.namespace || second.namespace,
    podName: first.podName || second.podName,
    podUid: first.podUid || second.podUid,
    containerName: first.containerName || second.containerName,
    podLabels: first.podLabels.size > 0 ? first.podLabels : second.podLabels,
    hostnetwork: first.hostnetwork ?? second.hostnetwork,
    owner: first.owner.kind === '' ? second.owner : first.owner,
  };
}
