import type { StructValues } from '../../bytes/struct.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { errnoName } from '../../sys/errno.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { BpfProgram } from '../program/program.ts';
import { KernelLink, type LinkNames } from './link.ts';

/** Makes a link with BPF_LINK_CREATE; `attr` says where. */
export function createLink(program: BpfProgram, attachType: number, names: LinkNames, attr: StructValues): KernelLink {
  const { kernel } = program;
  const fd = bpf(kernel.sys, 'BPF_LINK_CREATE', { prog_fd: program.fd, attach_type: attachType, ...attr });
  if (fd < 0) {
    const why = whyRefused(errnoName(fd));
    throw bpfError(kernel.sys, 'BPF_LINK_CREATE', fd, {
      what: 'cannot attach',
      where: { program: program.name, target: names.target, attach_type: nameOf(BPF_ATTACH_TYPE, attachType) ?? attachType },
      ...(why === null ? {} : { why }),
    });
  }
  kernel.trace({ step: 'attach', program: program.name, kind: names.kind, target: names.target });
  return new KernelLink(kernel, fd, program, names);
}

function whyRefused(errno: string): string | null {
  switch (errno) {
    case 'EBUSY':
      return 'another program is attached there that does not share the place';
    case 'EEXIST':
      return 'this program, or one that must be alone, is attached there already';
    case 'EINVAL':
      return 'the program does not fit this hook, or this kernel has no links for it';
    case 'ENOTSUPP':
      return 'this kernel cannot put programs on functions (BPF trampolines: arm64 has them from Linux 6.4 on); a kprobe may do';
    case 'EOPNOTSUPP':
      return 'this kernel was built without what such links need (for kprobe.multi: CONFIG_FPROBE)';
    default:
      return null;
  }
}
