import { BPF_F, BPF_FUNC, BPF_MAP_TYPE, BPF_PROG_TYPE } from '../../../src/bpf/uapi/index.ts';
import { bpf, bpfCall } from '../../../src/sys/bpf.ts';
import { check } from '../../../src/sys/errno.ts';
import { toCString } from '../../../src/bytes/text.ts';
import type { Sys } from '../../../src/sys/sys.ts';

/** Most records that one run of a producer's program makes. */
export const maxPerRun = 1024;

/** A program that writes numbered records into a ring buffer (or a perf event array), and how to run it. */
export interface Producer {
  readonly mapFd: number;
  readonly progFd: number;
  readonly maxEntries: number;
  /** Writes `count` records, the first numbered `first`; returns how many of them the kernel took. Every `discardEvery`th is discarded. */
  run(first: number, count: number, options?: { flags?: number; discardEvery?: number; cpu?: number }): number;
  close(): void;
}

/** An instruction, whose offset may be the name of a label, or a label. */
export type Line = readonly [code: number, dst: number, src: number, off: number | string, imm: number] | string;

/** Encodes instructions of 8 bytes (include/uapi/linux/bpf.h, struct bpf_insn) and resolves labels. */
export function assemble(lines: readonly Line[]): Uint8Array {
  const labels = new Map<string, number>();
  let count = 0;
  for (const line of lines) {
    if (typeof line === 'string') labels.set(line, count);
    else count++;
  }
  const bytes = new Uint8Array(count * 8);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const line of lines) {
    if (typeof line === 'string') continue;
    const [code, dst, src, off, imm] = line;
    bytes[at * 8] = code;
    bytes[at * 8 + 1] = dst | (src << 4);
    view.setInt16(at * 8 + 2, typeof off === 'number' ? off : (labels.get(off) ?? Number.NaN) - at - 1, true);
    view.setInt32(at * 8 + 4, imm, true);
    at++;
  }
  return bytes;
}

const MOV64_REG = 0xbf;
const MOV64_IMM = 0xb7;
const MOV32_IMM = 0xb4;
const ST_DW = 0x7a;
const ADD64_IMM = 0x07;
const ADD64_REG = 0x0f;
const MOD64_REG = 0x9f;
const LDX_DW = 0x79;
const STX_DW = 0x7b;
const JEQ_IMM = 0x15;
const JNE_IMM = 0x55;
const JGE_REG = 0x3d;
const JLT_IMM = 0xa5;
const JA = 0x05;
const CALL = 0x85;
const EXIT = 0x95;
const LD_IMM64 = 0x18;

const ldMapFd = (dst: number, fd: number): Line[] => [
  [LD_IMM64, dst, 1, 0, fd],
  [0, 0, 0, 0, 0],
];

/** Loads a program, by default of type raw_tracepoint, which BPF_PROG_TEST_RUN runs with u64 arguments. */
export function loadProgram(
  sys: Sys,
  lines: readonly Line[],
  type: number = BPF_PROG_TYPE.BPF_PROG_TYPE_RAW_TRACEPOINT,
  flags: number = 0,
): number {
  const code = assemble(lines);
  const values = {
    prog_type: type,
    prog_flags: flags,
    insns: code,
    insn_cnt: code.length / 8,
    license: toCString('GPL'),
    prog_name: 'producer',
  };
  // EAGAIN: a signal was pending while the verifier worked (kernel/bpf/verifier.c, do_check).
  let fd = 0;
  for (let attempt = 0; attempt < 10; attempt++) {
    fd = bpf(sys, 'BPF_PROG_LOAD', values);
    if (fd !== -11) break;
  }
  if (fd >= 0) return fd;
  const log = new Uint8Array(1 << 20);
  const again = bpf(sys, 'BPF_PROG_LOAD', { ...values, log_level: 1, log_size: log.length, log_buf: log });
  return check(again, 'bpf(BPF_PROG_LOAD)', { why: new TextDecoder().decode(log.subarray(0, log.indexOf(0))) });
}

/** Runs it with arguments; returns the program's return value. */
export function testRun(sys: Sys, progFd: number, args: readonly number[], cpu?: number): number {
  const context = new BigUint64Array(args.map((arg) => BigInt(arg)));
  const bytes = new Uint8Array(context.buffer);
  const values = { prog_fd: progFd, ctx_in: bytes, ctx_size_in: bytes.length, ...(cpu === undefined ? {} : { flags: 1, cpu }) };
  const { result, attr } = bpfCall(sys, 'BPF_PROG_TEST_RUN', values);
  check(result, 'bpf(BPF_PROG_TEST_RUN)');
  return new DataView(attr.buffer).getUint32(4, true);
}

/**
 * A producer into a new ring buffer, or into that of `shared`: records of `recordSize` bytes that begin with a u64 number. args[2] are the flags of
 * submit and discard; every args[3]th record is discarded.
 */
export function ringbufProducer(sys: Sys, maxEntries: number, recordSize = 64, shared?: number): Producer {
  const mapFd =
    shared ??
    check(
      bpf(sys, 'BPF_MAP_CREATE', { map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, max_entries: maxEntries, map_name: 'ring' }),
      'bpf(BPF_MAP_CREATE)',
    );
  const body: Line[] = [
    ...ldMapFd(1, mapFd),
    [MOV64_IMM, 2, 0, 0, recordSize],
    [MOV64_IMM, 3, 0, 0, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_reserve],
    [JEQ_IMM, 0, 0, 'next', 0],
    [LDX_DW, 3, 6, 0, 0],
    [ADD64_REG, 3, 7, 0, 0],
    [STX_DW, 0, 3, 0, 0],
    [ADD64_IMM, 9, 0, 0, 1],
    [MOV64_REG, 1, 0, 0, 0],
    [LDX_DW, 2, 6, 16, 0],
    [LDX_DW, 4, 6, 24, 0],
    [JEQ_IMM, 4, 0, 'submit', 0],
    [MOD64_REG, 3, 4, 0, 0],
    [JNE_IMM, 3, 0, 'submit', 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_discard],
    [JA, 0, 0, 'next', 0],
    'submit',
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_submit],
    'next',
  ];
  const progFd = loadProgram(sys, loop(body));
  return {
    mapFd,
    progFd,
    maxEntries,
    run: (first, count, { flags = 0, discardEvery = 0, cpu } = {}) => testRun(sys, progFd, [first, count, flags, discardEvery], cpu),
    close() {
      sys.call('close', progFd);
      sys.call('close', mapFd);
    },
  };
}

/**
 * A program that leaves a record of 16 bytes BUSY for as long as reading user memory at args[0] takes: a sleepable one,
 * which copies from there into the record. Run it with testRun().
 */
export function loadBusyProgram(sys: Sys, mapFd: number): number {
  const lines: Line[] = [
    [MOV64_REG, 6, 1, 0, 0],
    ...ldMapFd(1, mapFd),
    [MOV64_IMM, 2, 0, 0, 16],
    [MOV64_IMM, 3, 0, 0, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_reserve],
    [JEQ_IMM, 0, 0, 'out', 0],
    [MOV64_REG, 7, 0, 0, 0],
    [MOV64_REG, 1, 7, 0, 0],
    [MOV64_IMM, 2, 0, 0, 16],
    [LDX_DW, 3, 6, 0, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_copy_from_user],
    [MOV64_REG, 1, 7, 0, 0],
    [MOV64_IMM, 2, 0, 0, 0],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_ringbuf_submit],
    'out',
    [MOV64_IMM, 0, 0, 0, 0],
    [EXIT, 0, 0, 0, 0],
  ];
  return loadProgram(sys, lines, BPF_PROG_TYPE.BPF_PROG_TYPE_SYSCALL, BPF_F.BPF_F_SLEEPABLE);
}

/**
 * A producer into a new perf event array: records of `recordSize` bytes (at least 8, at most 256) that begin with a u64
 * number; those the kernel does not take are not counted in what run() returns.
 */
export function perfProducer(sys: Sys, recordSize = 60): Producer {
  const cpus = 64;
  const values = {
    map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
    key_size: 4,
    value_size: 4,
    max_entries: cpus,
    map_name: 'events',
  };
  const mapFd = check(bpf(sys, 'BPF_MAP_CREATE', values), 'bpf(BPF_MAP_CREATE)');
  const zeroed: Line[] = Array.from({ length: 32 }, (_, i) => [ST_DW, 10, 0, -256 + i * 8, i]);
  const body: Line[] = [
    [LDX_DW, 3, 6, 0, 0],
    [ADD64_REG, 3, 7, 0, 0],
    [STX_DW, 10, 3, -256, 0],
    [MOV64_REG, 1, 6, 0, 0],
    ...ldMapFd(2, mapFd),
    // BPF_F_CURRENT_CPU is 32 bits of ones, which a mov would extend.
    [MOV32_IMM, 3, 0, 0, -1],
    [MOV64_REG, 4, 10, 0, 0],
    [ADD64_IMM, 4, 0, 0, -256],
    [MOV64_IMM, 5, 0, 0, recordSize],
    [CALL, 0, 0, 0, BPF_FUNC.BPF_FUNC_perf_event_output],
    [JNE_IMM, 0, 0, 'next', 0],
    [ADD64_IMM, 9, 0, 0, 1],
    'next',
  ];
  const progFd = loadProgram(sys, [...zeroed, ...loop(body)]);
  return {
    mapFd,
    progFd,
    maxEntries: cpus,
    run: (first, count, { cpu } = {}) => testRun(sys, progFd, [first, count, 0, 0], cpu),
    close() {
      sys.call('close', progFd);
      sys.call('close', mapFd);
    },
  };
}

/**
 * `for (r7 = 0; r7 < maxPerRun && r7 < args[1]; r7++) body`, returning r9; the body must keep r6 (the arguments) to r9.
 * args[0] is the first number, args[1] the count.
 */
export function loop(body: readonly Line[]): Line[] {
  return [
    [MOV64_REG, 6, 1, 0, 0],
    [MOV64_IMM, 7, 0, 0, 0],
    [MOV64_IMM, 9, 0, 0, 0],
    [LDX_DW, 8, 6, 8, 0],
    'again',
    [JGE_REG, 7, 8, 'done', 0],
    ...body,
    [ADD64_IMM, 7, 0, 0, 1],
    [JLT_IMM, 7, 0, 'again', maxPerRun],
    'done',
    [MOV64_REG, 0, 9, 0, 0],
    [EXIT, 0, 0, 0, 0],
  ];
}
