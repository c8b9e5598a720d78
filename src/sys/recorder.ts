import type { Address, FfiBackend, SysArg, Watch } from './backend.ts';
import { Capture, PendingBuffers, type CapturedCall } from './captured-call.ts';
import type { SyscallArch } from './syscall-table.ts';

/** A backend that tells of every system call made through another one, with the bytes of all buffers. */
export class Recorder implements FfiBackend {
  readonly name: string;
  readonly fake: boolean;
  readonly inner: FfiBackend;
  /** The calls so far, where no listener was given. */
  readonly calls: CapturedCall[] = [];
  readonly watch?: (fd: number, onReadable: () => void) => Watch | null;
  readonly #arch: SyscallArch;
  readonly #pending = new PendingBuffers();
  readonly #listener: (call: CapturedCall) => void;

  /** `listener` gets each call as it returns; without one they are kept in `calls`. */
  constructor(inner: FfiBackend, arch: SyscallArch, listener?: (call: CapturedCall) => void) {
    this.inner = inner;
    this.name = `recorder(${inner.name})`;
    this.fake = inner.fake ?? false;
    this.#arch = arch;
    this.#listener = listener ?? ((call) => this.calls.push(call));
    if (inner.watch !== undefined) this.watch = inner.watch.bind(inner);
  }

  syscall(nr: number, args: readonly SysArg[]): number {
    const capture = new Capture(this.#arch, nr, args, this.#pending);
    const result = this.inner.syscall(nr, args);
    this.#listener(capture.finish(result));
    this.#pending.clear();
    return result;
  }

  addressOf(bytes: Uint8Array): Address {
    const address = this.inner.addressOf(bytes);
    this.#pending.note(address, bytes);
    return address;
  }

  view(address: Address, length: number): ArrayBuffer {
    return this.inner.view(address, length);
  }
}
