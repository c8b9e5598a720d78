import { SyscallError } from '../../sys/errno.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { Attachment } from './attachment.ts';
import type { BpfLink } from './link.ts';

/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO = { SO_DETACH_FILTER: 27, SO_ATTACH_BPF: 50, SO_ATTACH_REUSEPORT_EBPF: 52, SO_DETACH_REUSEPORT_BPF: 68 } as const;

const s32 = (value: number): Uint8Array => new Uint8Array(new Int32Array([value]).buffer);

/**
 * Puts a program on a socket, given by its descriptor: a socket filter, which says how much of each packet the socket gets, or
 * an sk_reuseport program, which chooses among the sockets of one port. It stays until it is closed or the socket is.
 *
 * @example
 * import { attachSocket, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function filter(program: BpfProgram, fd: number): BpfLink {
 *   return attachSocket(program, fd);
 * }
 */
export function attachSocket(program: BpfProgram, fd: number): BpfLink {
  const { sys } = program.kernel;
  const isReuseport = program.type === BPF_PROG_TYPE.BPF_PROG_TYPE_SK_REUSEPORT;
  const [set, unset] = isReuseport ? [SO.SO_ATTACH_REUSEPORT_EBPF, SO.SO_DETACH_REUSEPORT_BPF] : [SO.SO_ATTACH_BPF, SO.SO_DETACH_FILTER];
  const result = sys.call('setsockopt', fd, SOL_SOCKET, set, s32(program.fd), 4);
  const target = `socket ${fd}`;
  if (result < 0) {
    throw new SyscallError(`setsockopt(${isReuseport ? 'SO_ATTACH_REUSEPORT_EBPF' : 'SO_ATTACH_BPF'})`, result, {
      what: 'cannot put the program on the socket',
      where: { program: program.name, fd },
      ...(isReuseport && result === -22 ? { why: 'the socket has no SO_REUSEPORT, or was bound before it had' } : {}),
    });
  }
  program.kernel.trace({ step: 'attach', program: program.name, kind: 'socket', target });
  return new Attachment(program, {
    kind: 'socket',
    target,
    why: 'it is an option of a socket, not a link',
    // The socket may be closed by now, and the option with it.
    end: () => void sys.call('setsockopt', fd, SOL_SOCKET, unset, s32(0), 4),
  });
}
