import { cString, toCString } from '../../bytes/text.ts';
import { bpf } from '../../sys/bpf.ts';
import { asm } from '../insn/asm.ts';
import { encodeInsns, type Insn } from '../insn/insn.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { loadProbeProgram } from '../kernel/features.ts';
import type { Kernel } from '../kernel/kernel.ts';

const T = BPF_PROG_TYPE;
const A = BPF_ATTACH_TYPE;
type ProgramTypeName = keyof typeof BPF_PROG_TYPE;
type Attributes = Readonly<Record<string, number>>;

const returnZero: readonly Insn[] = [...asm.movImm(0, 0), ...asm.exit()];

/** Attributes that the smallest program of a type needs. */
const attributes: Readonly<Record<number, Attributes>> = {
  [T.BPF_PROG_TYPE_CGROUP_SOCK_ADDR]: { expected_attach_type: A.BPF_CGROUP_INET4_CONNECT },
  [T.BPF_PROG_TYPE_CGROUP_SOCKOPT]: { expected_attach_type: A.BPF_CGROUP_GETSOCKOPT },
  [T.BPF_PROG_TYPE_SK_LOOKUP]: { expected_attach_type: A.BPF_SK_LOOKUP },
  [T.BPF_PROG_TYPE_LIRC_MODE2]: { expected_attach_type: A.BPF_LIRC_MODE2 },
  [T.BPF_PROG_TYPE_NETFILTER]: { expected_attach_type: A.BPF_NETFILTER },
  [T.BPF_PROG_TYPE_SYSCALL]: { prog_flags: BPF_F.BPF_F_SLEEPABLE },
};

/** Types that only load for a target: the kernel's complaint about a wrong one shows that it knows them. */
const complaints: Readonly<Record<number, { readonly attributes: Attributes; readonly errno: number; readonly log: string }>> = {
  [T.BPF_PROG_TYPE_LSM]: {
    attributes: { expected_attach_type: A.BPF_MODIFY_RETURN, attach_btf_id: 1 },
    errno: 22,
    log: 'attach_btf_id 1 is not a function',
  },
  [T.BPF_PROG_TYPE_EXT]: { attributes: { attach_btf_id: 1 }, errno: 22, log: 'Cannot replace kernel functions' },
  // ENOTSUPP, the kernel's own number.
  [T.BPF_PROG_TYPE_STRUCT_OPS]: { attributes: {}, errno: 524, log: '' },
};

/** What came of loading a program: its descriptor is closed already. */
export interface LoadAttempt {
  /** 0, or the negative errno. */
  readonly result: number;
  readonly log: string;
}

// One buffer for all attempts: there are thousands.
const logBuffer: Uint8Array = new Uint8Array(4096);

/** Loads instructions as a program of a type, with what the type needs, and lets go of it. */
export function attemptLoad(kernel: Kernel, type: number, insns: readonly Insn[], extra: Attributes = {}): LoadAttempt {
  logBuffer.fill(0, 0, 1);
  const result = bpf(kernel.sys, 'BPF_PROG_LOAD', {
    prog_type: type,
    insns: encodeInsns(insns),
    insn_cnt: insns.length,
    license: toCString('GPL'),
    kern_version: kernel.version,
    log_level: 1,
    log_buf: logBuffer,
    log_size: logBuffer.length,
    ...attributes[type],
    ...extra,
  });
  if (result >= 0) kernel.sys.call('close', result);
  // A log that does not fit gives ENOSPC for a program that is fine.
  if (result === -28) return attemptSilently(kernel, type, insns, extra);
  return { result: Math.min(result, 0), log: cString(logBuffer) };
}

function attemptSilently(kernel: Kernel, type: number, insns: readonly Insn[], extra: Attributes): LoadAttempt {
  const attr = { ...attributes[type], ...extra };
  const result = loadProbeProgram(kernel.sys, { type, insns, attr });
  if (result >= 0) kernel.sys.call('close', result);
  return { result: Math.min(result, 0), log: '' };
}

/** Whether programs of a type can be loaded here. */
export function hasProgramType(kernel: Kernel, name: ProgramTypeName): boolean {
  const type = T[name];
  if (type === T.BPF_PROG_TYPE_TRACING) return loadsTracing(kernel);
  const complaint = complaints[type];
  if (complaint === undefined) return attemptLoad(kernel, type, returnZero).result >= 0;
  const { result, log } = attemptLoad(kernel, type, returnZero, complaint.attributes);
  return result === -complaint.errno && log.includes(complaint.log);
}

/** BTF tracepoints need no trampoline: where they load the type is there, whatever else of it is not. */
function loadsTracing(kernel: Kernel): boolean {
  return loadsFor(kernel, T.BPF_PROG_TYPE_TRACING, A.BPF_TRACE_RAW_TP, 'btf_trace_sys_enter', 'TYPEDEF');
}

/** Whether a program loads that is for a type or function of the kernel's BTF. */
export function loadsFor(kernel: Kernel, type: number, attachType: number, target: string, kind: 'FUNC' | 'TYPEDEF'): boolean {
  const id = kernel.vmlinuxBtf()?.findByName(target, kind) ?? null;
  if (id === null) return false;
  return attemptLoad(kernel, type, returnZero, { expected_attach_type: attachType, attach_btf_id: id }).result >= 0;
}

/** Every type that this version of rawbpf knows. */
export const programTypes: readonly ProgramTypeName[] = (Object.keys(T) as ProgramTypeName[]).filter(
  (name) => name !== 'BPF_PROG_TYPE_UNSPEC',
);
