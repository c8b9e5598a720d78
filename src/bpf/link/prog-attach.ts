import { bpf, bpfError } from '../../sys/bpf.ts';
import { closeFd } from '../../sys/file.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { BpfProgram } from '../program/program.ts';
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
  const attr = { target_fd: targetFd, attach_bpf_fd: program.fd, attach_type: attachType, attach_flags: options.flags ?? 0 };
  // Before it is attached: a process that dies between the two leaves a record of nothing, which does no harm.
  const forget = options.record === true ? recordOf(program, attachType, names) : () => {};
  const result = bpf(sys, 'BPF_PROG_ATTACH', attr);
  if (result < 0) {
    forget();
    closeFd(sys, targetFd);
    throw bpfError(sys, 'BPF_PROG_ATTACH', result, {
      what: 'cannot attach',
      where: { program: program.name, target: names.target, attach_type: nameOf(BPF_ATTACH_TYPE, attachType) ?? attachType },
    });
  }
  kernel.trace({ step: 'attach', program: program.name, kind: names.kind, target: names.target });
  return new Attachment(program, {
    ...names,
    why: 'this kernel attaches such programs without a link',
    // The program has to be open still: the kernel takes off the one it is told, no other.
    end() {
      if (!program.closed) bpf(sys, 'BPF_PROG_DETACH', { target_fd: targetFd, attach_bpf_fd: program.fd, attach_type: attachType });
      closeFd(sys, targetFd);
      forget();
    },
  });
}

function recordOf(program: BpfProgram, attachType: number, { kind, target }: LinkNames): () => void {
  if (kind !== 'cgroup' && kind !== 'lirc') return () => {};
  const record = { kind, target, programId: program.info().id, programName: program.name, attachType, netNamespace: 0, ifindex: 0 };
  return writeRecord(record) ?? (() => {});
}
