import { struct, type StructLayout } from '../../bytes/struct.ts';
import { SyscallError } from '../../sys/errno.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';
import { namespaceInode } from '../../sys/namespaces.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { undoOnError } from '../undo.ts';
import { Attachment } from './attachment.ts';
import { createLink } from './create.ts';
import { type Device, deviceIndex } from './device.ts';
import type { BpfLink } from './link.ts';
import { attribute, attributes, RTM, RtNetlink } from './rtnetlink.ts';
import { writeRecord } from './unlinked/record.ts';

/** How an XDP program runs: by the driver, before a packet has a socket buffer (`native`), after it has one (`generic`), or in the device. */
export type XdpMode = 'native' | 'generic' | 'offload';

export interface XdpOptions {
  /** As near to the hardware as the driver can unless said. */
  readonly mode?: XdpMode;
  /** By a link (Linux 5.9), or through netlink as older kernels want it; by a link where the kernel has them unless said. */
  readonly via?: 'link' | 'netlink';
}

/** XDP_FLAGS_* of linux/if_link.h. */
const xdpFlags: Readonly<Record<XdpMode, number>> = { generic: 2, native: 4, offload: 8 };
const XDP_FLAGS_UPDATE_IF_NOEXIST = 1;
const XDP_FLAGS_REPLACE = 16;
/** linux/if_link.h */
const IFLA_XDP = 43 | 0x8000;
const IFLA = { XDP_FD: 1, XDP_FLAGS: 3, XDP_PROG_ID: 4, XDP_EXPECTED_FD: 8 } as const;

/** struct ifinfomsg of linux/rtnetlink.h. */
export const ifinfomsg: StructLayout = struct('ifinfomsg', [
  ['ifi_family', 'u8', 0],
  ['ifi_type', 'u16', 2],
  ['ifi_index', 's32', 4],
  ['ifi_flags', 'u32', 8],
  ['ifi_change', 'u32', 12],
]);

/** Attaches an XDP program to a device. A device has one for each mode: where another is, the error says which. */
export function attachXdp(program: BpfProgram, device: Device, options: XdpOptions = {}): BpfLink {
  const { sys } = program.kernel;
  const flags = options.mode === undefined ? 0 : xdpFlags[options.mode];
  const ifindex = deviceIndex(sys, device);
  if (options.via === 'netlink') return attachNetlink(program, device, ifindex, flags);
  try {
    return createLink(program, BPF_ATTACH_TYPE.BPF_XDP, { kind: 'xdp', target: String(device) }, { target_ifindex: ifindex, flags });
  } catch (error) {
    if (!(error instanceof SyscallError)) throw error;
    if (error.errnoName === 'EBUSY' || error.errnoName === 'EEXIST') throw busy(sys, device, ifindex, error);
    // A kernel before 5.9 does not know the type of link; with newer ones the older way fails for the same reason.
    if (error.errnoName !== 'EINVAL' || options.via === 'link') throw error;
    try {
      return attachNetlink(program, device, ifindex, flags);
    } catch (second) {
      throw second instanceof SyscallError && (second.errnoName === 'EBUSY' || second.errnoName === 'EEXIST') ? second : error;
    }
  }
}

function attachNetlink(program: BpfProgram, device: Device, ifindex: number, flags: number): BpfLink {
  return undoOnError((undo) => {
    const { sys } = program.kernel;
    const netlink = undo.own(new RtNetlink(sys));
    const record = {
      kind: 'xdp' as const,
      target: String(device),
      programId: program.info().id,
      programName: program.name,
      attachType: flags,
      netNamespace: namespaceInode('self', 'net') ?? 0,
      ifindex,
    };
    // Of our own: the program may be closed before the link, which takes off this one, no other.
    const programFd = dupFd(sys, program.fd);
    undo.add(() => closeFd(sys, programFd));
    const forget = writeRecord(record) ?? (() => {});
    undo.add(forget);
    const result = setXdp(netlink, ifindex, programFd, flags | XDP_FLAGS_UPDATE_IF_NOEXIST);
    if (result < 0) {
      const error = new SyscallError('RTM_SETLINK', result, { what: 'cannot attach', where: { program: program.name, device } });
      throw error.errnoName === 'EBUSY' || error.errnoName === 'EEXIST' ? busy(sys, device, ifindex, error) : error;
    }
    program.kernel.trace({ step: 'attach', program: program.name, kind: 'xdp', target: String(device) });
    return new Attachment(program, {
      kind: 'xdp',
      target: String(device),
      why: 'it was attached through netlink, which makes no link',
      end() {
        setXdp(netlink, ifindex, -1, flags | XDP_FLAGS_REPLACE, programFd);
        closeFd(sys, programFd);
        netlink.close();
        forget();
      },
    });
  });
}

/** Sets the program of a device, -1 for none; where `expected` is given, only in the place of that one. */
export function setXdp(netlink: RtNetlink, ifindex: number, fd: number, flags: number, expected?: number): number {
  const content = [attribute(IFLA.XDP_FD, s32(fd)), attribute(IFLA.XDP_FLAGS, s32(flags))];
  if (expected !== undefined) content.push(attribute(IFLA.XDP_EXPECTED_FD, s32(expected)));
  return netlink.request(RTM.SETLINK, 0, ifinfomsg.encode({ ifi_index: ifindex }), attribute(IFLA_XDP, ...content)).result;
}

/** The id of the program that a device runs, 0 for none; null where there is no such device. */
export function xdpProgramId(netlink: RtNetlink, ifindex: number): number | null {
  const { result, messages } = netlink.request(RTM.GETLINK, 0, ifinfomsg.encode({ ifi_index: ifindex }));
  const body = messages[0]?.body;
  if (result < 0 || body === undefined) return null;
  const xdp = attributes(body.subarray(ifinfomsg.size)).get(IFLA_XDP & 0x7fff);
  const id = xdp === undefined ? undefined : attributes(xdp).get(IFLA.XDP_PROG_ID);
  return id === undefined ? 0 : new DataView(id.buffer, id.byteOffset).getUint32(0, true);
}

function busy(sys: Sys, device: Device, ifindex: number, cause: SyscallError): SyscallError {
  const netlink = new RtNetlink(sys);
  try {
    const id = xdpProgramId(netlink, ifindex) ?? 0;
    return new SyscallError(cause.syscall, -cause.errno, {
      what: 'another XDP program is on this device',
      where: { device, ...(id === 0 ? {} : { program_id: id }) },
      why: 'a device has one at a time',
      next: `take it away first (ip link set dev ${device} xdp off), or give it another mode`,
      cause,
    });
  } finally {
    netlink.close();
  }
}

const s32 = (value: number): Uint8Array => new Uint8Array(new Int32Array([value]).buffer);
