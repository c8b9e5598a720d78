import type { Sys } from '../../src/sys/sys.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const RTM_NEWLINK = 16;
/** NLM_F_REQUEST, NLM_F_ACK, NLM_F_EXCL, NLM_F_CREATE. */
const flags = 0x605;
const IFLA_IFNAME = 3;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;

/** Makes a pair of netkit devices, which older `ip` commands cannot; returns the errno, 0 where it worked. */
export function makeNetkit(sys: Sys, name: string): number {
  const kind = attribute(IFLA_INFO_KIND, Buffer.from('netkit\0'));
  const attributes = Buffer.concat([attribute(IFLA_IFNAME, Buffer.from(`${name}\0`)), attribute(IFLA_LINKINFO, kind)]);
  const message = new Uint8Array(32 + attributes.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, message.length, true);
  view.setUint16(4, RTM_NEWLINK, true);
  view.setUint16(6, flags, true);
  message.set(attributes, 32);
  const fd = sys.call('socket', AF_NETLINK, SOCK_RAW, 0);
  try {
    const sent = sys.call('sendto', fd, message, message.length, 0, null, 0);
    if (sent < 0) return -sent;
    const answer = new Uint8Array(4096);
    sys.call('recvfrom', fd, answer, answer.length, 0, null, null);
    return -new DataView(answer.buffer).getInt32(16, true);
  } finally {
    sys.call('close', fd);
  }
}

function attribute(type: number, content: Uint8Array): Uint8Array {
  const bytes = new Uint8Array((4 + content.length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 4 + content.length, true);
  view.setUint16(2, type, true);
  bytes.set(content, 4);
  return bytes;
}
