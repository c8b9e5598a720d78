import type { StructValues } from '../../bytes/struct.ts';
import { cString } from '../../bytes/text.ts';
import { bpfCall } from '../../sys/bpf.ts';
import { progLoadAttr } from '../../sys/bpf-attr/index.ts';
import { isErrno } from '../../sys/errno.ts';
import type { Sys } from '../../sys/sys.ts';
import type { Kernel } from '../kernel/kernel.ts';

/** How often a load is tried that a signal interrupts. */
export const maxAttempts = 5;
const firstLogSize = 64 << 10;
/** The kernel takes no larger log buffer (UINT_MAX >> 2). */
const maxLogSize = 0x3fffffff;

/** What one BPF_PROG_LOAD gave. */
export interface Attempt {
  /** The descriptor, or the negative errno. */
  readonly result: number;
  /** The whole log; '' where none was asked for. */
  readonly log: string;
  /** The attribute as the kernel left it. */
  readonly attr: Uint8Array;
}

/** Asks for a program; again where a signal interrupted it (EAGAIN), and with more room where the log did not fit. */
export function attemptLoad(kernel: Kernel, values: StructValues, logLevel: number): Attempt {
  const signals = new SignalMask(kernel.sys);
  try {
    let size = firstLogSize;
    let tries = 0;
    for (;;) {
      const log = logLevel === 0 ? null : new Uint8Array(size);
      const logAttr = log === null ? {} : { log_level: logLevel, log_buf: log, log_size: size };
      const { result, attr } = bpfCall(kernel.sys, 'BPF_PROG_LOAD', { ...values, ...logAttr });
      if (isErrno(result, 'EAGAIN') && ++tries < maxAttempts) signals.hold();
      else if (isErrno(result, 'ENOSPC') && log !== null && size < maxLogSize) {
        // Kernels from 6.4 on tell how long it is; to others twice as much is offered.
        const wanted = Number(progLoadAttr.decode(attr)['log_true_size']);
        size = Math.min(wanted > size ? wanted : size * 2, maxLogSize);
      } else return { result, log: log === null ? '' : cString(log), attr };
    }
  } finally {
    signals.release();
  }
}

const SIGPROF = 27;
const SIG_BLOCK = 0;
const SIG_SETMASK = 2;

/** Holds a profiler's signals back from this thread: they come faster than a long program can be verified. */
class SignalMask {
  readonly #sys: Sys;
  #before: Uint8Array | null = null;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  hold(): void {
    if (this.#before !== null) return;
    // The kernel's sigset_t: one bit for each signal, from bit 0 for signal 1.
    const mask = new Uint8Array(BigUint64Array.of(1n << BigInt(SIGPROF - 1)).buffer);
    const before = new Uint8Array(8);
    if (this.#sys.call('rt_sigprocmask', SIG_BLOCK, mask, before, before.length) >= 0) this.#before = before;
  }

  release(): void {
    if (this.#before !== null) this.#sys.call('rt_sigprocmask', SIG_SETMASK, this.#before, null, this.#before.length);
    this.#before = null;
  }
}
