import type { Btf } from '../btf/btf.ts';
import type { BtfEnum } from '../btf/types.ts';
import type { ContainerNames, EndpointNames, EventContext } from '../gadget/context.ts';
import type { Sys } from '../sys/sys.ts';
import { WallClock } from './time.ts';
import { UserNames } from './users.ts';

/** What {@link hostContext} needs. */
export interface HostContextOptions {
  /** The running kernel's BTF, asked for only when an event has an enum; null where there is none. */
  readonly vmlinuxBtf?: () => Btf | null;
  /** Names of containers; events have none without. */
  readonly containers?: ContainerNames;
  /** Where the host's root is mounted, when running in a container. */
  readonly hostRoot?: string;
  /** Told what is not as it should be: a clock that may be off. */
  readonly notice?: (message: string) => void;
  /** Names of addresses, such as a {@link Cluster}; without it endpoints have no `k8s` fields. */
  readonly endpoints?: EndpointNames;
}

/** What events' fields need to know, from the machine this process runs on: its clock, users and kernel. */
export function hostContext(sys: Sys, options: HostContextOptions = {}): EventContext {
  const clock = new WallClock(sys);
  if (!clock.exact) {
    options.notice?.(
      'the offset of this time namespace cannot be read: timestamps may be off by it; start rawbpf anew inside the namespace',
    );
  }
  return {
    arch: sys.arch,
    clock,
    ids: new UserNames(options.hostRoot === undefined ? {} : { root: options.hostRoot }),
    ...(options.containers === undefined ? {} : { containers: options.containers }),
    kernelEnum: (name) => findEnum(options.vmlinuxBtf?.() ?? null, name),
    ...(options.endpoints === undefined ? {} : { endpoints: options.endpoints }),
  };
}

function findEnum(btf: Btf | null, name: string): BtfEnum | null {
  if (btf === null) return null;
  for (const kind of ['ENUM', 'ENUM64'] as const) {
    const id = btf.findByName(name, kind);
    const type = id === null ? null : btf.type(id);
    if (type?.kind === 'ENUM' || type?.kind === 'ENUM64') return type;
  }
  return null;
}

/** Names for a machine of which nothing is asked: events have the fields, and nothing in them. */
export const noContainers: ContainerNames = { columns: 'runtime', version: 0, byMntns: () => null, byNetns: () => null };
