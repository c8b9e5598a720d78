import { UsageError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { ids } from '../ids.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { nearPath } from '../near-path.ts';
import { openPin } from '../pin.ts';
import { programInfo, type ProgramInfo } from './info.ts';
import { BpfProgram } from './program.ts';

/** Opens a program by its id; null where there is none (any more). */
export function openProgramById(kernel: Kernel, id: number): BpfProgram | null {
  const fd = bpf(kernel.sys, 'BPF_PROG_GET_FD_BY_ID', { prog_id: id });
  if (isErrno(fd, 'ENOENT')) return null;
  if (fd < 0) throw bpfError(kernel.sys, 'BPF_PROG_GET_FD_BY_ID', fd, { where: { id } });
  return openProgramByFd(kernel, fd);
}

/** Opens a program by its pin; throws E_NOT_PINNED where nothing is there. */
export function openPinnedProgram(kernel: Kernel, path: string): BpfProgram {
  const fd = openPin(kernel, path);
  if (fd === null) throw new UsageError({ code: 'E_NOT_PINNED', what: 'nothing is pinned here', where: { path }, next: nearPath(path) });
  return openProgramByFd(kernel, fd);
}

/** Takes over a descriptor of a program; it is closed where it is none. */
export function openProgramByFd(kernel: Kernel, fd: number): BpfProgram {
  let info: ProgramInfo;
  try {
    info = programInfo(kernel.sys, fd);
  } catch (error) {
    kernel.sys.call('close', fd);
    throw error;
  }
  return new BpfProgram(kernel, fd, { name: info.name, type: info.type, expectedAttachType: 0, spec: null, linked: null, log: '' });
}

/** What the kernel tells about every program. */
export function* listPrograms(kernel: Kernel): Generator<ProgramInfo> {
  for (const id of ids(kernel.sys, 'prog')) {
    const program = openProgramById(kernel, id);
    if (program === null) continue;
    try {
      yield program.info();
    } finally {
      program.close();
    }
  }
}
