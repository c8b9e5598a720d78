import { bpf, bpfError } from '../sys/bpf.ts';
import { O, openFlags } from '../sys/constants.ts';
import { isErrno } from '../sys/errno.ts';
import { openFile } from '../sys/file.ts';
import { Sys } from '../sys/sys.ts';
import { UnsupportedError } from '../error.ts';
import { ObjectFd, withFd } from './fd.ts';

/** Leave to make maps, load programs and BTF in a user namespace, as far as a BPF file system delegates it (Linux 6.9). */
export class BpfToken {
  /** The seam to give to a Kernel: its calls carry the token. */
  readonly sys: Sys;
  readonly #owned: ObjectFd<'token'>;

  /** Takes over a descriptor; {@link createToken} is what users call. */
  constructor(sys: Sys, fd: number) {
    this.#owned = new ObjectFd(sys, fd, 'token');
    this.sys = new Sys(sys.backend, sys.arch, fd);
  }

  get closed(): boolean {
    return this.#owned.closed;
  }

  close(): void {
    this.#owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Makes a token of a BPF file system that was mounted with `delegate_cmds` and its like, for this user namespace.
 *
 * Throws E_TOKEN on kernels without tokens, SyscallError (EOPNOTSUPP in the initial user namespace, ENOENT or EPERM where nothing
 * is delegated).
 *
 * @example
 * import { createToken, defaultKernel, Kernel } from 'rawbpf';
 * export function delegated(): Kernel {
 *   const token = createToken(defaultKernel().sys, '/sys/fs/bpf');
 *   return new Kernel({ sys: token.sys });
 * }
 */
export function createToken(sys: Sys, bpffs: string): BpfToken {
  const directory = openFile(sys, bpffs, O.O_RDONLY | openFlags(sys.arch).O_DIRECTORY);
  const fd = withFd(sys, directory, () => bpf(sys, 'BPF_TOKEN_CREATE', { bpffs_fd: directory }));
  if (isErrno(fd, 'EINVAL')) {
    const why = 'they came with Linux 6.9, and are made of the root of a BPF file system';
    throw new UnsupportedError({ code: 'E_TOKEN', what: 'no token can be made', where: { bpffs }, why });
  }
  if (fd < 0) {
    throw bpfError(sys, 'BPF_TOKEN_CREATE', fd, {
      what: 'cannot make a token',
      where: { bpffs },
      ...(isErrno(fd, 'EOPNOTSUPP') ? { why: 'the initial user namespace needs none' } : {}),
      ...(isErrno(fd, 'ENOENT')
        ? { why: 'the file system delegates nothing', next: 'mount it with delegate_cmds=any,delegate_maps=any,...' }
        : {}),
    });
  }
  return new BpfToken(sys, fd);
}
