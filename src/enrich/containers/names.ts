/** What is known of a container that wants a name. */
export interface NameQuery {
  /** The runtime's id out of the cgroup's path; empty where the path tells none: then ask by pid. */
  readonly id: string;
  /** Its first process, in the host's pid namespace; 0 while unknown. It may be gone already. */
  readonly pid: number;
  /** From the root of its hierarchy: `/docker/<id>`; empty where it has none of its own. */
  readonly cgroupPath: string;
  /** `docker`, `containerd`, `podman`, `cri-o`, `runc`, ... as path and processes let one guess; empty for unknown. */
  readonly runtimeHint: string;
}

/** The workload that a pod belongs to. */
export interface OwnerReference {
  readonly kind: string;
  readonly name: string;
}

/** What a runtime says of a container. What it does not say is an empty string, 0 or an empty map. */
export interface RuntimeNames {
  readonly containerId: string;
  /** `docker`, `containerd`, `podman`, `cri-o`, `runc`, `crun`, `lxc`, `systemd-nspawn`, ... */
  readonly runtimeName: string;
  readonly containerName: string;
  readonly containerPid: number;
  readonly containerImageName: string;
  /** `sha256:...` of the manifest. */
  readonly containerImageDigest: string;
  /** RFC 3339; empty where the runtime does not say: the start of the first process counts then. */
  readonly containerStartedAt: string;
  /** Null for a container that is no part of a pod. */
  readonly k8s: PodNames | null;
  /** The container's own labels. */
  readonly labels: ReadonlyMap<string, string>;
  /** A pod's sandbox: it holds the namespaces and is nobody's container. */
  readonly sandbox: boolean;
}

/** What is known of a container's pod. */
export interface PodNames {
  readonly node: string;
  readonly namespace: string;
  readonly podName: string;
  readonly podUid: string;
  readonly containerName: string;
  readonly podLabels: ReadonlyMap<string, string>;
  /** Null where nobody said: then namespaces are compared. */
  readonly hostnetwork: boolean | null;
  readonly owner: OwnerReference;
}

/** Something that changed at a runtime, told without being asked. */
export type NameEvent =
  /** More is known of a container, or it changed its name; `names` is all that is known now. */
  | { readonly type: 'names'; readonly id: string; readonly names: RuntimeNames }
  /** The runtime has forgotten the container; names that were given stay. */
  | { readonly type: 'removed'; readonly id: string };

/**
 * Where names of containers come from: a runtime's socket, its files, or the Kubernetes API. No method throws, and none
 * waits for longer than its own limit (about a second): what does not answer costs nothing but the name.
 */
export interface NameSource {
  /** For messages: `docker at /run/docker.sock`. */
  readonly name: string;
  /** Whether anything answers there at all; a source that is absent is not waited for. */
  readonly present: boolean;
  /** What is known of one container; null where it is not this source's, or nobody answers. */
  lookup(query: NameQuery): Promise<RuntimeNames | null>;
  /** All containers the source knows; empty where nobody answers. */
  list(): Promise<readonly RuntimeNames[]>;
  /** Calls `listener` for what changes, until close(); one listener at most. */
  onEvent?(listener: (event: NameEvent) => void): void;
  /** Lets go of sockets and timers; harmless when repeated. */
  close(): void;
}
