import { toCString } from '../bytes/text.ts';
import { UsageError } from '../error.ts';
import { AT, F, O } from './constants.ts';
import { check, isErrno, type SyscallFailure } from './errno.ts';
import type { Fd, FileFd } from './fds.ts';
import type { Sys } from './sys.ts';

/** Opens a file relative to a directory fd, close-on-exec; returns the fd or a negative errno. */
export function openAt(sys: Sys, dir: number, path: string, flags: number, mode = 0): number {
  return sys.call('openat', dir, toCString(path), flags | O.O_CLOEXEC, mode);
}

/** Opens a file by path, close-on-exec; throws a SyscallError where that fails. */
export function openFile(sys: Sys, path: string, flags: number = O.O_RDONLY, mode = 0, failure: SyscallFailure = {}): FileFd {
  const result = openAt(sys, AT.AT_FDCWD, path, flags, mode);
  return check(result, 'openat', { what: 'cannot open a file', where: { path }, ...failure }) as FileFd;
}

/** Reads at most `into.length` bytes; returns the count (0 at the end) or a negative errno. */
export function readInto(sys: Sys, fd: number, into: Uint8Array): number {
  return sys.call('read', fd, into, into.length);
}

/** Reads that may be interrupted before readAll() gives up. */
const maxRetries = 1000;

/** Reads to the end of a descriptor, such as an iterator's; throws a SyscallError where a read fails. */
export function readAll(sys: Sys, fd: number, chunk: number = 64 * 1024): Uint8Array {
  const parts: Uint8Array[] = [];
  let total = 0;
  let retries = 0;
  for (;;) {
    const part = new Uint8Array(chunk);
    const count = readInto(sys, fd, part);
    // A bpf iterator gives EAGAIN when it stopped early to let others run; a pipe gives it for as long as it is empty.
    if ((isErrno(count, 'EAGAIN') || isErrno(count, 'EINTR')) && ++retries < maxRetries) continue;
    check(count, 'read', { what: 'cannot read a descriptor', where: { fd } });
    if (count === 0) break;
    parts.push(part.subarray(0, count));
    total += count;
  }
  const all = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Closes a descriptor; returns 0 or a negative errno. On Linux the descriptor is gone either way. */
export function closeFd(sys: Sys, fd: number): number {
  return sys.call('close', fd);
}

/** Duplicates a descriptor, close-on-exec, to a number of at least `from`. */
export function dupFd<T extends Fd>(sys: Sys, fd: T, from = 3): T {
  return check(sys.call('fcntl', fd, F.F_DUPFD_CLOEXEC, from), 'fcntl', { what: 'cannot duplicate a descriptor', where: { fd } }) as T;
}

/** A descriptor that is closed once: by close(), or by `using` where the language has it. */
export class OwnedFd<T extends Fd = Fd> {
  readonly #sys: Sys;
  #fd: T | null;

  constructor(sys: Sys, fd: T) {
    this.#sys = sys;
    this.#fd = fd;
  }

  /** The descriptor; throws after close(). */
  get fd(): T {
    if (this.#fd === null) throw new UsageError({ code: 'E_CLOSED', what: 'this descriptor is closed' });
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd === null;
  }

  /** Gives the descriptor away: whoever takes it closes it. */
  release(): T {
    const fd = this.fd;
    this.#fd = null;
    return fd;
  }

  close(): void {
    if (this.#fd === null) return;
    const fd = this.#fd;
    this.#fd = null;
    closeFd(this.#sys, fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
