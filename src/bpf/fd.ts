import { UsageError } from '../error.ts';
import type { Fd } from '../sys/fds.ts';
import type { Sys } from '../sys/sys.ts';

/** A file descriptor that one object owns: closed once, and not to be used afterwards. */
export class ObjectFd<Kind extends string> {
  readonly #sys: Sys;
  readonly #what: string;
  #fd: Fd<Kind> | null;

  /** `what` names the owner in messages: `map counts`. */
  constructor(sys: Sys, fd: number, what: string) {
    this.#sys = sys;
    this.#fd = fd as Fd<Kind>;
    this.#what = what;
  }

  get fd(): Fd<Kind> {
    if (this.#fd === null) throw new UsageError({ code: 'E_CLOSED', what: `${this.#what} is closed` });
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd === null;
  }

  close(): void {
    if (this.#fd === null) return;
    const fd = this.#fd;
    // Forgotten first: after an error from close(2) the number may already be somebody else's.
    this.#fd = null;
    this.#sys.call('close', fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Runs `use` with a descriptor and closes it afterwards, whatever happens. */
export function withFd<T>(sys: Sys, fd: number, use: (fd: number) => T): T {
  try {
    return use(fd);
  } finally {
    sys.call('close', fd);
  }
}
