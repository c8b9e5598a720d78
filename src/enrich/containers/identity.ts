import { containerOfCgroup } from '../runtimes/cgroup-path.ts';
import type { ProcessReader } from './process.ts';
import type { HostNamespaces } from './tracker.ts';
import { pathOf, type CgroupLevel, type CgroupPlace, type TaskEvent } from './task-event.ts';

/** Whose a mount namespace is, as cgroups and processes show it. */
export interface Identity {
  /** Empty where nothing tells. */
  readonly id: string;
  /** Empty for unknown. */
  readonly runtime: string;
  /** The container's own cgroup; empty where it has none. */
  readonly cgroupPath: string;
  /** Id of a container within the container; empty for none. */
  readonly innerId: string;
}

/**
 * What the task's cgroups say. Only root's word counts: a cgroup below one that was given to somebody else names nobody, and
 * neither does anything in a user namespace that somebody else made.
 */
export function identityOfCgroups(event: TaskEvent): Identity | null {
  if (event.usernsOwner !== 0) return null;
  const all = event.places.map(identityOfPlace).filter((each) => each !== null);
  const [first] = all;
  if (first === undefined || first.innerId !== '') return first ?? null;
  // A runtime in a container may see the hierarchies of v1 alone: the inner container has no cgroup in v2 then.
  const innerId = all.find((each) => each.id === first.id && each.innerId !== '')?.innerId ?? '';
  return { ...first, innerId };
}

function identityOfPlace({ path, levels }: CgroupPlace): Identity | null {
  const outer = containerOfCgroup(path);
  if (outer === null) return null;
  const depth = outer.path.split('/').length - 1;
  if (levels.slice(0, depth - 1).some(({ owner }) => owner !== 0)) return null;
  const inner = containerOfCgroup(path.slice(outer.path.length));
  return { id: outer.id, runtime: outer.runtime, cgroupPath: outer.path, innerId: inner === null || inner.id === outer.id ? '' : inner.id };
}

/** Names of processes that set up containers, and what they are. */
const runtimes: readonly (readonly [prefix: string, runtime: string])[] = [
  ['runc', 'runc'],
  ['crun', 'crun'],
  ['youki', 'youki'],
  ['lxc', 'lxc'],
  ['systemd-nspawn', 'systemd-nspawn'],
  ['(sd-nspawn', 'systemd-nspawn'],
  ['conmon', 'podman'],
  ['containerd-shim', 'containerd'],
];

/** What set a container up, by the names of its first process and of that one's parent; empty for unknown. */
export function runtimeOfProcess(event: TaskEvent): string {
  for (const comm of [event.comm, event.parentComm]) {
    // A comm has at most 15 characters: `systemd-nspawn` just fits.
    const found = runtimes.find(([prefix]) => comm.startsWith(prefix));
    if (found !== undefined) return found[1];
  }
  return '';
}

/**
 * A container that no cgroup names: root made it, and it has processes of its own to see. A mount namespace alone is none:
 * services have those.
 */
export function identityOfProcess(event: TaskEvent, host: HostNamespaces): Identity | null {
  if (event.usernsOwner !== 0 || event.pidnsLevel === 0 || event.pidns === host.pidns) return null;
  const place = event.ownCgroup ? event.places.find(({ levels }) => levels.length > 0) : undefined;
  const levels = ownLevels(place?.levels ?? []);
  const leaf = levels.at(-1)?.name ?? '';
  const runtime = runtimeOfProcess(event);
  // Below whoever starts it, systemd-nspawn without a unit calls every container's cgroup the same (nspawn-cgroup.c).
  const shared = runtime === 'systemd-nspawn' && leaf === 'payload';
  const trusted = !shared && leaf !== '' && levels.slice(0, -1).every(({ owner }) => owner === 0);
  return { id: trusted ? leaf : '', runtime, cgroupPath: trusted ? pathOf(levels) : '', innerId: '' };
}

/**
 * Names that what runs in a container gives a cgroup below the container's own: systemd in it (init.scope), crun with a delegated one
 * (run.oci.systemd.subgroup, `container`), and inits that make room for others (`init`).
 */
const within: ReadonlySet<string> = new Set(['init.scope', 'container', 'init']);

/** The way to the container's own cgroup. */
function ownLevels(levels: readonly CgroupLevel[]): readonly CgroupLevel[] {
  return levels.length > 1 && within.has(levels.at(-1)?.name ?? '') ? levels.slice(0, -1) : levels;
}

/**
 * Whose a container is that has nothing but an id for a cgroup (pods with the cgroupfs driver, docker's --cgroup-parent): its first
 * process is a shim's child from the moment that runc is gone, and docker's shims say so. Empty for unknown.
 */
export function runtimeOfShim(event: TaskEvent, processes: ProcessReader): string {
  if (!event.parentComm.startsWith('containerd-shim')) return '';
  const words = processes.argumentsOf(event.parentPid);
  return words[words.indexOf('-namespace') + 1] === 'moby' ? 'docker' : 'containerd';
}
