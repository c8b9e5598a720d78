import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno, SyscallError } from '../../sys/errno.ts';
import { UnsupportedError } from '../../error.ts';
import { closeFd } from '../../sys/file.ts';
import { perfIoctl } from '../../sys/perf-event.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { Attachment } from './attachment.ts';
import { type BpfLink, KernelLink, type LinkNames } from './link.ts';

/**
 * Sets a program on a perf event whose descriptor is given away: as a link where the kernel has them (5.15), else by the
 * older ioctl. The descriptor is closed where that fails.
 */
export function attachToPerfEvent(program: BpfProgram, eventFd: number, names: LinkNames, cookie = 0n): BpfLink {
  const { kernel } = program;
  try {
    const link = setProgram(program, eventFd, names, cookie);
    const enabled = perfIoctl(kernel.sys, eventFd, 'PERF_EVENT_IOC_ENABLE');
    if (enabled < 0) {
      if (link instanceof KernelLink) closeFd(kernel.sys, link.fd);
      throw new SyscallError('ioctl(PERF_EVENT_IOC_ENABLE)', enabled, { what: 'cannot enable the event', where: { target: names.target } });
    }
    kernel.trace({ step: 'attach', program: program.name, kind: names.kind, target: names.target });
    return link;
  } catch (error) {
    closeFd(kernel.sys, eventFd);
    throw error;
  }
}

function setProgram(program: BpfProgram, eventFd: number, names: LinkNames, cookie: bigint): BpfLink {
  const { kernel } = program;
  const where = { program: program.name, target: names.target };
  const fd = bpf(kernel.sys, 'BPF_LINK_CREATE', {
    prog_fd: program.fd,
    target_fd: eventFd,
    attach_type: BPF_ATTACH_TYPE.BPF_PERF_EVENT,
    'perf_event.bpf_cookie': cookie,
  });
  // The event's descriptor has to stay: the link holds the event, but closing early would lose its enable state on old kernels.
  if (fd >= 0) return new KernelLink(kernel, fd, program, names, [eventFd]);
  if (kernel.has('perf_link')) throw bpfError(kernel.sys, 'BPF_LINK_CREATE', fd, { what: 'cannot attach', where, ...whyRefused(fd) });
  if (cookie !== 0n) {
    throw new UnsupportedError({ code: 'E_COOKIE', what: 'this kernel has no attach cookies', where, why: 'they came with Linux 5.15' });
  }
  const set = perfIoctl(kernel.sys, eventFd, 'PERF_EVENT_IOC_SET_BPF', program.fd);
  if (set < 0) {
    throw new SyscallError('ioctl(PERF_EVENT_IOC_SET_BPF)', set, { what: 'cannot attach', where, ...whyRefused(set) });
  }
  return new Attachment(program, {
    ...names,
    why: 'this kernel attaches such programs to a perf event, not through a link (Linux 5.15)',
    end() {
      perfIoctl(kernel.sys, eventFd, 'PERF_EVENT_IOC_DISABLE');
      closeFd(kernel.sys, eventFd);
    },
  });
}

/** perf_event_attach_bpf_prog() of kernel/trace/bpf_trace.c: what is on an event is an array of at most 64, each program once. */
function whyRefused(result: number): { readonly why: string; readonly next?: string } | Record<string, never> {
  if (isErrno(result, 'EINVAL')) return { why: 'EINVAL: the kernel refuses this program on this event: is its type right?' };
  if (isErrno(result, 'EEXIST')) {
    return { why: 'EEXIST: this program is on this event already', next: 'load it once more to have it there twice' };
  }
  if (isErrno(result, 'E2BIG')) {
    return {
      why: 'E2BIG: 64 programs are on this event already, and the kernel takes no more (BPF_TRACE_MAX_PROGS)',
      next: 'detach one of them (bpftool perf shows whose they are), or use a raw tracepoint, which has no such limit',
    };
  }
  return {};
}
