import { bpfCall, bpfError } from '../../sys/bpf.ts';
import { progTestRunAttr } from '../../sys/bpf-attr/index.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import type { BpfProgram } from './program.ts';

/** What a program is run on. */
export interface TestRunOptions {
  /** The packet, for network programs. */
  readonly data?: Uint8Array;
  /** The context structure, for types that take one. */
  readonly context?: Uint8Array;
  /** How often; 1 unless said. */
  readonly repeat?: number;
  readonly cpu?: number;
  /** BPF_F_TEST_* flags: XDP's live frames (BPF_F_TEST_XDP_LIVE_FRAMES) really leave. */
  readonly flags?: number;
  /** Live frames: how many are sent together. */
  readonly batchSize?: number;
  /** Room for the packet after the run, in bytes; the packet's size and 256 more unless said. */
  readonly dataOutSize?: number;
}

/** What came of it. */
export interface TestRunResult {
  /** What the program returned, as an unsigned 32-bit number. */
  readonly returnValue: number;
  /** Average nanoseconds of one run. */
  readonly duration: number;
  readonly data: Uint8Array;
  readonly context: Uint8Array;
}

/** Runs a loaded program once (or often) without attaching it: BPF_PROG_TEST_RUN. */
export function testRun(program: BpfProgram, options: TestRunOptions = {}): TestRunResult {
  const sys = program.kernel.sys;
  // Live frames leave; they do not come back.
  const isLive = ((options.flags ?? 0) & BPF_F.BPF_F_TEST_XDP_LIVE_FRAMES) !== 0;
  const dataOut = options.data === undefined || isLive ? null : new Uint8Array(options.dataOutSize ?? options.data.length + 256);
  // struct_ops aside, types that take a context write it back. Raw tracepoints and syscall programs refuse room for it; these write to
  // where it came from (net/bpf/test_run.c).
  const { BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_SYSCALL } = BPF_PROG_TYPE;
  const inPlace = program.type === BPF_PROG_TYPE_SYSCALL;
  const context = inPlace ? options.context?.slice() : options.context;
  const contextOut =
    context === undefined || inPlace || program.type === BPF_PROG_TYPE_RAW_TRACEPOINT ? null : new Uint8Array(context.length);
  const { result, attr } = bpfCall(sys, 'BPF_PROG_TEST_RUN', {
    prog_fd: program.fd,
    data_in: options.data,
    data_size_in: options.data?.length,
    data_out: dataOut ?? undefined,
    data_size_out: dataOut?.length,
    ctx_in: context,
    ctx_size_in: context?.length,
    ctx_out: contextOut ?? undefined,
    ctx_size_out: contextOut?.length,
    repeat: options.repeat,
    flags: options.flags,
    cpu: options.cpu,
    batch_size: options.batchSize,
  });
  if (result < 0) {
    throw bpfError(sys, 'BPF_PROG_TEST_RUN', result, {
      what: `cannot test-run program ${program.name}`,
      where: { type: program.typeName },
    });
  }
  const out = progTestRunAttr.decode(attr);
  return {
    returnValue: Number(out['retval']),
    duration: Number(out['duration']),
    data: (dataOut ?? new Uint8Array(0)).subarray(0, Number(out['data_size_out'])),
    context: inPlace ? (context ?? new Uint8Array(0)) : (contextOut ?? new Uint8Array(0)).subarray(0, Number(out['ctx_size_out'])),
  };
}
