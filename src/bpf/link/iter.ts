import { bpf, bpfError } from '../../sys/bpf.ts';
import { iterLinkInfo } from '../../sys/bpf-attr/index.ts';
import { readAll } from '../../sys/file.ts';
import { inEachNetworkNamespace, type NetworkNamespace } from '../../sys/network-namespaces.ts';
import { withFd } from '../fd.ts';
import { keepAlive } from '../kernel/keep-alive.ts';
import type { BpfMap } from '../map/map.ts';
import type { BpfProgram } from '../program/program.ts';
import { BPF_CGROUP_ITER_ORDER } from '../uapi/flags.gen.ts';
import { KernelLink } from './link.ts';

/** What an iterator goes over, for those that can be told. */
export interface IterOptions {
  /** bpf_map_elem, sk_storage: the map. */
  readonly map?: BpfMap;
  /** task, task_file, task_vma: one process, or one thread. */
  readonly pid?: number;
  readonly tid?: number;
  /** cgroup: an open directory and the order. */
  readonly cgroupFd?: number;
  readonly cgroupOrder?: keyof typeof BPF_CGROUP_ITER_ORDER;
}

/** Targets that the kernel opens for the current network namespace (seq_file's struct seq_net_private). */
const perNetworkNamespace: ReadonlySet<string> = new Set(['tcp', 'udp', 'unix', 'netlink', 'ipv6_route']);

/** An iterator that can be run any number of times; each run gives what its program writes. */
export class IterLink extends KernelLink {
  /** Runs the iterator over everything and returns what the program wrote. */
  read(): Uint8Array {
    const { sys } = this.kernel;
    const fd = bpf(sys, 'BPF_ITER_CREATE', { link_fd: this.fd });
    if (fd < 0) throw bpfError(sys, 'BPF_ITER_CREATE', fd, { what: 'cannot run the iterator', where: { target: this.target } });
    return withFd(sys, fd, () => readAll(sys, fd));
  }

  /** Whether a run goes through one network namespace only, the one that this thread is in. */
  get isPerNetworkNamespace(): boolean {
    return perNetworkNamespace.has(this.target);
  }

  /** As {@link read}, in every network namespace that there is; those that may not be entered are told to `refused`. */
  readInEachNetworkNamespace(refused: (namespace: NetworkNamespace, errno: number) => void): Uint8Array {
    return Buffer.concat(inEachNetworkNamespace(this.kernel.sys, () => this.read(), refused));
  }

  /** The same as text. */
  text(): string {
    return new TextDecoder().decode(this.read());
  }
}

/**
 * Attaches an iterator program (`iter/task`, `iter/bpf_map`, ...). Its target was fixed when it was loaded.
 *
 * @example
 * import { attachIter, type BpfProgram } from 'rawbpf';
 * export function runOnce(program: BpfProgram): string {
 *   const iter = attachIter(program, 'task');
 *   try {
 *     return iter.text();
 *   } finally {
 *     iter.close();
 *   }
 * }
 */
export function attachIter(program: BpfProgram, target: string, options: IterOptions = {}): IterLink {
  const { kernel } = program;
  const info = iterInfo(options);
  const fd = bpf(kernel.sys, 'BPF_LINK_CREATE', {
    prog_fd: program.fd,
    attach_type: program.expectedAttachType,
    iter_info: info ?? undefined,
    iter_info_len: info?.length,
  });
  keepAlive(info);
  if (fd < 0)
    throw bpfError(kernel.sys, 'BPF_LINK_CREATE', fd, { what: 'cannot attach the iterator', where: { program: program.name, target } });
  kernel.trace({ step: 'attach', program: program.name, kind: 'iter', target });
  return new IterLink(kernel, fd, program, { kind: 'iter', target });
}

function iterInfo(options: IterOptions): Uint8Array | null {
  if (options.map !== undefined) return iterLinkInfo.encode({ 'map.map_fd': options.map.fd });
  if (options.pid !== undefined) return iterLinkInfo.encode({ 'task.pid': options.pid });
  if (options.tid !== undefined) return iterLinkInfo.encode({ 'task.tid': options.tid });
  if (options.cgroupFd === undefined) return null;
  const order = BPF_CGROUP_ITER_ORDER[options.cgroupOrder ?? 'BPF_CGROUP_ITER_SELF_ONLY'];
  return iterLinkInfo.encode({ 'cgroup.order': order, 'cgroup.cgroup_fd': options.cgroupFd });
}
