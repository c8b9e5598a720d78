import { BPF_CMD } from '../bpf/uapi/cmd.gen.ts';
import { BPF_FUNC } from '../bpf/uapi/func.gen.ts';
import { BPF_MAP_TYPE } from '../bpf/uapi/map-type.gen.ts';
import { nameOf } from '../bpf/uapi/names.ts';
import type { Address, FfiBackend, SysArg, Watch } from './backend.ts';
import { BPF_ATTR, type BpfCommand } from './bpf-attr/index.ts';
import { PendingBuffers } from './captured-call.ts';
import { ERRNO, type ErrnoName } from './errno.ts';
import { syscallName, type SyscallArch } from './syscall-table.ts';

/** A call that a fault may be injected into. */
export interface FaultCall {
  readonly name: string;
  readonly args: readonly SysArg[];
  /** How many calls came before, of any name. */
  readonly index: number;
  /** For bpf(2): the command and its decoded attribute. */
  readonly command: BpfCommand | null;
  readonly attr: Readonly<Record<string, unknown>>;
  /** For bpf(2): the buffer that a pointer field of the attribute refers to. */
  buffer(field: string): Uint8Array | null;
}

/** Which calls fail, and how. */
export interface Fault {
  readonly when: (call: FaultCall) => boolean;
  readonly errno: ErrnoName;
  /** Lets this many matching calls through first; 0 unless said. */
  readonly skip?: number;
  /** Fails this many calls and then no more; all unless said. */
  readonly times?: number;
}

/** A backend that makes chosen calls fail without making them: another kernel's limits, or bad luck at call N. */
export class FaultInjector implements FfiBackend {
  readonly name: string;
  readonly fake: boolean;
  readonly inner: FfiBackend;
  readonly watch?: (fd: number, onReadable: () => void) => Watch | null;
  /** How many calls were made to fail. */
  injected = 0;
  readonly #arch: SyscallArch;
  readonly #faults: readonly { fault: Fault; matched: number }[];
  readonly #pending = new PendingBuffers();
  #index = 0;

  constructor(inner: FfiBackend, arch: SyscallArch, faults: readonly Fault[]) {
    this.inner = inner;
    this.name = `faults(${inner.name})`;
    this.fake = inner.fake ?? false;
    this.#arch = arch;
    this.#faults = faults.map((fault) => ({ fault, matched: 0 }));
    if (inner.watch !== undefined) this.watch = inner.watch.bind(inner);
  }

  syscall(nr: number, args: readonly SysArg[]): number {
    const call = this.#describe(nr, args);
    for (const rule of this.#faults) {
      if (!rule.fault.when(call)) continue;
      const nth = rule.matched++ - (rule.fault.skip ?? 0);
      if (nth < 0 || nth >= (rule.fault.times ?? Infinity)) continue;
      this.injected++;
      this.#pending.clear();
      return -ERRNO[rule.fault.errno];
    }
    this.#pending.clear();
    return this.inner.syscall(nr, args);
  }

  addressOf(bytes: Uint8Array): Address {
    const address = this.inner.addressOf(bytes);
    this.#pending.note(address, bytes);
    return address;
  }

  view(address: Address, length: number): ArrayBuffer {
    return this.inner.view(address, length);
  }

  #describe(nr: number, args: readonly SysArg[]): FaultCall {
    const name = syscallName(this.#arch, nr);
    const command = name === 'bpf' ? (nameOf(BPF_CMD, Number(args[0])) as BpfCommand | null) : null;
    const bytes = args[1];
    const attr = command !== null && bytes instanceof Uint8Array ? (BPF_ATTR[command]?.decode(bytes) ?? {}) : {};
    const buffer = (field: string): Uint8Array | null => {
      const address = attr[field];
      return typeof address === 'bigint' ? this.#pending.at(address) : null;
    };
    return { name, args, index: this.#index++, command, attr, buffer };
  }
}

/** Fails call number `index` (from 0), whatever it is. */
export function failCall(index: number, errno: ErrnoName): Fault {
  return { when: (call) => call.index === index, errno };
}

/** Fails a system call by name, or a command of bpf(2). */
export function failNamed(name: string, errno: ErrnoName, limits: { skip?: number; times?: number } = {}): Fault {
  return { when: (call) => call.name === name || call.command === name, errno, ...limits };
}

const ringbufMaps: readonly number[] = [BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, BPF_MAP_TYPE.BPF_MAP_TYPE_USER_RINGBUF];
const ringbufHelpers = new Set(
  Object.entries(BPF_FUNC)
    .filter(([name]) => name.includes('ringbuf'))
    .map(([, id]) => id as number),
);

/** A kernel before 5.8: no ring buffer map, and no program that calls one of its helpers. */
export function withoutRingbuf(): Fault {
  return {
    errno: 'EINVAL',
    when(call) {
      if (call.command === 'BPF_MAP_CREATE') return ringbufMaps.includes(Number(call.attr['map_type']));
      return call.command === 'BPF_PROG_LOAD' && callsHelper(call.buffer('insns'), ringbufHelpers);
    },
  };
}

/** Whether instructions call one of these helpers (BPF_JMP | BPF_CALL with src_reg 0). */
function callsHelper(insns: Uint8Array | null, helpers: ReadonlySet<number>): boolean {
  if (insns === null) return false;
  const view = new DataView(insns.buffer, insns.byteOffset, insns.byteLength);
  for (let at = 0; at + 8 <= insns.length; at += 8) {
    if (insns[at] === 0x85 && (insns[at + 1] as number) >> 4 === 0 && helpers.has(view.getInt32(at + 4, true))) return true;
    // The second half of a 16-byte ldimm64 is data.
    if (insns[at] === 0x18) at += 8;
  }
  return false;
}
