import { O, openFlags } from '../../sys/constants.ts';
import { bpfCall, bpfError } from '../../sys/bpf.ts';
import { progQueryAttr } from '../../sys/bpf-attr/index.ts';
import { isErrno } from '../../sys/errno.ts';
import { openFile } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';
import { withFd } from '../fd.ts';
import { keepAlive } from '../kernel/keep-alive.ts';
import type { Kernel } from '../kernel/kernel.ts';
import type { BpfMap } from '../map/map.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { type Device, deviceIndex } from './device.ts';

/** A place that programs are attached to. */
export type QueryTarget =
  | { readonly cgroup: string; readonly effective?: boolean }
  | { readonly device: Device }
  /** A network namespace, by a path such as `/proc/self/ns/net`. */
  | { readonly netns: string }
  | { readonly lirc: string }
  | { readonly map: BpfMap };

/** What is attached to a place. */
export interface AttachedPrograms {
  /** In the order in which they run; `linkId` is 0 where there is no link, or the kernel does not tell. */
  readonly programs: readonly { readonly id: number; readonly linkId: number }[];
  /** BPF_F_ALLOW_* of the place. */
  readonly flags: number;
  /** Raised by each change, for {@link OrderOptions.expectedRevision}; 0 where the kernel does not count. */
  readonly revision: bigint;
}

const BPF_F_QUERY_EFFECTIVE = 1;
const startRoom = 64;

/**
 * The programs attached to a cgroup, a device (tcx, netkit), a network namespace, an infrared receiver or a socket map.
 *
 * @example
 * import { defaultKernel, queryAttached } from 'rawbpf';
 * export function count(device: string): number {
 *   return queryAttached(defaultKernel(), { device }, 'BPF_TCX_INGRESS').programs.length;
 * }
 */
export function queryAttached(kernel: Kernel, target: QueryTarget, attachType: keyof typeof BPF_ATTACH_TYPE): AttachedPrograms {
  const { sys } = kernel;
  const type = BPF_ATTACH_TYPE[attachType];
  if ('device' in target) return ask(sys, { target_ifindex: deviceIndex(sys, target.device) }, type);
  if ('map' in target) return ask(sys, { target_fd: target.map.fd }, type);
  const query_flags = 'cgroup' in target && target.effective === true ? BPF_F_QUERY_EFFECTIVE : 0;
  const path = 'cgroup' in target ? target.cgroup : 'netns' in target ? target.netns : target.lirc;
  const flags = 'cgroup' in target ? O.O_RDONLY | openFlags(sys.arch).O_DIRECTORY : O.O_RDONLY;
  return withFd(sys, openFile(sys, path, flags), (fd) => ask(sys, { target_fd: fd, query_flags }, type));
}

function ask(sys: Sys, place: Readonly<Record<string, number>>, attachType: number): AttachedPrograms {
  for (let room = startRoom; ; room *= 4) {
    const programs = new Uint32Array(room);
    const links = new Uint32Array(room);
    const bytes = (list: Uint32Array): Uint8Array => new Uint8Array(list.buffer);
    const common = { ...place, attach_type: attachType, prog_ids: bytes(programs), prog_cnt: room };
    let { result, attr } = bpfCall(sys, 'BPF_PROG_QUERY', { ...common, link_ids: bytes(links) });
    // Kernels before 6.6 do not know the field, cgroups do not use it.
    if (isErrno(result, 'EINVAL') || isErrno(result, 'E2BIG')) ({ result, attr } = bpfCall(sys, 'BPF_PROG_QUERY', common));
    keepAlive(programs, links);
    if (isErrno(result, 'ENOSPC') && room < 1 << 16) continue;
    if (result < 0) throw bpfError(sys, 'BPF_PROG_QUERY', result, { what: 'cannot ask what is attached' });
    const told = progQueryAttr.decode(attr);
    const count = Math.min(Number(told['prog_cnt']), room);
    return {
      programs: Array.from(programs.subarray(0, count), (id, i) => ({ id, linkId: links[i] ?? 0 })),
      flags: Number(told['attach_flags']),
      revision: told['revision'] as bigint,
    };
  }
}
