import { Btf, BtfBuilder, type BtfMember } from '../src/btf/index.ts';
import { BPF_FUNC, BPF_MAP_TYPE } from '../src/bpf/uapi/index.ts';
import { hostContext } from '../src/enrich/context.ts';
import type { EventContext } from '../src/gadget/context.ts';
import { buildDataSource, type DataSource } from '../src/gadget/data-source.ts';
import { bpf } from '../src/sys/bpf.ts';
import { possibleCpus } from '../src/sys/cpus.ts';
import { check } from '../src/sys/errno.ts';
import type { Sys } from '../src/sys/sys.ts';
import { loadProgram, loop, testRun, type Line } from '../test/bpf/events/producer.ts';

/** Bytes of the event that every benchmark reads: the size of what a small tracer sends. */
export const eventSize = 64;
/** The number of an event that ends a window of a live measurement. */
export const stopNumber = 0xffffffff;
/** Most records that one run of the producer makes. */
export const maxRun = 1024;

const u32s = ['pid', 'tid', 'uid', 'gid', 'ret', 'flags'] as const;

/** What fields of {@link eventSource} are called where they have the types that gadgets give them. */
const gadgetTypes: Readonly<Record<string, { readonly name: string; readonly type: string }>> = {
  time: { name: 'timestamp_raw', type: 'gadget_timestamp' },
  uid: { name: 'uid', type: 'gadget_uid' },
  gid: { name: 'gid', type: 'gadget_gid' },
  mntns: { name: 'mntns_id', type: 'gadget_mntns_id' },
};

/**
 * The event's struct as BTF, and its data source. The layout is repeated in peers/libbpf.c and peers/cilium/main.go. With a
 * context its fields have the types of gadgets: times, users and containers are told beside the numbers.
 */
export function eventSource(sys: Sys, context?: EventContext): DataSource {
  const builder = new BtfBuilder();
  const member = (name: string, typeId: number, offset: number): BtfMember => {
    const special = context === undefined ? undefined : gadgetTypes[name];
    const type = special === undefined ? typeId : builder.add({ kind: 'TYPEDEF', name: special.type, typeId, attribute: false });
    return { name: special?.name ?? name, typeId: type, bitOffset: offset * 8, bitSize: 0 };
  };
  const int = (name: string, size: number, encoding: number): number =>
    builder.add({ kind: 'INT', name, size, encoding, bitOffset: 0, bits: size * 8 });
  const u64 = int('unsigned long long', 8, 0);
  const u32 = int('unsigned int', 4, 0);
  const s32 = int('int', 4, 1);
  const char = int('char', 1, 0);
  const comm = builder.add({ kind: 'ARRAY', name: '', typeId: char, indexTypeId: u32, count: 16 });
  const typeId = builder.add({
    kind: 'STRUCT',
    name: 'event',
    size: eventSize,
    members: [
      member('number', u64, 0),
      member('time', u64, 8),
      ...u32s.map((name, i) => member(name, name === 'ret' ? s32 : u32, 16 + i * 4)),
      member('mntns', u64, 40),
      member('comm', comm, 48),
    ],
  });
  return buildDataSource({ name: 'event', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: context ?? hostContext(sys) });
}

// include/uapi/linux/bpf.h and bpf_common.h: the codes of the few instructions that are needed.
const MOV64_REG = 0xbf;
const MOV64_IMM = 0xb7;
const MOV32_IMM = 0xb4;
const AND64_IMM = 0x57;
const ADD64_IMM = 0x07;
const ADD64_REG = 0x0f;
const LDX_DW = 0x79;
const STX_B = 0x73;
const STX_W = 0x63;
const STX_DW = 0x7b;
const ST_W = 0x62;
const ST_DW = 0x7a;
const JEQ_IMM = 0x15;
const JNE_IMM = 0x55;
const CALL = 0x85;

/** Fills 64 bytes at a register and offset; r6 are the arguments, r9 the events taken so far: those have consecutive numbers. Keeps r6 to r9. */
function fillEvent(base: number, offset: number): Line[] {
  const words: readonly [at: number, value: number][] = [
    [24, 1000],
    [28, 100],
    [32, -2],
    [36, 0o100000],
    [48, 0x6b726f77],
    [52, 0x2d7265],
    [56, 0],
    [60, 0],
  ];
  return [
    [LDX_DW, 3, 6, 0, 0],
    [ADD64_REG, 3, 9, 0, 0],
    [STX_DW, base, 3, offset, 0],
    ...words.map(([at, value]): Line => [ST_W, base, 0, offset + at, value]),
    [LDX_DW, 4, 6, 24, 0],
    [STX_DW, base, 4, offset + 40, 0],
    [AND64_IMM, 3, 0, 0, 0xfff],
    [ADD64_IMM, 3, 0, 0, 1000],
    [STX_W, base, 3, offset + 16, 0],
    [STX_W, base, 3, offset + 20, 0],
    [AND64_IMM, 3, 0, 0, 15],
    [ADD64_IMM, 3, 0, 0, 0x61],
    [STX_B, base, 3, offset + 55, 0],
  ];
}

/** Writes numbered events into a buffer; the kernel's own code, run as often as asked. */
export interface EventProducer {
  readonly mapFd: number;
  readonly maxEntries: number;
  /** Sends up to {@link maxRun} events, the first numbered `first`; returns how many the kernel took. */
  run(first: number, count: number): number;
  close(): void;
}

/** The mount namespace that events carry. */
export const mntns = 4026531841;

/** A producer into a new ring buffer, or into that of `shared`; `flags` are those of bpf_ringbuf_submit. */
export function ringProducer(sys: Sys, maxEntries: number, shared?: number, flags = 0): EventProducer {
  const mapFd =
    shared ??
    check(
      bpf(sys, 'BPF_MAP_CREATE', { map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, max_entries: maxEntries, map_name: 'bench' }),
      'bpf(BPF_MAP_CREATE)',
    );
  const body: Line[] = [
    [0x18, 1, 1, 0, mapFd],
    [0, 0, 0, 0, 0],
    [MOV64_IMM, 2, 0, 0, eventSize],
    [MOV64_IMM, 3, 0, 0, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_reserve],
    [JEQ_IMM, 0, 0, 'next', 0],
    [STX_DW, 10, 0, -8, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ktime_get_ns],
    [MOV64_REG, 5, 0, 0, 0],
    [LDX_DW, 1, 10, -8, 0],
    [STX_DW, 1, 5, 8, 0],
    ...fillEvent(1, 0),
    [ADD64_IMM, 9, 0, 0, 1],
    [LDX_DW, 2, 6, 16, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_submit],
    'next',
  ];
  return producer(sys, mapFd, maxEntries, loadProgram(sys, loop(body)), flags);
}

/** A producer into a new perf event array. Its records have 60 bytes: with the length before them they need no padding. */
export function perfProducer(sys: Sys): EventProducer {
  // cilium/ebpf opens a buffer for each entry.
  const maxEntries = possibleCpus().length;
  const values = {
    map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    key_size: 4,
    value_size: 4,
    max_entries: maxEntries,
    map_name: 'bench',
  };
  const mapFd = check(bpf(sys, 'BPF_MAP_CREATE', values), 'bpf(BPF_MAP_CREATE)');
  const body: Line[] = [
    ...fillEvent(10, -64),
    [MOV64_REG, 1, 6, 0, 0],
    [0x18, 2, 1, 0, mapFd],
    [0, 0, 0, 0, 0],
    // BPF_F_CURRENT_CPU is 32 bits of ones, which a 64-bit mov would extend.
    [MOV32_IMM, 3, 0, 0, -1],
    [MOV64_REG, 4, 10, 0, 0],
    [ADD64_IMM, 4, 0, 0, -64],
    [MOV64_IMM, 5, 0, 0, 60],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_perf_event_output],
    [JNE_IMM, 0, 0, 'next', 0],
    [ADD64_IMM, 9, 0, 0, 1],
    'next',
  ];
  const zeroed: Line[] = Array.from({ length: 8 }, (_, i) => [ST_DW, 10, 0, -64 + i * 8, 0]);
  return producer(sys, mapFd, maxEntries, loadProgram(sys, [...zeroed, ...loop(body)]), 0);
}

function producer(sys: Sys, mapFd: number, maxEntries: number, progFd: number, flags: number): EventProducer {
  return {
    mapFd,
    maxEntries,
    run: (first, count) => testRun(sys, progFd, [first, count, flags, mntns]),
    close() {
      sys.call('close', progFd);
      sys.call('close', mapFd);
    },
  };
}
