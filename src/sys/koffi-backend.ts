import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import { UnsupportedError } from '../error.ts';
import type { Address, FfiBackend, SysArg, Watch } from './backend.ts';

type Koffi = typeof import('koffi');
type SyscallArgs = [nr: number, a: Integer, b: Integer, c: Integer, d: Integer, e: Integer, f: Integer];
interface RawSyscall {
  (...args: SyscallArgs): Integer;
  async(...args: [...SyscallArgs, (error: unknown, value: Integer) => void]): void;
}
type Integer = number | bigint;

/** Loads koffi, the prebuilt addon from npm, and makes a backend of it; this is the only file that knows koffi. */
export function koffiBackend(): FfiBackend {
  const koffi = loadKoffi();
  // Every argument is a plain 64-bit integer: buffers are passed by their address, so one prototype serves all calls.
  const syscall = koffi
    .load(null)
    .func('syscall', 'int64_t', ['int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t', 'int64_t']) as unknown as RawSyscall;
  const integer = (arg: SysArg | undefined): Integer => {
    if (typeof arg === 'number' || typeof arg === 'bigint') return arg;
    return arg === null || arg === undefined || arg.length === 0 ? 0 : koffi.address(arg);
  };
  // Keeps the buffers of calls under way.
  const offloaded = new Set<readonly SysArg[]>();
  const backend: FfiBackend = {
    name: 'koffi',
    syscall(nr, args) {
      // `args` stays referenced until the call has returned, and with it the buffers whose addresses are passed.
      const value = syscall(nr, integer(args[0]), integer(args[1]), integer(args[2]), integer(args[3]), integer(args[4]), integer(args[5]));
      return value === -1 ? -koffi.errno() : Number(value);
    },
    offload: (nr, args) =>
      new Promise((resolve) => {
        const [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map((i) => integer(args[i])) as [
          Integer,
          Integer,
          Integer,
          Integer,
          Integer,
          Integer,
        ];
        offloaded.add(args);
        syscall.async(nr, a, b, c, d, e, f, (error, value) => {
          offloaded.delete(args);
          // errno is that of koffi's thread.
          resolve(error !== null || Number(value) < 0 ? null : Number(value));
        });
      }),
    addressOf: (bytes) => koffi.address(bytes),
    view: (address: Address, length: number) => koffi.view(address, length),
  };
  // uv_poll: Bun panics on it, and a worker that ends while the handle is ready aborts the whole process. Which thread this is
  // is asked late: what only loads programs does without the module that knows.
  if (process.versions['bun'] === undefined && typeof koffi.node?.poll === 'function') {
    backend.watch = (fd, onReadable) => (isMainThread ? new KoffiWatch(koffi, fd, onReadable) : null);
  }
  return backend;
}

const openWatches = new Set<Watch>();
let exitHook = false;

class KoffiWatch implements Watch {
  readonly #handle: InstanceType<Koffi['node']['PollHandle']>;
  readonly #onReadable: () => void;
  #closed = false;

  constructor(koffi: Koffi, fd: number, onReadable: () => void) {
    // An exception inside koffi's callback is reported only at the next event: it is rethrown from a turn of its own.
    this.#onReadable = () => {
      if (this.#closed) return;
      try {
        onReadable();
      } catch (error) {
        setImmediate(() => {
          throw error;
        });
      }
    };
    this.#handle = koffi.node.poll(fd, { readable: true }, this.#onReadable);
    openWatches.add(this);
    if (!exitHook) {
      exitHook = true;
      process.on('exit', () => {
        for (const watch of openWatches) watch.close();
      });
    }
  }

  stop(): void {
    if (!this.#closed) this.#handle.stop();
  }

  start(): void {
    if (!this.#closed) this.#handle.start({ readable: true }, this.#onReadable);
  }

  ref(): void {
    if (!this.#closed) this.#handle.ref();
  }

  unref(): void {
    if (!this.#closed) this.#handle.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    openWatches.delete(this);
    this.#handle.close();
  }
}

/**
 * The addon inside koffi's platform package, where npm usually puts it, without koffi's own JavaScript: that looks for it in
 * more places, and costs 8 ms of every start. Null where it is not there, or is not for this C library.
 */
function loadAddon(): Koffi | null {
  if (process.platform !== 'linux' || existsSync(`/lib/ld-musl-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.so.1`)) return null;
  const inside = path.join('node_modules', '@koromix', `koffi-linux-${process.arch}`, `linux_${process.arch}`, 'koffi.node');
  let folder = path.dirname(fileURLToPath(import.meta.url));
  for (let above = path.dirname(folder); above !== folder; above = path.dirname(folder)) {
    folder = above;
    const file = path.join(folder, inside);
    if (!existsSync(file)) continue;
    const addon: { exports: Partial<Koffi> } = { exports: {} };
    try {
      process.dlopen(addon, file);
    } catch {
      return null;
    }
    const { load, address, view, errno } = addon.exports;
    const usable = [load, address, view, errno].every((part) => typeof part === 'function');
    return usable ? addon.exports : null;
  }
  return null;
}

function loadKoffi(): Koffi {
  try {
    return loadAddon() ?? (createRequire(import.meta.url)('koffi') as Koffi);
  } catch (cause) {
    throw new UnsupportedError({
      code: 'E_FFI_UNAVAILABLE',
      what: 'the foreign function interface koffi cannot be loaded',
      where: { node: process.version, platform: `${process.platform}-${process.arch}` },
      why: cause instanceof Error ? (cause.message.split('\n')[0] ?? '') : String(cause),
      next:
        'install koffi with its optional dependencies (npm install --include=optional), allow addons (--allow-addons under --permission), ' +
        'or use Node 26.9 or newer with RAWBPF_FFI=node, which needs no addon',
      cause,
    });
  }
}
