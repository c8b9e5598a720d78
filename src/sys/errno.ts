import { RawbpfError, type ErrorPlace } from '../error.ts';
import { ERRNO } from './errnos.gen.ts';

export { ERRNO };
export type ErrnoName = keyof typeof ERRNO;

const names = new Map<number, ErrnoName>(Object.entries(ERRNO).map(([name, value]) => [value, name as ErrnoName]));

/** The name of an error number (`ENOENT` for 2), `errno 1234` where there is none; the sign does not matter. */
export function errnoName(errno: number): string {
  return names.get(Math.abs(errno)) ?? `errno ${Math.abs(errno)}`;
}

/** What {@link SyscallError} says besides the errno. */
export interface SyscallFailure {
  /** What was attempted, as a sentence without a full stop; `SYSCALL failed` unless said. */
  readonly what?: string;
  /** Arguments worth showing. */
  readonly where?: ErrorPlace;
  /** Why, where more is known than the errno says. */
  readonly why?: string;
  /** What the reader can do. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** The kernel said no: which call, which errno, and, as far as known, why and what to do about it. */
export class SyscallError extends RawbpfError {
  /** Name of the syscall, for bpf(2) with its command: `bpf(BPF_PROG_LOAD)`. */
  readonly syscall: string;
  /** The positive error number. */
  readonly errno: number;
  readonly errnoName: string;

  constructor(syscall: string, result: number, failure: SyscallFailure = {}) {
    const name = errnoName(result);
    const hint = failure.next ?? hints[name];
    super({
      code: 'E_SYSCALL',
      what: failure.what ?? `${syscall} failed`,
      where: { ...(failure.what === undefined ? {} : { syscall }), ...failure.where },
      why: failure.why === undefined ? name : `${name}: ${failure.why}`,
      ...(hint === undefined ? {} : { next: hint }),
      ...(failure.cause === undefined ? {} : { cause: failure.cause }),
    });
    this.syscall = syscall;
    this.errno = Math.abs(result);
    this.errnoName = name;
  }
}

/** Hints for errors that mean the same wherever they come from. */
const hints: Readonly<Record<string, string>> = {
  EMFILE: 'this process has too many files open: raise its limit (ulimit -n)',
  ENFILE: 'the whole system has too many files open: see /proc/sys/fs/file-max',
  ENOSYS: 'this kernel, or a seccomp filter, does not have this call',
};

/** Returns the result of a syscall, or throws a {@link SyscallError} where it is a negative errno. */
export function check(result: number, syscall: string, failure?: SyscallFailure): number {
  if (result < 0) throw new SyscallError(syscall, result, failure);
  return result;
}

/** Whether a result is this errno: `isErrno(result, 'ENOENT')`. */
export function isErrno(result: number, name: ErrnoName): boolean {
  return result === -ERRNO[name];
}
