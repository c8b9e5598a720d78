import { FakeBackend, type FakeCall } from '../../../src/sys/fake-backend.ts';
import { pageSize } from '../../../src/sys/page-size.ts';
import { Sys } from '../../../src/sys/sys.ts';

const firstFd = 100;
const firstAddress = 0x7200_0000_0000;
const SAMPLE = 9;
const LOST = 2;

interface FakeCpu {
  readonly fd: number;
  readonly address: number;
  readonly view: DataView;
  head: bigint;
  lost: bigint;
  /** Time for which the event was enabled: one more at each look. */
  enabled: bigint;
}

/** Perf buffers in ordinary memory, written as kernel/events/ring_buffer.c does. */
export class FakePerf {
  readonly sys: Sys;
  readonly size: number;
  readonly offline: Set<number> = new Set();
  /** Descriptors of buffers whose CPU went, even if it came back. */
  readonly dead: Set<number> = new Set();
  /** CPU to descriptor, as the map has it. */
  readonly slots: Map<number, number> = new Map();
  readonly open: Set<number> = new Set();
  readonly #backend: FakeBackend;
  readonly #cpus = new Map<number, FakeCpu>();
  readonly #page = pageSize();
  readonly #start: bigint;
  #opened = 0;

  constructor(size: number, arch: 'x64' | 'arm64' = 'x64', start = 0n) {
    this.size = size;
    this.#start = start;
    this.#backend = new FakeBackend(arch, (call) => this.#answer(call));
    this.sys = new Sys(this.#backend, arch);
  }

  tail(cpu: number): bigint {
    return this.#cpu(cpu).view.getBigUint64(1032, true);
  }

  /** Writes a sample that begins with a number; `time` where the reader asked for times. False where there is no room. */
  sample(cpu: number, number: number, length = 12, time?: bigint): boolean {
    const rawSize = Math.ceil((length + 4) / 8) * 8 - 4;
    const body = new Uint8Array((time === undefined ? 0 : 8) + 4 + rawSize);
    const view = new DataView(body.buffer);
    if (time !== undefined) view.setBigUint64(0, time, true);
    const raw = time === undefined ? 0 : 8;
    view.setUint32(raw, rawSize, true);
    view.setUint32(raw + 4, number, true);
    body.fill(number & 0xff, raw + 8, raw + 4 + length);
    return this.record(cpu, SAMPLE, body);
  }

  lost(cpu: number, count: number): boolean {
    const body = new Uint8Array(16);
    new DataView(body.buffer).setBigUint64(8, BigInt(count), true);
    return this.record(cpu, LOST, body);
  }

  record(cpu: number, type: number, body: Uint8Array, size: number = body.length + 8): boolean {
    const ring = this.#cpu(cpu);
    const total = body.length + 8;
    if (ring.head + BigInt(total) - this.tail(cpu) > BigInt(this.size)) {
      ring.lost++;
      return false;
    }
    const bytes = new Uint8Array(total);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, type, true);
    view.setUint16(6, size, true);
    bytes.set(body, 8);
    const at = Number(ring.head & BigInt(this.size - 1));
    bytes.forEach((byte, i) => ring.view.setUint8(this.#page + ((at + i) % this.size), byte));
    ring.head += BigInt(total);
    ring.view.setBigUint64(1024, ring.head, true);
    return true;
  }

  #cpu(cpu: number): FakeCpu {
    const ring = this.#cpus.get(cpu);
    if (ring === undefined) throw new Error(`CPU ${cpu} has no buffer`);
    return ring;
  }

  #answer(call: FakeCall): number | undefined {
    const [first, second, third, , fourth] = call.args;
    switch (call.name) {
      case 'perf_event_open':
        return this.#open(Number(third));
      case 'mmap': {
        const ring = [...this.#cpus.values()].find((each) => each.fd === fourth);
        return ring === undefined ? 0 : ring.address;
      }
      case 'read': {
        const ring = [...this.#cpus.values()].find((each) => each.fd === first);
        if (ring === undefined || !(second instanceof Uint8Array)) return -9;
        if (!this.dead.has(ring.fd)) ring.enabled++;
        new DataView(second.buffer).setBigUint64(8, ring.enabled, true);
        new DataView(second.buffer).setBigUint64(16, ring.lost, true);
        return 24;
      }
      case 'close':
        this.open.delete(Number(first));
        return 0;
      case 'bpf':
        return this.#map(call);
      default:
        return undefined;
    }
  }

  #open(cpu: number): number {
    if (this.offline.has(cpu)) return -19;
    const index = this.#opened++;
    const buffer = new ArrayBuffer(this.#page + this.size);
    const view = new DataView(buffer);
    view.setBigUint64(1024, this.#start, true);
    view.setBigUint64(1032, this.#start, true);
    const address = firstAddress + index * 2 ** 32;
    this.#backend.memory.map(BigInt(address), buffer);
    const fd = firstFd + index;
    this.open.add(fd);
    this.#cpus.set(cpu, { fd, address, view, head: this.#start, lost: 0n, enabled: 0n });
    return fd;
  }

  #map(call: FakeCall): number {
    const attr = new DataView((call.args[1] as Uint8Array).buffer);
    const number = (offset: number): number => {
      const bytes = call.buffer(attr.getBigUint64(offset, true));
      return bytes === null ? -1 : new DataView(bytes.buffer).getUint32(0, true);
    };
    if (call.args[0] === 2) this.slots.set(number(8), number(16));
    if (call.args[0] === 3) this.slots.delete(number(8));
    return 0;
  }
}
