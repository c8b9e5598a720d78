import { FakeBackend, type FakeCall } from '../../../src/sys/fake-backend.ts';
import { pageSize } from '../../../src/sys/page-size.ts';
import { Sys } from '../../../src/sys/sys.ts';

const headerSize = 8;
const consumerAddress = 0x7000_0000_0000;
const producerAddress = 0x7100_0000_0000;

/** A ring buffer in ordinary memory: what the kernel's side of kernel/bpf/ringbuf.c does to it, step by step. */
export class FakeRing {
  readonly sys: Sys;
  readonly size: number;
  readonly backend: FakeBackend;
  /** Every system call made. */
  readonly calls: string[] = [];
  readonly #consumer: BigUint64Array;
  readonly #producer: BigUint64Array;
  readonly #view: DataView;
  readonly #page = pageSize();
  #position: bigint;

  constructor(size: number, position = 0n, arch: 'x64' | 'arm64' = 'x64') {
    this.size = size;
    this.backend = new FakeBackend(arch, (call) => this.#answer(call));
    this.sys = new Sys(this.backend, arch);
    const consumer = new ArrayBuffer(this.#page);
    const producer = new ArrayBuffer(this.#page + 2 * size);
    this.backend.memory.map(BigInt(consumerAddress), consumer);
    this.backend.memory.map(BigInt(producerAddress), producer);
    this.#consumer = new BigUint64Array(consumer);
    this.#producer = new BigUint64Array(producer);
    this.#view = new DataView(producer);
    this.#position = position;
    this.#consumer[0] = position;
    this.#producer[0] = position;
  }

  get consumerPosition(): bigint {
    return this.#consumer[0] as bigint;
  }

  get producerPosition(): bigint {
    return this.#producer[0] as bigint;
  }

  /** Reserves a record: it is BUSY until committed. Null where there is no room. */
  reserve(length: number): { readonly position: bigint; write(bytes: Uint8Array): void; commit(discard?: boolean): void } | null {
    const step = BigInt((length + headerSize + 7) & ~7);
    if (this.#position + step - this.consumerPosition > BigInt(this.size - 1)) return null;
    const position = this.#position;
    const at = Number(position & BigInt(this.size - 1));
    this.#setHeader(at, length | 0x80000000);
    this.#position += step;
    this.#producer[0] = this.#position;
    return {
      position,
      write: (bytes) => bytes.forEach((byte, i) => this.#setByte(at + headerSize + i, byte)),
      commit: (discard = false) => this.#setHeader(at, discard ? length | 0x40000000 : length),
    };
  }

  /** Reserves, writes and commits a record that begins with a u32 number. */
  output(number: number, length = 8, discard = false): boolean {
    const record = this.reserve(length);
    if (record === null) return false;
    const bytes = new Uint8Array(length).fill(number & 0xff);
    if (length >= 4) new DataView(bytes.buffer).setUint32(0, number, true);
    record.write(bytes);
    record.commit(discard);
    return true;
  }

  /** Writes any header: what a broken kernel or a second reader would leave. */
  corrupt(position: bigint, header: number): void {
    this.#setHeader(Number(position & BigInt(this.size - 1)), header);
  }

  /** Both copies of the data, as the kernel maps the same pages twice. */
  #setByte(at: number, byte: number): void {
    this.#view.setUint8(this.#page + (at % this.size), byte);
    this.#view.setUint8(this.#page + this.size + (at % this.size), byte);
  }

  #setHeader(at: number, header: number): void {
    for (let i = 0; i < 4; i++) this.#setByte(at + i, (header >>> (i * 8)) & 0xff);
  }

  #answer(call: FakeCall): number | undefined {
    this.calls.push(call.name);
    if (call.name !== 'mmap' || call.args[4] === -1) return undefined;
    return call.args[5] === 0 ? consumerAddress : producerAddress;
  }
}
