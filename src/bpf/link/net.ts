import { O } from '../../sys/constants.ts';
import { SyscallError } from '../../sys/errno.ts';
import { dupFd, openFile } from '../../sys/file.ts';
import { withFd } from '../fd.ts';
import type { BpfMap } from '../map/map.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import { type Device, deviceIndex } from './device.ts';
import type { BpfLink } from './link.ts';
import { orderAttr, type OrderOptions } from './order.ts';
import { progAttach } from './prog-attach.ts';

export interface TcxOptions extends OrderOptions {
  /** For programs whose section does not say. */
  readonly direction?: 'ingress' | 'egress';
}

/** Attaches a traffic control program to a device by tcx (Linux 6.6), after those that are there unless told where. */
export function attachTcx(program: BpfProgram, device: Device, options: TcxOptions = {}): BpfLink {
  const types = { ingress: BPF_ATTACH_TYPE.BPF_TCX_INGRESS, egress: BPF_ATTACH_TYPE.BPF_TCX_EGRESS };
  const type = options.direction === undefined ? program.expectedAttachType : types[options.direction];
  const target = { target_ifindex: deviceIndex(program.kernel.sys, device), ...orderAttr('tcx', options) };
  return createLink(program, type, { kind: 'tcx', target: String(device) }, target);
}

/** Attaches a traffic control program to a netkit device (Linux 6.7), as its section says: the primary or the peer. */
export function attachNetkit(program: BpfProgram, device: Device, options: OrderOptions = {}): BpfLink {
  const target = { target_ifindex: deviceIndex(program.kernel.sys, device), ...orderAttr('netkit', options) };
  return createLink(program, program.expectedAttachType, { kind: 'netkit', target: String(device) }, target);
}

/** Attaches an sk_lookup or flow dissector program to a network namespace, given by a path such as `/proc/self/ns/net`. */
export function attachNetns(program: BpfProgram, namespace = '/proc/thread-self/ns/net'): BpfLink {
  const { sys } = program.kernel;
  const failure = { what: 'cannot open the network namespace', next: 'give a path such as /proc/PID/ns/net or /run/netns/NAME' };
  return withFd(sys, openFile(sys, namespace, O.O_RDONLY, 0, failure), (fd) =>
    createLink(program, program.expectedAttachType, { kind: 'netns', target: namespace }, { target_fd: fd }),
  );
}

export interface NetfilterOptions {
  readonly family: 'ipv4' | 'ipv6';
  /** NF_INET_PRE_ROUTING... in the order of the kernel's enum. */
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';
  /** Lower runs earlier; the kernel refuses its own first and last. */
  readonly priority?: number;
  /** Sees whole packets. */
  readonly defragment?: boolean;
}

const netfilterHooks: readonly NetfilterOptions['hook'][] = ['prerouting', 'input', 'forward', 'output', 'postrouting'];
/** NFPROTO_* of linux/netfilter.h. */
const netfilterFamilies = { ipv4: 2, ipv6: 10 } as const;
const BPF_F_NETFILTER_IP_DEFRAG = 1;

/** Attaches a netfilter program (Linux 6.4). */
export function attachNetfilter(program: BpfProgram, options: NetfilterOptions): BpfLink {
  const target = {
    'netfilter.pf': netfilterFamilies[options.family],
    'netfilter.hooknum': netfilterHooks.indexOf(options.hook),
    'netfilter.priority': options.priority ?? -128,
    'netfilter.flags': options.defragment === true ? BPF_F_NETFILTER_IP_DEFRAG : 0,
  };
  return createLink(program, BPF_ATTACH_TYPE.BPF_NETFILTER, { kind: 'netfilter', target: `${options.family} ${options.hook}` }, target);
}

export interface SockmapOptions {
  /** For programs whose section does not say (`sk_skb`). */
  readonly attachType?: 'BPF_SK_SKB_STREAM_PARSER' | 'BPF_SK_SKB_STREAM_VERDICT' | 'BPF_SK_SKB_VERDICT' | 'BPF_SK_MSG_VERDICT';
}

/**
 * Attaches an sk_skb or sk_msg program to a socket map: sockets put into it from then on run it. By a link where the kernel
 * has them for such maps (Linux 6.10), else by BPF_PROG_ATTACH.
 */
export function attachSockmap(program: BpfProgram, map: BpfMap, options: SockmapOptions = {}): BpfLink {
  const { sys } = program.kernel;
  const type = options.attachType === undefined ? program.expectedAttachType : BPF_ATTACH_TYPE[options.attachType];
  const names = { kind: 'sockmap', target: map.name } as const;
  try {
    return createLink(program, type, names, { target_fd: map.fd });
  } catch (error) {
    if (!(error instanceof SyscallError) || error.errnoName !== 'EINVAL') throw error;
    // The attachment outlives the caller's descriptor of the map.
    return progAttach(program, type, names, dupFd(sys, map.fd));
  }
}

/** Attaches a program to an infrared receiver, given by its device (`/dev/lirc0`). */
export function attachLirc(program: BpfProgram, device: string): BpfLink {
  const { sys } = program.kernel;
  const failure = {
    what: 'cannot open the infrared receiver',
    next: 'give one of /dev/lirc*; there is none where no receiver is plugged in or its module is not loaded',
  };
  const fd = openFile(sys, device, O.O_RDONLY, 0, failure);
  // It stays on the device when this process dies.
  return progAttach(program, BPF_ATTACH_TYPE.BPF_LIRC_MODE2, { kind: 'lirc', target: device }, fd, { record: true });
}
