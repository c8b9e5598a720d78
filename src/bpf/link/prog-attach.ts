import { bpf, bpfError } from '../../sys/bpf.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { BpfProgram } from '../program/program.ts';
import { undoOnError } from '../undo.ts';
import { Attachment } from './attachment.ts';
import type { BpfLink, LinkNames } from './link.ts';
import { writeRecord } from './unlinked/record.ts';

export interface ProgAttachOptions {
  /** BPF_F_ALLOW_* */
  readonly flags?: number;
  /** It outlives this process: written down, so that it can be found and taken away. */
  readonly record?: boolean;
}

/**
 * Attaches a program by BPF_PROG_ATTACH, for hooks that have no links (on this kernel). `targetFd` is given away, and closed
 * where that fails.
 */
export function progAttach(
  program: BpfProgram,
  attachType: number,
  names: LinkNames,
  targetFd: number,
  options: ProgAttachOptions = {},
): BpfLink {
  const { kernel } = program;
  const { sys } = kernel;
  return undoOnError((undo) => {
    undo.add(() => closeFd(sys, targetFd));
    // Of our own: the program may be closed before the link, and the kernel takes off the one it is told, no other.
    const programFd = dupFd(sys, program.fd);
    undo.add(() => closeFd(sys, programFd));
    const attr = { target_fd: targetFd, attach_bpf_fd: programFd, attach_type: attachType, attach_flags: options.flags ?? 0 };
    // Before it is attached: a process that dies between the two leaves a record of nothing, which does no harm.
    const forget = options.record === true ? recordOf(program, attachType, names) : () => {};
    undo.add(forget);
    const result = bpf(sys, 'BPF_PROG_ATTACH', attr);
    if (result < 0)
      throw bpfError(sys, 'BPF_PROG_ATTACH', result, {
        what: 'cannot attach',
        where: { program: program.name, target: names.target, attach_type: nameOf(BPF_ATTACH_TYPE, attachType) ?? attachType },
      });
    kernel.trace({ step: 'attach', program: program.name, kind: names.kind, target: names.target });
    return new Attachment(program, {
      ...names,
      why: 'this kernel attaches such programs without a link',
      end() {
        bpf(sys, 'BPF_PROG_DETACH', { target_fd: targetFd, attach_bpf_fd: programFd, attach_type: attachType });
        closeFd(sys, programFd);
        closeFd(sys, targetFd);
        forget();
      },
    });
  });
}

function recordOf(program: BpfProgram, attachType: number, { kind, target }: LinkNames): () => void {
  if (kind !== 'cgroup' && kind !== 'lirc') return () => {};
  const record = { kind, target, programId: program.info().id, programName: program.name, attachType, netNamespace: 0, ifindex: 0 };
  return writeRecord(record) ?? (() => {});
}
