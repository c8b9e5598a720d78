import { UnsupportedError } from '../../error.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import type { BpfProgram } from './program.ts';

/** enum bpf_prog_stream: what a program writes, and what the kernel says of errors while it ran. */
export const BPF_STREAM = { stdout: 1, stderr: 2 } as const;
export type ProgramStream = keyof typeof BPF_STREAM;

const chunk = 64 * 1024;

/**
 * Takes what has been written to a stream of a program since the last call (Linux 6.17): by bpf_stream_printk(), and to stderr by
 * the kernel, such as a report of a fault in an arena or of a loop that ran too long.
 *
 * Throws E_STREAM on kernels that have no streams.
 *
 * @example
 * import { readProgramStream, type BpfProgram } from 'rawbpf';
 * export function complaints(program: BpfProgram): string {
 *   return readProgramStream(program, 'stderr');
 * }
 */
export function readProgramStream(program: BpfProgram, stream: ProgramStream): string {
  const { sys } = program.kernel;
  const decoder = new TextDecoder();
  let text = '';
  const room = new Uint8Array(chunk);
  for (;;) {
    const attr = { stream_buf: room, stream_buf_len: room.length, stream_id: BPF_STREAM[stream], prog_fd: program.fd };
    const count = bpf(sys, 'BPF_PROG_STREAM_READ_BY_FD', attr);
    if (isErrno(count, 'EINVAL')) {
      const why = 'they came with Linux 6.17';
      throw new UnsupportedError({
        code: 'E_STREAM',
        what: 'this kernel has no streams of programs',
        where: { program: program.name },
        why,
      });
    }
    if (count < 0)
      throw bpfError(sys, 'BPF_PROG_STREAM_READ_BY_FD', count, { what: 'cannot read a stream', where: { program: program.name, stream } });
    if (count === 0) return text + decoder.decode();
    text += decoder.decode(room.subarray(0, count), { stream: true });
  }
}
