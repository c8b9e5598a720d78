import type { Btf } from '../../btf/btf.ts';
import { encodeValue } from '../../btf/value/encode.ts';
import { FormatError, UsageError } from '../../error.ts';
import { EPOLL } from '../../sys/constants.ts';
import { Epoll } from '../../sys/epoll.ts';
import type { MapFd } from '../../sys/fds.ts';
import { closeFd, dupFd } from '../../sys/file.ts';
import { Mapping } from '../../sys/memory.ts';
import { pageSize } from '../../sys/page-size.ts';
import type { BpfMap } from '../map/map.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';

// include/uapi/linux/bpf.h: a sample's header is its length with two flags in the top bits, and 4 more bytes.
const busyBit = 0x80000000;
const discardBit = 0x40000000;
const headerSize = 8;
/** A program that drains with BPF_RB_NO_WAKEUP tells nobody: whoever waits for room also looks this often. */
const lookMs = 20;

/** Room for one sample. It is the kernel's memory: fill {@link bytes}, then {@link submit} it, or {@link discard} it. */
export interface UserRingbufSample {
  /** The sample; what an earlier one left is still in it. After submit or discard it belongs to the kernel's program. */
  readonly bytes: Uint8Array;
  /** The same memory. */
  readonly view: DataView;
  /** Hands the sample to the program that drains the ring. */
  submit(): void;
  /** Gives the room back: programs never see this sample. */
  discard(): void;
}

/** How long {@link UserRingbuf.reserveWhenFree} waits. */
export interface ReserveOptions {
  /** Milliseconds; for ever unless said. */
  readonly timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  readonly signal?: AbortSignal;
}

/**
 * Sends samples to BPF programs through a BPF_MAP_TYPE_USER_RINGBUF (Linux 6.1): programs take them with
 * bpf_user_ringbuf_drain(). One producer at a time; samples are taken in the order of their reservation
 * (kernel/bpf/ringbuf.c, __bpf_user_ringbuf_peek).
 *
 * Throws E_MAP_TYPE for a map of another type, SyscallError where it cannot be mapped.
 *
 * @example
 * import { type BpfMap, UserRingbuf } from 'rawbpf';
 * export function command(map: BpfMap, pid: number): boolean {
 *   const ring = new UserRingbuf(map);
 *   try {
 *     const sample = ring.reserve(4);
 *     if (sample === null) return false; // full: the program has not drained it
 *     sample.view.setUint32(0, pid, true);
 *     sample.submit();
 *     return true;
 *   } finally {
 *     ring.close();
 *   }
 * }
 */
export class UserRingbuf {
  /** Bytes of samples and their headers that the ring holds. */
  readonly size: number;
  readonly #map: BpfMap;
  readonly #fd: MapFd;
  readonly #consumer: Mapping;
  readonly #producer: Mapping;
  readonly #consumed: BigInt64Array;
  readonly #produced: BigInt64Array;
  readonly #headers: Int32Array;
  readonly #dataStart: number;
  readonly #waits = new Set<() => void>();
  #closed = false;

  /** Takes a descriptor of its own: the map may be closed before it. */
  constructor(map: BpfMap) {
    if (map.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_USER_RINGBUF) {
      throw new UsageError({ code: 'E_MAP_TYPE', what: 'not a user ring buffer', where: { map: map.name, type: map.typeName } });
    }
    const { sys } = map.kernel;
    const page = pageSize();
    this.#map = map;
    this.size = map.maxEntries;
    this.#fd = dupFd(sys, map.fd);
    let consumer: Mapping | null = null;
    try {
      // Other way round than with BPF_MAP_TYPE_RINGBUF: only the kernel writes the first page.
      consumer = Mapping.map(sys, { fd: this.#fd, length: page, writable: false, what: "a user ring buffer's consumer page" });
      this.#producer = Mapping.map(sys, {
        fd: this.#fd,
        offset: page,
        length: page + 2 * this.size,
        writable: true,
        what: "a user ring buffer's data",
      });
      this.#consumer = consumer;
    } catch (error) {
      consumer?.close();
      closeFd(sys, this.#fd);
      throw error;
    }
    this.#consumed = new BigInt64Array(this.#consumer.buffer, 0, 1);
    this.#produced = new BigInt64Array(this.#producer.buffer, 0, 1);
    this.#headers = new Int32Array(this.#producer.buffer);
    this.#dataStart = page;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Bytes, headers included, that programs have not taken yet. */
  get pendingBytes(): number {
    return this.#closed ? 0 : Number(Atomics.load(this.#produced, 0) - Atomics.load(this.#consumed, 0));
  }

  /**
   * Room for a sample of `size` bytes, null while the ring is too full. Every sample has to be submitted or discarded:
   * programs see none behind one that is neither. Throws E_RINGBUF_SAMPLE where it can never fit.
   */
  reserve(size: number): UserRingbufSample | null {
    if (this.#closed) throw new UsageError({ code: 'E_CLOSED', what: 'this user ring buffer is closed', where: { map: this.#map.name } });
    const total = Math.ceil((size + headerSize) / 8) * 8;
    if (!Number.isInteger(size) || size < 0 || total > this.size) {
      throw new UsageError({
        code: 'E_RINGBUF_SAMPLE',
        what: 'a sample that no user ring buffer of this size takes',
        where: { map: this.#map.name, size, max_entries: this.size },
        why: `with its header of ${headerSize} bytes a sample has at most ${this.size} bytes`,
      });
    }
    const produced = Atomics.load(this.#produced, 0);
    const used = Number(produced - Atomics.load(this.#consumed, 0));
    if (used < 0 || used > this.size) {
      throw new FormatError({
        code: 'E_RINGBUF',
        what: 'malformed user ring buffer',
        where: { map: this.#map.name, pending: used, max_entries: this.size },
        next: 'make sure that nobody else writes into it',
      });
    }
    if (this.size - used < total) return null;
    const offset = this.#dataStart + Number(BigInt.asUintN(32, produced) & BigInt(this.size - 1));
    // The header has to say BUSY before the position lets the kernel see it.
    Atomics.store(this.#headers, offset >>> 2, size | busyBit);
    Atomics.store(this.#headers, (offset >>> 2) + 1, 0);
    Atomics.store(this.#produced, 0, produced + BigInt(total));
    return new Sample(this.#headers, offset, size);
  }

  /** Sends a copy of `bytes`; false while the ring is too full. */
  send(bytes: Uint8Array): boolean {
    const sample = this.reserve(bytes.length);
    if (sample === null) return false;
    sample.bytes.set(bytes);
    sample.submit();
    return true;
  }

  /** Sends a JavaScript value as a BTF type has it; false while the ring is too full. */
  sendValue(btf: Btf, typeId: number, value: unknown): boolean {
    return this.send(encodeValue(btf, typeId, value));
  }

  /** As {@link reserve}, waiting for a program to drain the ring; null after `timeoutMs`, or when the ring is closed meanwhile. */
  async reserveWhenFree(size: number, options: ReserveOptions = {}): Promise<UserRingbufSample | null> {
    const { timeoutMs = Infinity, signal } = options;
    const end = performance.now() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      if (this.#closed) return null;
      const sample = this.reserve(size);
      if (sample !== null) return sample;
      const left = end - performance.now();
      if (left <= 0) return null;
      await this.#mayHaveRoom(Math.min(left, lookMs), signal);
    }
  }

  /** Lets go of the memory; samples that were neither submitted nor discarded stay BUSY, and block what follows. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const wake of this.#waits) wake();
    this.#consumer.close();
    this.#producer.close();
    closeFd(this.#map.kernel.sys, this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Until a program has drained samples, some time has passed, the signal came or the ring was closed. */
  #mayHaveRoom(ms: number, signal: AbortSignal | undefined): Promise<void> {
    const { sys } = this.#map.kernel;
    const epoll = new Epoll(sys, 1);
    return new Promise((resolve) => {
      let watch: ReturnType<typeof sys.watch> = null;
      const done = (): void => {
        clearTimeout(timer);
        this.#waits.delete(done);
        signal?.removeEventListener('abort', done);
        watch?.close();
        epoll.close();
        resolve();
      };
      const timer = setTimeout(done, Math.ceil(ms));
      this.#waits.add(done);
      signal?.addEventListener('abort', done);
      // Edge-triggered, and past the edge of now: a ring with some room, too little for us, is writable all the time.
      epoll.add(this.#fd, EPOLL.EPOLLOUT | EPOLL.EPOLLET);
      epoll.wait(0);
      watch = sys.watch(epoll.fd, done);
    });
  }
}

class Sample implements UserRingbufSample {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly #headers: Int32Array;
  readonly #word: number;
  #done = false;

  constructor(headers: Int32Array, offset: number, size: number) {
    this.bytes = new Uint8Array(headers.buffer, offset + headerSize, size);
    this.view = new DataView(headers.buffer, offset + headerSize, size);
    this.#headers = headers;
    this.#word = offset >>> 2;
  }

  submit(): void {
    this.#finish(0);
  }

  discard(): void {
    this.#finish(discardBit);
  }

  #finish(flags: number): void {
    if (this.#done) throw new UsageError({ code: 'E_RINGBUF_SAMPLE', what: 'this sample was submitted or discarded already' });
    this.#done = true;
    Atomics.store(this.#headers, this.#word, this.bytes.length | flags);
  }
}
