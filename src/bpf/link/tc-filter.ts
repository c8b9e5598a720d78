import { struct, type StructLayout } from '../../bytes/struct.ts';
import { cString, toCString } from '../../bytes/text.ts';
import { attribute, attributes, NLM_F, RTM, type RtNetlink } from './rtnetlink.ts';
import { type Owner, ownerText, parseOwner, thisOwner } from './unlinked/owner.ts';

/** struct tcmsg of linux/rtnetlink.h. */
export const tcmsg: StructLayout = struct('tcmsg', [
  ['tcm_family', 'u8', 0],
  ['tcm_ifindex', 's32', 4],
  ['tcm_handle', 'u32', 8],
  ['tcm_parent', 'u32', 12],
  ['tcm_info', 'u32', 16],
]);

/** linux/rtnetlink.h, linux/pkt_cls.h, linux/tc_act/tc_bpf.h */
export const TCA = { KIND: 1, OPTIONS: 2 } as const;
export const TCA_BPF = { FD: 6, NAME: 7, FLAGS: 8, ID: 11 } as const;
export const TCA_ACT = { KIND: 1, OPTIONS: 2, MATCHALL_ACT: 2, BPF_PARMS: 2, BPF_FD: 5, BPF_NAME: 6, BPF_ID: 10 } as const;

export const parents = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const;
export type Direction = keyof typeof parents;
const TC_H_CLSACT = 0xfffffff1;
export const clsactHandle = 0xffff0000;

/** One filter of ours in a clsact queueing discipline. */
export interface MarkedFilter {
  readonly ifindex: number;
  readonly direction: Direction;
  /** `bpf`, or `matchall` with an action. */
  readonly kind: string;
  readonly handle: number;
  /** Priority and protocol. */
  readonly info: number;
  readonly programName: string;
  readonly programId: number;
  readonly owner: Owner;
  /** The discipline was made for a filter of ours, and goes with the last of them. */
  readonly madeQdisc: boolean;
}

/** The name of a filter or action: that of its program, and who holds it. The kernel keeps up to 256 bytes and tells it. */
export function markedName(programName: string, madeQdisc: boolean): Uint8Array {
  return toCString(`${programName}[${ownerText(thisOwner())}${madeQdisc ? '_q' : ''}]`);
}

const namePattern = /^(.*)\[(rawbpf_\w+)\]$/s;

/** The filters of ours on a device. */
export function markedFilters(netlink: RtNetlink, ifindex: number): MarkedFilter[] {
  return (Object.keys(parents) as Direction[]).flatMap((direction) => {
    const dump = netlink.request(RTM.GETTFILTER, NLM_F.DUMP, tcmsg.encode({ tcm_ifindex: ifindex, tcm_parent: parents[direction] }));
    return dump.messages.flatMap(({ body }) => {
      const filter = parseFilter(body, direction);
      return filter === null || filter.ifindex !== ifindex ? [] : [filter];
    });
  });
}

function parseFilter(body: Uint8Array, direction: Direction): MarkedFilter | null {
  const head = tcmsg.decode(body);
  const all = attributes(body.subarray(tcmsg.size));
  const kind = cString(all.get(TCA.KIND) ?? new Uint8Array());
  const options = attributes(all.get(TCA.OPTIONS) ?? new Uint8Array());
  const program = kind === 'bpf' ? { name: options.get(TCA_BPF.NAME), id: options.get(TCA_BPF.ID) } : actionProgram(options);
  const match = namePattern.exec(cString(program.name ?? new Uint8Array()));
  const owner = match === null ? null : parseOwner(match[2] as string);
  if (match === null || owner === null) return null;
  return {
    ifindex: Number(head['tcm_ifindex']),
    direction,
    kind,
    handle: Number(head['tcm_handle']),
    info: Number(head['tcm_info']),
    programName: match[1] as string,
    programId: program.id === undefined ? 0 : new DataView(program.id.buffer, program.id.byteOffset).getUint32(0, true),
    owner,
    madeQdisc: (match[2] as string).endsWith('_q'),
  };
}

/** Of the first action of a matchall filter. */
function actionProgram(options: ReadonlyMap<number, Uint8Array>): { name: Uint8Array | undefined; id: Uint8Array | undefined } {
  const none = new Uint8Array();
  const first = attributes(options.get(TCA_ACT.MATCHALL_ACT) ?? none).get(1) ?? none;
  const action = attributes(attributes(first).get(TCA_ACT.OPTIONS) ?? none);
  return { name: action.get(TCA_ACT.BPF_NAME), id: action.get(TCA_ACT.BPF_ID) };
}

/** The indices of devices that have a clsact queueing discipline. */
export function clsactDevices(netlink: RtNetlink): number[] {
  const dump = netlink.request(RTM.GETQDISC, NLM_F.DUMP, tcmsg.encode({}));
  return dump.messages.flatMap(({ body }) => {
    const isClsact = cString(attributes(body.subarray(tcmsg.size)).get(TCA.KIND) ?? new Uint8Array()) === 'clsact';
    return isClsact ? [Number(tcmsg.decode(body)['tcm_ifindex'])] : [];
  });
}

/** Makes a clsact; returns 0, or a negative errno: EEXIST where it is there. */
export function makeClsact(netlink: RtNetlink, ifindex: number): number {
  const place = { tcm_ifindex: ifindex, tcm_handle: clsactHandle, tcm_parent: TC_H_CLSACT };
  return netlink.request(RTM.NEWQDISC, NLM_F.CREATE | NLM_F.EXCL, tcmsg.encode(place), kindOf('clsact')).result;
}

/** Takes a filter away, and the discipline made for it where it was the last. */
export function removeFilter(
  netlink: RtNetlink,
  filter: Pick<MarkedFilter, 'ifindex' | 'direction' | 'kind' | 'handle' | 'info' | 'madeQdisc'>,
): void {
  const { ifindex, direction, kind, handle, info, madeQdisc } = filter;
  const message = { tcm_ifindex: ifindex, tcm_parent: parents[direction], tcm_handle: handle, tcm_info: info };
  // Gone already with its device or its discipline: as wanted.
  netlink.request(RTM.DELTFILTER, 0, tcmsg.encode(message), kindOf(kind));
  if (madeQdisc) removeIfEmpty(netlink, ifindex);
}

/** Takes the queueing discipline away unless somebody has a filter in it. */
export function removeIfEmpty(netlink: RtNetlink, ifindex: number): void {
  for (const tcm_parent of Object.values(parents)) {
    const dump = netlink.request(RTM.GETTFILTER, NLM_F.DUMP, tcmsg.encode({ tcm_ifindex: ifindex, tcm_parent }));
    if (dump.result < 0 || dump.messages.length > 0) return;
  }
  netlink.request(RTM.DELQDISC, 0, tcmsg.encode({ tcm_ifindex: ifindex, tcm_handle: clsactHandle, tcm_parent: TC_H_CLSACT }));
}

export const kindOf = (name: string): Uint8Array => attribute(TCA.KIND, toCString(name));
