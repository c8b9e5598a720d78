import { struct } from '../../bytes/struct.ts';
import { check } from '../../sys/errno.ts';
import { closeFd } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';

/** Message types and flags of linux/rtnetlink.h and linux/netlink.h. */
export const RTM = {
  GETLINK: 18,
  SETLINK: 19,
  NEWQDISC: 36,
  DELQDISC: 37,
  GETQDISC: 38,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;
export const NLM_F = { REQUEST: 1, ACK: 4, ECHO: 8, DUMP: 0x300, EXCL: 0x200, CREATE: 0x400 } as const;

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const NETLINK_ROUTE = 0;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;

const nlmsghdr = struct('nlmsghdr', [
  ['nlmsg_len', 'u32'],
  ['nlmsg_type', 'u16'],
  ['nlmsg_flags', 'u16'],
  ['nlmsg_seq', 'u32'],
  ['nlmsg_pid', 'u32'],
]);

/** What the kernel answered: 0 or a negative errno, and the messages before that. */
export interface NetlinkAnswer {
  readonly result: number;
  readonly messages: readonly { readonly type: number; readonly body: Uint8Array }[];
}

/** A netlink socket for devices and their queues; it stays in the network namespace where it was opened. */
export class RtNetlink {
  readonly #sys: Sys;
  readonly #fd: number;
  #sequence = 0;

  constructor(sys: Sys) {
    this.#sys = sys;
    this.#fd = check(sys.call('socket', AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE), 'socket(AF_NETLINK)');
  }

  /** Sends one request and reads until its end: the acknowledgement or, for a dump, the end of the list. */
  request(type: number, flags: number, ...parts: readonly Uint8Array[]): NetlinkAnswer {
    const size = parts.reduce((sum, part) => sum + part.length, nlmsghdr.size);
    const message = new Uint8Array(size);
    const sequence = ++this.#sequence;
    nlmsghdr.encode(
      { nlmsg_len: size, nlmsg_type: type, nlmsg_flags: flags | NLM_F.REQUEST | NLM_F.ACK, nlmsg_seq: sequence },
      undefined,
      message.subarray(0, nlmsghdr.size),
    );
    let at: number = nlmsghdr.size;
    for (const part of parts) {
      message.set(part, at);
      at += part.length;
    }
    check(this.#sys.call('sendto', this.#fd, message, size, 0, null, 0), 'sendto(AF_NETLINK)');
    return this.#answer(sequence);
  }

  #answer(sequence: number): NetlinkAnswer {
    const messages: { type: number; body: Uint8Array }[] = [];
    const room = new Uint8Array(64 << 10);
    for (;;) {
      const got = check(this.#sys.call('recvfrom', this.#fd, room, room.length, 0, null, null), 'recvfrom(AF_NETLINK)');
      for (let at = 0; at + nlmsghdr.size <= got;) {
        const header = nlmsghdr.decode(room.subarray(at, got));
        const length = Number(header['nlmsg_len']);
        if (length < nlmsghdr.size || at + length > got) break;
        const type = Number(header['nlmsg_type']);
        const body = room.slice(at + nlmsghdr.size, at + length);
        at += (length + 3) & ~3;
        if (Number(header['nlmsg_seq']) !== sequence) continue;
        if (type === NLMSG_DONE) return { result: 0, messages };
        if (type === NLMSG_ERROR) return { result: new DataView(body.buffer).getInt32(0, true), messages };
        messages.push({ type, body });
      }
    }
  }

  close(): void {
    closeFd(this.#sys, this.#fd);
  }
}

/** One attribute (struct nlattr): length, type, content, padded to four bytes. */
export function attribute(type: number, ...content: readonly Uint8Array[]): Uint8Array {
  const length = content.reduce((sum, part) => sum + part.length, 4);
  const bytes = new Uint8Array((length + 3) & ~3);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, length, true);
  view.setUint16(2, type, true);
  let at = 4;
  for (const part of content) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** The attributes in these bytes by their types, the flags of which are left off; of equal ones the last. */
export function attributes(bytes: Uint8Array): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    found.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}
