import { O, openFlags } from '../../sys/constants.ts';
import { openFile } from '../../sys/file.ts';
import { withFd } from '../fd.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import type { BpfProgram } from '../program/program.ts';
import { createLink } from './create.ts';
import type { BpfLink } from './link.ts';

export interface CgroupOptions {
  /** For programs whose section does not fix it (`cgroup/skb`). */
  readonly attachType?: keyof typeof BPF_ATTACH_TYPE;
}

/** Attaches a program to a cgroup (version 2), given by its directory. It applies to the processes in it and below it. */
export function attachCgroup(program: BpfProgram, cgroup: string, options: CgroupOptions = {}): BpfLink {
  const { sys } = program.kernel;
  const type = options.attachType === undefined ? program.expectedAttachType : BPF_ATTACH_TYPE[options.attachType];
  const directory = openFile(sys, cgroup, O.O_RDONLY | openFlags(sys.arch).O_DIRECTORY);
  // The link holds the cgroup itself.
  return withFd(sys, directory, (fd) => createLink(program, type, { kind: 'cgroup', target: cgroup }, { target_fd: fd }));
}
