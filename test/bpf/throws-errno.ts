import type { Test } from 'tap';
import { SyscallError } from '../../src/sys/errno.ts';

/** Asserts that a call throws a SyscallError with this errno. */
export function throwsErrno(t: Test, call: () => unknown, errnoName: string, message?: string): void {
  let caught: unknown = null;
  try {
    call();
  } catch (error) {
    caught = error;
  }
  t.ok(caught instanceof SyscallError, `${message ?? 'throws'}: a SyscallError (${String(caught)})`);
  if (caught instanceof SyscallError) t.equal(caught.errnoName, errnoName, message ?? 'errno');
}
