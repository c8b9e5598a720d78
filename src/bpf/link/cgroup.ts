import { O, openFlags } from '../../sys/constants.ts';
import { SyscallError } from '../../sys/errno.ts';
import { dupFd, openFile } from '../../sys/file.ts';
import { withFd } from '../fd.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import type { BpfLink } from './link.ts';
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
  const directory = openFile(sys, cgroup, O.O_RDONLY | openFlags(sys.arch).O_DIRECTORY);
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
      if (!isOld || options.via === 'link' || Object.keys(order).length > 0 || hasLinks(program, type)) throw error;
      return byAttach();
    }
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
