import { AT, O, openFlags } from '../../sys/constants.ts';
import { SyscallError } from '../../sys/errno.ts';
import { UsageError } from '../../error.ts';
import { findMount } from '../../sys/detached-mount.ts';
import type { FileFd } from '../../sys/fds.ts';
import { dupFd, openAt } from '../../sys/file.ts';
import type { Sys } from '../../sys/sys.ts';
import { withFd } from '../fd.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import type { BpfLink } from './link.ts';
import { nearPath } from '../near-path.ts';
import { orderAttr, type OrderOptions } from './order.ts';
import { progAttach } from './prog-attach.ts';

export interface CgroupOptions extends OrderOptions {
  /** For programs whose section does not fix it (`cgroup/skb`). */
  readonly attachType?: keyof typeof BPF_ATTACH_TYPE;
  /** By a link (Linux 5.7), or by BPF_PROG_ATTACH as older kernels want it; by a link where the kernel has them unless said. */
  readonly via?: 'link' | 'attach';
}

/**
 * Attaches a program to a cgroup (version 2), given by its directory. It applies to the processes in it and below it, beside
 * other programs there.
 *
 * @example
 * import { attachCgroup, type BpfLink, type BpfProgram } from 'rawbpf';
 * export function first(program: BpfProgram): BpfLink {
 *   return attachCgroup(program, '/sys/fs/cgroup/system.slice', { before: 'all' });
 * }
 */
export function attachCgroup(program: BpfProgram, cgroup: string, options: CgroupOptions = {}): BpfLink {
  const { sys } = program.kernel;
  const type = options.attachType === undefined ? program.expectedAttachType : BPF_ATTACH_TYPE[options.attachType];
  const names = { kind: 'cgroup', target: cgroup } as const;
  const directory = openCgroup(sys, cgroup);
  // A link holds the cgroup itself; an attachment needs the directory to be taken back.
  return withFd(sys, directory, (fd) => {
    const byAttach = (): BpfLink =>
      progAttach(program, type, names, dupFd(sys, directory), { flags: BPF_F.BPF_F_ALLOW_MULTI, record: true });
    if (options.via === 'attach') return byAttach();
    const order = orderAttr('cgroup', options);
    try {
      return createLink(program, type, names, { target_fd: fd, ...order });
    } catch (error) {
      const isOld = error instanceof SyscallError && error.errnoName === 'EINVAL';
      // An order needs a link: without one it would be another than was asked for.
      if (error instanceof SyscallError && error.errnoName === 'EBADF') throw noCgroup(cgroup, error);
      if (!isOld || options.via === 'link' || Object.keys(order).length > 0 || hasLinks(program, type)) throw error;
      return byAttach();
    }
  });
}

function openCgroup(sys: Sys, cgroup: string): FileFd {
  const flags = O.O_RDONLY | openFlags(sys.arch).O_DIRECTORY;
  const result = openAt(sys, AT.AT_FDCWD, cgroup, flags);
  if (result >= 0) return result as FileFd;
  throw new SyscallError('openat', result, { what: 'cannot open the cgroup', where: { path: cgroup }, next: nearPath(cgroup) });
}

function noCgroup(cgroup: string, cause: Error): UsageError {
  const root = findMount('cgroup2');
  return new UsageError({
    code: 'E_CGROUP',
    what: 'this directory is no cgroup of version 2',
    where: { path: cgroup },
    next: root === null ? 'mount cgroup2 first' : `give a directory below ${root}, where cgroup2 is mounted`,
    cause,
  });
}

/** Whether the kernel has links to cgroups: a descriptor that is none is told (EBADF) only after the type was. */
function hasLinks(program: BpfProgram, type: number): boolean {
  try {
    createLink(program, type, { kind: 'cgroup', target: '' }, { target_fd: 0xffffffff }).close();
    return true;
  } catch (error) {
    return error instanceof SyscallError && error.errnoName === 'EBADF';
  }
}
