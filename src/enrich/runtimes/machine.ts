import type { NameSource } from '../containers/names.ts';
import { ContainerdSource } from './containerd.ts';
import { CriSource } from './cri.ts';
import { DockerSource } from './docker.ts';
import { joinSources } from './join.ts';
import { PodmanFiles, podmanFolders } from './podman-files.ts';
import { PodmanSource } from './podman.ts';
import type { SourceOptions } from './source.ts';

/** Where runtimes are looked for: each a path, or several. An empty list: not asked. */
export interface RuntimeSockets {
  readonly docker?: readonly string[];
  readonly podman?: readonly string[];
  readonly containerd?: readonly string[];
  readonly crio?: readonly string[];
  /** podman's --root and --runroot. */
  readonly podmanFolders?: readonly { readonly graph: string; readonly run: string }[];
}

/** Where the runtimes' own packages, k3s, microk8s and k0s put them. */
export const usualSockets: Required<RuntimeSockets> = {
  docker: ['/run/docker.sock'],
  podman: ['/run/podman/podman.sock'],
  crio: ['/run/crio/crio.sock'],
  containerd: [
    '/run/containerd/containerd.sock',
    '/run/k3s/containerd/containerd.sock',
    '/run/k0s/containerd.sock',
    '/var/snap/microk8s/common/run/containerd.sock',
  ],
  podmanFolders: [podmanFolders],
};

/** What {@link machineNames} needs. */
export interface MachineNamesOptions extends SourceOptions {
  /** Instead of {@link usualSockets}, for each kind that is given. */
  readonly sockets?: RuntimeSockets;
  /** The folder where the host's root is mounted, when running in a container; empty unless said. */
  readonly hostRoot?: string;
}

/** Every source of names on this machine as one: the sockets need not be there yet, nor all the time. */
export function machineNames(options: MachineNamesOptions = {}): NameSource {
  const sockets = { ...usualSockets, ...options.sockets };
  const root = (options.hostRoot ?? '').replace(/\/+$/, '');
  const given = options.sockets ?? {};
  // Paths that a person typed are as they stand; the usual ones are the host's.
  const paths = (kind: 'docker' | 'podman' | 'containerd' | 'crio'): readonly string[] =>
    given[kind] === undefined ? sockets[kind].map((path) => `${root}${path}`) : sockets[kind];
  const folders = sockets.podmanFolders.map(({ graph, run }) =>
    given.podmanFolders === undefined ? { graph: `${root}${graph}`, run: `${root}${run}` } : { graph, run },
  );
  return joinSources([
    ...paths('docker').map((socket) => new DockerSource(socket, options)),
    ...paths('podman').map((socket) => new PodmanSource(socket, options)),
    ...folders.map((each) => new PodmanFiles(each)),
    ...paths('crio').map((socket) => new CriSource(socket, 'cri-o', options)),
    ...paths('containerd').map((socket) => new ContainerdSource(socket, options)),
    ...paths('containerd').map((socket) => new CriSource(socket, 'containerd', options)),
  ]);
}
