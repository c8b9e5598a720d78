import { struct, type StructLayout } from '../../bytes/struct.ts';
import { toCString } from '../../bytes/text.ts';
import { UnsupportedError } from '../../error.ts';
import { errnoName, SyscallError } from '../../sys/errno.ts';
import type { BpfProgram } from '../program/program.ts';
import { undoOnError } from '../undo.ts';
import type { BpfLink } from './link.ts';
import { attachTcx, type Device, deviceIndex } from './net.ts';
import { attribute, NLM_F, RTM, RtNetlink } from './rtnetlink.ts';

export interface TcOptions {
  readonly direction: 'ingress' | 'egress';
  /** By tcx (Linux 6.6) or by a filter of the clsact queueing discipline; by tcx where the kernel has it unless said. */
  readonly via?: 'tcx' | 'clsact';
  /** Of the filter, lower first; the kernel's choice unless said. For clsact alone. */
  readonly priority?: number;
}

/** struct tcmsg of linux/rtnetlink.h. */
export const tcmsg: StructLayout = struct('tcmsg', [
  ['tcm_family', 'u8', 0],
  ['tcm_ifindex', 's32', 4],
  ['tcm_handle', 'u32', 8],
  ['tcm_parent', 'u32', 12],
  ['tcm_info', 'u32', 16],
]);
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_BPF = { FD: 6, NAME: 7, FLAGS: 8 } as const;
/** The program's return value is the verdict. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
const TC_H_CLSACT = 0xfffffff1;
const clsactHandle = 0xffff0000;
const parents = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
/** htons(ETH_P_ALL). */
const allProtocols = 0x0300;

const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

/**
 * Attaches a traffic control program to a device: by tcx where the kernel has it, else as a filter of the clsact queueing
 * discipline, which is made where it is missing. Such a filter is no link: it goes when the returned link is closed, but
 * stays where this process dies before that (`tc filter del dev DEVICE ingress` takes it away).
 */
export function attachTc(program: BpfProgram, device: Device, options: TcOptions): BpfLink {
  if (options.via === 'clsact') return attachClsact(program, device, options);
  try {
    return attachTcx(program, device, { direction: options.direction });
  } catch (error) {
    const isOld = error instanceof SyscallError && error.errnoName === 'EINVAL';
    if (!isOld || options.via === 'tcx') throw error;
    return attachClsact(program, device, options);
  }
}

function attachClsact(program: BpfProgram, device: Device, options: TcOptions): BpfLink {
  const { sys } = program.kernel;
  const ifindex = deviceIndex(sys, device);
  return undoOnError((undo) => {
    const netlink = undo.own(new RtNetlink(sys));
    const where = { program: program.name, device, direction: options.direction };
    const place = { tcm_ifindex: ifindex, tcm_handle: clsactHandle, tcm_parent: TC_H_CLSACT };
    const made = netlink.request(RTM.NEWQDISC, NLM_F.CREATE | NLM_F.EXCL, tcmsg.encode(place), kind('clsact'));
    if (made.result < 0 && errnoName(made.result) !== 'EEXIST') {
      throw new SyscallError('RTM_NEWQDISC', made.result, { what: 'cannot make the queueing discipline clsact', where });
    }
    const parent = parents[options.direction];
    const added = netlink.request(
      RTM.NEWTFILTER,
      NLM_F.CREATE | NLM_F.EXCL | NLM_F.ECHO,
      tcmsg.encode({ tcm_ifindex: ifindex, tcm_parent: parent, tcm_info: (((options.priority ?? 0) << 16) | allProtocols) >>> 0 }),
      kind('bpf'),
      attribute(
        TCA_OPTIONS,
        attribute(TCA_BPF.FD, u32(program.fd)),
        attribute(TCA_BPF.NAME, toCString(program.name)),
        attribute(TCA_BPF.FLAGS, u32(TCA_BPF_FLAG_ACT_DIRECT)),
      ),
    );
    const echo = added.messages.find(({ type }) => type === RTM.NEWTFILTER);
    if (added.result < 0 || echo === undefined) {
      if (made.result === 0) removeIfEmpty(netlink, ifindex);
      throw new SyscallError('RTM_NEWTFILTER', added.result, { what: 'cannot add the filter', where });
    }
    const filter = tcmsg.decode(echo.body);
    const identity = { ifindex, parent, handle: Number(filter['tcm_handle']), info: Number(filter['tcm_info']) };
    const target = `${device} ${options.direction}`;
    program.kernel.trace({ step: 'attach', program: program.name, kind: 'tc', target });
    return new ClsactFilter(program, target, netlink, { ...identity, ownsQdisc: made.result === 0 });
  });
}

const kind = (name: string): Uint8Array => attribute(TCA_KIND, toCString(name));

/** Takes the queueing discipline away unless somebody has a filter in it. */
function removeIfEmpty(netlink: RtNetlink, ifindex: number): void {
  for (const tcm_parent of Object.values(parents)) {
    const dump = netlink.request(RTM.GETTFILTER, NLM_F.DUMP, tcmsg.encode({ tcm_ifindex: ifindex, tcm_parent }));
    if (dump.result < 0 || dump.messages.length > 0) return;
  }
  netlink.request(RTM.DELQDISC, 0, tcmsg.encode({ tcm_ifindex: ifindex, tcm_handle: clsactHandle, tcm_parent: TC_H_CLSACT }));
}

interface Filter {
  readonly ifindex: number;
  readonly parent: number;
  readonly handle: number;
  /** Priority and protocol. */
  readonly info: number;
  readonly ownsQdisc: boolean;
}

class ClsactFilter implements BpfLink {
  readonly program: BpfProgram;
  readonly kind = 'tc' as const;
  readonly target: string;
  readonly #netlink: RtNetlink;
  readonly #filter: Filter;
  #closed = false;

  constructor(program: BpfProgram, target: string, netlink: RtNetlink, filter: Filter) {
    this.program = program;
    this.target = target;
    this.#netlink = netlink;
    this.#filter = filter;
  }

  get closed(): boolean {
    return this.#closed;
  }

  info(): null {
    return null;
  }

  update(): never {
    throw this.#noLink('E_LINK_UPDATE', 'put another program into it');
  }

  pin(): never {
    throw this.#noLink('E_LINK_PIN', 'pin it');
  }

  detach(): void {
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { ifindex, parent, handle, info, ownsQdisc } = this.#filter;
    const message = tcmsg.encode({ tcm_ifindex: ifindex, tcm_parent: parent, tcm_handle: handle, tcm_info: info });
    // Gone already with its device or its discipline: as wanted.
    this.#netlink.request(RTM.DELTFILTER, 0, message, kind('bpf'));
    if (ownsQdisc) removeIfEmpty(this.#netlink, ifindex);
    this.#netlink.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #noLink(code: string, action: string): UnsupportedError {
    return new UnsupportedError({
      code,
      what: `cannot ${action}`,
      where: { kind: this.kind, target: this.target },
      why: 'it is a filter of the queueing discipline clsact, not a link',
    });
  }
}
