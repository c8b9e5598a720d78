import { attribute, attributes, NLM_F, RTM, RtNetlink } from '../../bpf/link/rtnetlink.ts';
import { struct } from '../../bytes/struct.ts';
import { cString } from '../../bytes/text.ts';
import type { Sys } from '../../sys/sys.ts';

/** struct ifinfomsg of linux/rtnetlink.h. */
const ifinfomsg = struct('ifinfomsg', [
  ['ifi_family', 'u8'],
  ['ifi_pad', 'u8'],
  ['ifi_type', 'u16'],
  ['ifi_index', 's32'],
  ['ifi_flags', 'u32'],
  ['ifi_change', 'u32'],
]);
/** IFLA_* of linux/if_link.h. */
const IFLA = { IFNAME: 3, LINK: 5, LINKINFO: 18, EXT_MASK: 29, LINK_NETNSID: 37 } as const;
const IFLA_INFO_KIND = 1;
/** No statistics: an answer has to fit into a message. */
const RTEXT_FILTER_SKIP_STATS = 8;

/** A network device of a namespace. */
export interface NetDevice {
  readonly index: number;
  readonly name: string;
  /** `veth`, `bridge`, ...; empty for hardware and loopback. */
  readonly kind: string;
  /** The index of the device at its other end, which lies in another namespace where `elsewhere`; 0 where it has none. */
  readonly peer: number;
  readonly elsewhere: boolean;
}

/** The devices of this thread's network namespace. */
export function listDevices(sys: Sys): NetDevice[] {
  const netlink = new RtNetlink(sys);
  try {
    const mask = attribute(IFLA.EXT_MASK, new Uint8Array(Uint32Array.of(RTEXT_FILTER_SKIP_STATS).buffer));
    return netlink.request(RTM.GETLINK, NLM_F.DUMP, ifinfomsg.encode({}), mask).messages.map(({ body }) => parseDevice(body));
  } finally {
    netlink.close();
  }
}

function parseDevice(body: Uint8Array): NetDevice {
  const found = attributes(body.subarray(ifinfomsg.size));
  const kind = attributes(found.get(IFLA.LINKINFO) ?? new Uint8Array(0)).get(IFLA_INFO_KIND);
  const link = found.get(IFLA.LINK);
  return {
    index: Number(ifinfomsg.decode(body.subarray(0, ifinfomsg.size))['ifi_index']),
    name: cString(found.get(IFLA.IFNAME) ?? new Uint8Array(0)),
    kind: cString(kind ?? new Uint8Array(0)),
    peer: link === undefined ? 0 : new DataView(link.buffer, link.byteOffset, 4).getInt32(0, true),
    elsewhere: found.has(IFLA.LINK_NETNSID),
  };
}
