import { struct } from '../../bytes/struct.ts';
import { toCString } from '../../bytes/text.ts';
import { UsageError } from '../../error.ts';
import { errnoName, SyscallError } from '../../sys/errno.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { undoOnError } from '../undo.ts';
import { Attachment } from './attachment.ts';
import { type Device, deviceIndex } from './device.ts';
import type { BpfLink } from './link.ts';
import { attachTcx } from './net.ts';
import type { OrderOptions } from './order.ts';
import { attribute, NLM_F, RTM, RtNetlink } from './rtnetlink.ts';
import {
  type Direction,
  kindOf,
  makeClsact,
  markedFilters,
  markedName,
  parents,
  removeFilter,
  removeIfEmpty,
  TCA,
  TCA_ACT,
  TCA_BPF,
  tcmsg,
} from './tc-filter.ts';

export interface TcOptions extends OrderOptions {
  readonly direction: Direction;
  /** By tcx (Linux 6.6) or by a filter of the clsact queueing discipline; by tcx where the kernel has it unless said. */
  readonly via?: 'tcx' | 'clsact';
  /** Of the filter, lower first; the kernel's choice unless said. For clsact alone. */
  readonly priority?: number;
}

/** The program's return value is the verdict. */
const TCA_BPF_FLAG_ACT_DIRECT = 1;
/** TC_ACT_PIPE: what an action does whose program answers TC_ACT_UNSPEC. */
const TC_ACT_PIPE = 3;
/** htons(ETH_P_ALL). */
const allProtocols = 0x0300;
/** struct tc_act_bpf of linux/tc_act/tc_bpf.h. */
const tcActBpf = struct('tc_act_bpf', [
  ['index', 'u32'],
  ['capab', 'u32'],
  ['action', 's32'],
  ['refcnt', 's32'],
  ['bindcnt', 's32'],
]);

const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

/**
 * Attaches a traffic control program to a device: by tcx where the kernel has it, else as a filter of the clsact queueing
 * discipline, which is made where it is missing and goes with the last such filter. A program of type SCHED_ACT becomes the
 * action of a filter that matches every packet.
 *
 * A filter is no link: it goes when what this returns is closed. Where this process dies before that, it stays with the
 * process's name on it: `rawbpf links` shows it, and the next start of rawbpf takes it away.
 *
 * @example
 * import { attachTc, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function watch(program: BpfProgram): BpfLink {
 *   return attachTc(program, 'eth0', { direction: 'ingress' });
 * }
 */
export function attachTc(program: BpfProgram, device: Device, options: TcOptions): BpfLink {
  const isAction = program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_ACT;
  if (options.via === 'clsact' || (isAction && options.via === undefined)) return attachClsact(program, device, options);
  try {
    return attachTcx(program, device, options);
  } catch (error) {
    const isOld = error instanceof SyscallError && error.errnoName === 'EINVAL';
    const ordered = options.before !== undefined || options.after !== undefined || options.expectedRevision !== undefined;
    if (!isOld || ordered || options.via === 'tcx') throw error;
    return attachClsact(program, device, options);
  }
}

function attachClsact(program: BpfProgram, device: Device, options: TcOptions): BpfLink {
  const { sys } = program.kernel;
  const { direction, priority = 0 } = options;
  if (!(Number.isInteger(priority) && priority >= 0 && priority <= 0xffff))
    throw new UsageError({
      code: 'E_TC_PRIORITY',
      what: `a filter cannot have priority ${priority}`,
      next: 'use 1 to 65535, or 0 for the next one that is free',
    });
  const ifindex = deviceIndex(sys, device);
  return undoOnError((undo) => {
    const netlink = undo.own(new RtNetlink(sys));
    const where = { program: program.name, device, direction };
    const made = makeClsact(netlink, ifindex);
    if (made < 0 && errnoName(made) !== 'EEXIST') {
      throw new SyscallError('RTM_NEWQDISC', made, { what: 'cannot make the queueing discipline clsact', where });
    }
    // One that another filter of ours was made with is ours to take away, too.
    const madeQdisc = made === 0 || markedFilters(netlink, ifindex).some((filter) => filter.madeQdisc);
    const { kind, content } = filterOf(program, madeQdisc);
    const added = netlink.request(
      RTM.NEWTFILTER,
      NLM_F.CREATE | NLM_F.EXCL | NLM_F.ECHO,
      tcmsg.encode({
        tcm_ifindex: ifindex,
        tcm_parent: parents[direction],
        tcm_info: ((priority << 16) | allProtocols) >>> 0,
      }),
      kindOf(kind),
      attribute(TCA.OPTIONS, ...content),
    );
    const echo = added.messages.find(({ type }) => type === RTM.NEWTFILTER);
    if (added.result < 0 || echo === undefined) {
      if (made === 0) removeIfEmpty(netlink, ifindex);
      const why = errnoName(added.result) === 'ENOENT' ? `this kernel has no filters of kind ${kind}, or no such actions` : undefined;
      throw new SyscallError('RTM_NEWTFILTER', added.result, {
        what: 'cannot add the filter',
        where,
        ...(why === undefined ? {} : { why }),
      });
    }
    const told = tcmsg.decode(echo.body);
    const filter = { ifindex, direction, kind, handle: Number(told['tcm_handle']), info: Number(told['tcm_info']), madeQdisc };
    const target = `${device} ${direction}`;
    program.kernel.trace({ step: 'attach', program: program.name, kind: 'tc', target });
    return new Attachment(program, {
      kind: 'tc',
      target,
      why: 'it is a filter of the queueing discipline clsact, not a link',
      end() {
        removeFilter(netlink, filter);
        netlink.close();
      },
    });
  });
}

/** What makes the filter: its kind, and its options. */
function filterOf(program: BpfProgram, madeQdisc: boolean): { kind: string; content: Uint8Array[] } {
  const name = markedName(program.name, madeQdisc);
  if (program.type !== BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_ACT) {
    const flags = attribute(TCA_BPF.FLAGS, u32(TCA_BPF_FLAG_ACT_DIRECT));
    return { kind: 'bpf', content: [attribute(TCA_BPF.FD, u32(program.fd)), attribute(TCA_BPF.NAME, name), flags] };
  }
  const action = attribute(
    TCA_ACT.OPTIONS,
    attribute(TCA_ACT.BPF_PARMS, tcActBpf.encode({ action: TC_ACT_PIPE })),
    attribute(TCA_ACT.BPF_FD, u32(program.fd)),
    attribute(TCA_ACT.BPF_NAME, name),
  );
  const first = attribute(1, attribute(TCA_ACT.KIND, toCString('bpf')), action);
  return { kind: 'matchall', content: [attribute(TCA_ACT.MATCHALL_ACT, first)] };
}
