import { readFileSync } from 'node:fs';
import { toUtf8 } from '../../bytes/text.ts';
import { UsageError } from '../../error.ts';
import { check, SyscallError } from '../../sys/errno.ts';
import { dupFd, openFile } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';
import { withFd } from '../fd.ts';
import type { BpfMap } from '../map/map.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { ProgAttachment } from './attachment.ts';
import { createLink } from './create.ts';
import type { BpfLink } from './link.ts';
import { didYouMean } from '../../bytes/suggest.ts';

/** A network device: its name, or its index in this process's network namespace. */
export type Device = string | number;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const SIOCGIFINDEX = 0x8933;
/** sizeof(struct ifreq), and its name's room with the NUL. */
const ifreqSize = 40;
const IFNAMSIZ = 16;

/** The index of a device; throws E_DEVICE with suggestions where there is none of this name. */
export function deviceIndex(sys: Sys, device: Device): number {
  if (typeof device === 'number') return device;
  const name = toUtf8(device);
  if (name.length >= 1 && name.length < IFNAMSIZ) {
    // By socket, not by /sys/class/net: that one shows the namespace it was mounted in.
    const socket = check(sys.call('socket', AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket');
    const request = new Uint8Array(ifreqSize);
    request.set(name);
    const found = withFd(sys, socket, () => sys.call('ioctl', socket, SIOCGIFINDEX, request) >= 0);
    if (found) return new DataView(request.buffer).getInt32(IFNAMSIZ, true);
  }
  const next = didYouMean(device, deviceNames());
  throw new UsageError({ code: 'E_DEVICE', what: 'no such network device', where: { device }, ...(next === '' ? {} : { next }) });
}

function deviceNames(): string[] {
  try {
    return Array.from(readFileSync('/proc/thread-self/net/dev', 'utf8').matchAll(/^\s*(\S+):/gm), (match) => match[1] as string);
  } catch {
    return [];
  }
}

/** How an XDP program runs: by the driver, before a packet has a socket buffer (`native`), after it has one (`generic`), or in the device. */
export type XdpMode = 'native' | 'generic' | 'offload';

/** XDP_FLAGS_* of linux/if_link.h. */
const xdpFlags: Readonly<Record<XdpMode, number>> = { generic: 2, native: 4, offload: 8 };

/** Attaches an XDP program to a device; without a mode as near to the hardware as its driver can. */
export function attachXdp(program: BpfProgram, device: Device, options: { readonly mode?: XdpMode } = {}): BpfLink {
  const flags = options.mode === undefined ? 0 : xdpFlags[options.mode];
  const target = { target_ifindex: deviceIndex(program.kernel.sys, device), flags };
  return createLink(program, BPF_ATTACH_TYPE.BPF_XDP, { kind: 'xdp', target: String(device) }, target);
}

export interface TcxOptions {
  /** For programs whose section does not say. */
  readonly direction?: 'ingress' | 'egress';
}

/** Attaches a traffic control program to a device by tcx (Linux 6.6), after those that are there. */
export function attachTcx(program: BpfProgram, device: Device, options: TcxOptions = {}): BpfLink {
  const types = { ingress: BPF_ATTACH_TYPE.BPF_TCX_INGRESS, egress: BPF_ATTACH_TYPE.BPF_TCX_EGRESS };
  const type = options.direction === undefined ? program.expectedAttachType : types[options.direction];
  const target = { target_ifindex: deviceIndex(program.kernel.sys, device) };
  return createLink(program, type, { kind: 'tcx', target: String(device) }, target);
}

/** Attaches a traffic control program to a netkit device (Linux 6.7), as its section says: the primary or the peer. */
export function attachNetkit(program: BpfProgram, device: Device): BpfLink {
  const target = { target_ifindex: deviceIndex(program.kernel.sys, device) };
  return createLink(program, program.expectedAttachType, { kind: 'netkit', target: String(device) }, target);
}

/** Attaches an sk_lookup or flow dissector program to a network namespace, given by a path such as `/proc/self/ns/net`. */
export function attachNetns(program: BpfProgram, namespace = '/proc/thread-self/ns/net'): BpfLink {
  const { sys } = program.kernel;
  return withFd(sys, openFile(sys, namespace), (fd) =>
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
    return ProgAttachment.attach(program, type, names, dupFd(sys, map.fd));
  }
}

/** Attaches a program to an infrared receiver, given by its device (`/dev/lirc0`). */
export function attachLirc(program: BpfProgram, device: string): BpfLink {
  const { sys } = program.kernel;
  return ProgAttachment.attach(program, BPF_ATTACH_TYPE.BPF_LIRC_MODE2, { kind: 'lirc', target: device }, openFile(sys, device));
}
