import { existsSync } from 'node:fs';
import type { Kernel } from '../bpf/index.ts';
import { ContainerCollection, ContainerFilter, ContainerPart, type ContainerScope } from '../enrich/containers/index.ts';
import type { Cluster } from '../enrich/kubernetes/index.ts';
import type { RuntimeSockets } from '../enrich/runtimes/index.ts';
import { usage, type OptionSpec, type ParsedOptions } from './options.ts';

/** Which containers' events are shown. */
export const containerFilterOptions: readonly OptionSpec[] = [
  { name: 'containername', short: 'c', value: 'LIST', help: 'only containers of these names or ids: a,b or !a to leave one out' },
  { name: 'runtime', value: 'LIST', help: 'only containers of these runtimes: docker, containerd, podman, cri-o, runc, ...' },
  { name: 'image', value: 'LIST', help: 'only containers of these images, with or without tag' },
  { name: 'k8s-namespace', value: 'LIST', help: 'only pods of these Kubernetes namespaces' },
  { name: 'k8s-podname', value: 'LIST', help: 'only pods of these names' },
  { name: 'k8s-containername', value: 'LIST', help: 'only containers of these names in their pods' },
  { name: 'label', short: 'l', value: 'KEY=VALUE', multiple: true, help: 'only pods or containers with this label' },
];

/** Where containers are looked for. */
export const containerPlaceOptions: readonly OptionSpec[] = [
  { name: 'host-root', value: 'DIR', help: "where the host's root is mounted, when rawbpf runs in a container" },
  { name: 'docker-socketpath', value: 'PATH', help: "docker's socket (default /run/docker.sock)" },
  {
    name: 'containerd-socketpath',
    value: 'PATH',
    help: "containerd's socket (default /run/containerd/containerd.sock and those of k3s, k0s, microk8s)",
  },
  { name: 'podman-socketpath', value: 'PATH', help: "podman's socket (default /run/podman/podman.sock)" },
  { name: 'crio-socketpath', value: 'PATH', help: "CRI-O's socket (default /run/crio/crio.sock)" },
];

/** What `run` takes about containers. */
export const containerOptions: readonly OptionSpec[] = [
  ...containerFilterOptions,
  { name: 'host', help: 'show what happens outside of containers too: the default without the flags above' },
  { name: 'containers-only', help: 'leave out what happens outside of containers' },
  { name: 'host-only', help: 'leave out what happens in containers' },
  { name: 'no-containers', help: 'neither look for containers nor show whose events are' },
  ...containerPlaceOptions,
];

/** What the flags select; null where they select nothing. */
export function selectionOf(given: ParsedOptions): ContainerFilter | null {
  const selection: Record<string, string | readonly string[]> = {};
  const keys = {
    containername: 'containerName',
    runtime: 'runtime',
    image: 'image',
    'k8s-namespace': 'k8sNamespace',
    'k8s-podname': 'k8sPodName',
    'k8s-containername': 'k8sContainerName',
  } as const;
  for (const [flag, key] of Object.entries(keys)) {
    const list = given.text(flag);
    if (list !== null) selection[key] = list;
  }
  if (given.has('label')) selection['labels'] = given.all('label');
  const filter = new ContainerFilter(selection);
  return filter.all ? null : filter;
}

/** Where the flags say that runtimes answer; what they do not say is looked for at the usual places. */
export function socketsOf(given: ParsedOptions): RuntimeSockets {
  const sockets: Record<string, readonly string[]> = {};
  for (const [flag, kind] of [
    ['docker-socketpath', 'docker'],
    ['containerd-socketpath', 'containerd'],
    ['podman-socketpath', 'podman'],
    ['crio-socketpath', 'crio'],
  ] as const) {
    const path = given.text(flag);
    if (path !== null) sockets[kind] = [path.replace(/^unix:\/\//, '')];
  }
  return sockets;
}

/** The host's root as given, without a slash at its end; null for this root. Throws where it is none: nothing would be found below it. */
export function hostRootOf(given: ParsedOptions): string | null {
  const asked = given.text('host-root');
  const root = (asked ?? process.env['HOST_ROOT'] ?? '').replace(/\/+$/, '');
  if (asked !== null && root !== '' && !existsSync(`${root}/proc`))
    throw usage(`--host-root ${asked} is no root of a host`, 'there is no proc in it');
  return root || null;
}

/** The containers of this machine, with their first names; `cluster` knows more of pods. */
export async function openContainers(
  given: ParsedOptions,
  kernel: Kernel,
  notice: (message: string) => void,
  cluster: Cluster | null = null,
): Promise<ContainerCollection> {
  // Clients of runtimes are loaded where they are used.
  const { machineNames } = await import('../enrich/runtimes/index.ts');
  const { ClusterNames } = await import('../enrich/kubernetes/index.ts');
  const hostRoot = hostRootOf(given);
  const node = process.env['NODE_NAME'];
  const names = machineNames({ sockets: socketsOf(given), onNotice: notice, ...(hostRoot === null ? {} : { hostRoot }) });
  const containers = ContainerCollection.open({
    kernel,
    names: cluster === null ? names : new ClusterNames(names, cluster),
    onNotice: notice,
    polling: 'fallback',
    ...(hostRoot === null ? {} : { hostRoot }),
    ...(node === undefined ? {} : { node }),
  });
  await containers.ready;
  return containers;
}

/** How a run is joined with containers, as the flags say. */
export function containerPart(given: ParsedOptions, containers: ContainerCollection): ContainerPart {
  return new ContainerPart(containers, { filter: selectionOf(given), scope: scopeOf(given) });
}

/** Whether the flags ask for some events by their container. */
export function selectsContainers(given: ParsedOptions): boolean {
  return scopeOf(given) !== 'all';
}

/** Whose events the flags ask for; throws for flags that contradict each other. */
export function scopeOf(given: ParsedOptions): ContainerScope {
  const hostOnly = given.flag('host-only');
  const containersOnly = given.flag('containers-only');
  const selects = selectionOf(given) !== null || containersOnly;
  if (hostOnly && selects) throw usage('--host-only leaves out all containers: no flag that selects some goes with it');
  if (given.flag('host') && (selects || hostOnly)) throw usage('--host shows everything: no flag that leaves something out goes with it');
  if (given.flag('no-containers') && (selects || hostOnly))
    throw usage('--no-containers knows no containers: no flag that selects some goes with it');
  return hostOnly ? 'host' : selects ? 'containers' : 'all';
}
