import type { BpfProgram } from '../../bpf/program/program.ts';
import { struct } from '../../bytes/struct.ts';
import { check } from '../../sys/errno.ts';
import { closeFd } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_BPF = 50;
/** htons(ETH_P_ALL). */
const allProtocols = 0x0300;
/** struct sockaddr_ll of linux/if_packet.h. */
const sockaddrLl = struct('sockaddr_ll', [
  ['sll_family', 'u16'],
  ['sll_protocol', 'u16'],
  ['sll_ifindex', 's32'],
  ['sll_hatype', 'u16'],
  ['sll_pkttype', 'u8'],
  ['sll_halen', 'u8'],
  ['sll_addr_0', 'u32'],
  ['sll_addr_4', 'u32'],
]);

/**
 * Opens a socket in this thread's network namespace that shows every packet of a device, or of all (0), to a socket filter.
 * Nobody reads it: it keeps no packet, and delays none. It keeps the namespace alive until closed.
 */
export function openPacketSocket(sys: Sys, program: BpfProgram, ifindex = 0): number {
  // Without a protocol until the filter is there, so that nothing is queued before.
  const fd = check(sys.call('socket', AF_PACKET, SOCK_RAW_CLOEXEC, 0), 'socket(AF_PACKET)', { what: 'cannot look at packets' });
  try {
    const set = (option: number, value: number): void => {
      const bytes = new Uint8Array(Int32Array.of(value).buffer);
      check(sys.call('setsockopt', fd, SOL_SOCKET, option, bytes, bytes.length), 'setsockopt', {
        what: 'cannot attach a program to a socket',
        where: { program: program.name },
      });
    };
    // The least that the kernel allows: for filters that let packets pass.
    set(SO_RCVBUF, 0);
    set(SO_ATTACH_BPF, program.fd);
    const address = sockaddrLl.encode({ sll_family: AF_PACKET, sll_protocol: allProtocols, sll_ifindex: ifindex });
    check(sys.call('bind', fd, address, address.length), 'bind(AF_PACKET)', { what: 'cannot look at packets', where: { ifindex } });
    return fd;
  } catch (error) {
    closeFd(sys, fd);
    throw error;
  }
}
