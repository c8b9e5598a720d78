/** A memory address in this process. */
export type Address = bigint;

/** What a syscall argument may be: an integer, an address, a buffer whose address is passed, or NULL. */
export type SysArg = number | Address | Uint8Array | null;

/** A file descriptor being watched; close() before the descriptor itself is closed and before the process exits. */
export interface Watch {
  /** Stops callbacks until start() is called. */
  stop(): void;
  start(): void;
  /** Whether this watch keeps the event loop alive. */
  ref(): void;
  unref(): void;
  close(): void;
}

/**
 * The one thing rawbpf needs from a foreign function interface: raw syscalls, addresses of buffers, and views of memory.
 * koffi is the default; node:ffi, a recorder, a replayer and a fault injector are the others.
 */
export interface FfiBackend {
  readonly name: string;
  /** True where no kernel answers: a script, a recording. */
  readonly fake?: boolean;
  /** The backend this one wraps. */
  readonly inner?: FfiBackend;
  /**
   * Makes syscall `nr` with up to six arguments.
   * @returns the result, or the negative errno; results are at most 2^53 (addresses of this process are below 2^47).
   */
  syscall(nr: number, args: readonly SysArg[]): number;
  /**
   * The same on another thread, while this one goes on; absent where the backend can't. Buffers of `args` are held until it is
   * over. The promise never rejects: null is a call that failed, for a reason that is lost with the thread.
   */
  offload?(nr: number, args: readonly SysArg[]): Promise<number | null>;
  /** The address of a buffer; the caller keeps `bytes` referenced until the kernel is done with it. */
  addressOf(bytes: Uint8Array): Address;
  /** The memory at an address, without copying; whoever mapped it unmaps it, after the last use of the view. */
  view(address: Address, length: number): ArrayBuffer;
  /** Calls back whenever `fd` is readable (level-triggered), on the main thread; absent where the backend can't, null where the thread can't. */
  watch?(fd: number, onReadable: () => void): Watch | null;
}
