import type { Sys } from '../../sys/sys.ts';
import { asm } from '../insn/asm.ts';
import { encodeInsns, type Insn } from '../insn/insn.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_FUNC } from '../uapi/func.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { toCString } from '../../bytes/text.ts';
import { bpf } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { keepAlive } from './keep-alive.ts';
import { loadProbeBtf, probeBtfs } from './probe-btf.ts';
import { openPmuProbe } from './pmu.ts';

/** Something that kernels have or lack, found out by trying it. The version that brought it stands behind each. */
export type KernelFeature =
  | 'prog_name' // 4.15
  | 'global_data' // 5.2
  | 'btf' // 4.18
  | 'btf_func' // 5.0
  | 'btf_func_global' // 5.6
  | 'btf_datasec' // 5.2
  | 'btf_qmark_datasec' // 6.9
  | 'btf_float' // 5.13
  | 'btf_decl_tag' // 5.16
  | 'btf_type_tag' // 5.17
  | 'btf_enum64' // 6.0
  | 'btf_layout' // 7.1
  | 'array_mmap' // 5.5
  | 'exp_attach_type' // 4.17
  | 'probe_read_kernel' // 5.5
  | 'prog_bind_map' // 5.10
  | 'module_btf' // 5.11
  | 'perf_link' // 5.15
  | 'bpf_cookie' // 5.15
  | 'memcg_account' // 5.11
  | 'syscall_wrapper' // 4.17
  | 'uprobe_multi' // 6.6
  | 'uprobe_syscall' // 6.18, x86-64
  | 'arg_ctx_tag' // 6.8
  | 'ldimm64_full_range_off' // 7.0
  | 'percpu_cpu_flags' // 7.0
  | 'ringbuf'; // 5.8

/** What a probe may ask besides making syscalls. */
export interface ProbeContext {
  readonly sys: Sys;
  readonly pageSize: number;
  /** Whether a kprobe on a symbol could be made through tracefs: where there is no kprobe PMU to ask. */
  readonly canTrace: (symbol: string) => boolean;
}

const returnZero: readonly Insn[] = [...asm.movImm(0, 0), ...asm.exit()];

interface ProbeProgram {
  readonly type: number;
  readonly insns: readonly Insn[];
  readonly attr?: Readonly<Record<string, number | string | Uint8Array>>;
}

/** Loads a small program; returns its descriptor or the negative errno. */
export function loadProbeProgram(sys: Sys, program: ProbeProgram): number {
  return bpf(sys, 'BPF_PROG_LOAD', {
    prog_type: program.type,
    insns: encodeInsns(program.insns),
    insn_cnt: program.insns.length,
    license: toCString('GPL'),
    ...program.attr,
  });
}

function closed(sys: Sys, fd: number): boolean {
  if (fd >= 0) sys.call('close', fd);
  return fd >= 0;
}

function loads(sys: Sys, program: ProbeProgram): boolean {
  return closed(sys, loadProbeProgram(sys, program));
}

/** Creates an array map; returns its descriptor or the negative errno. */
function probeArray(sys: Sys, valueSize: number, flags = 0): number {
  return bpf(sys, 'BPF_MAP_CREATE', {
    map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_ARRAY,
    key_size: 4,
    value_size: valueSize,
    max_entries: 1,
    map_flags: flags,
  });
}

/** Runs `use` with two descriptors that are closed afterwards; false where either could not be had. */
function withBoth(sys: Sys, first: number, second: (first: number) => number, use: (first: number, second: number) => boolean): boolean {
  if (first < 0) return false;
  const other = second(first);
  const answer = other >= 0 && use(first, other);
  closed(sys, other);
  closed(sys, first);
  return answer;
}

const T = BPF_PROG_TYPE;

/** __NR_uprobe of x86-64; other architectures have none. */
const uprobeSyscall = 336;

/** A socket filter that calls a helper without arguments. */
function helperProgram(type: number, helper: number): ProbeProgram {
  return { type, insns: [...asm.call(helper), ...asm.movImm(0, 0), ...asm.exit()] };
}

/** The probes; each makes a few syscalls and leaves nothing behind. */
export const probes: Readonly<Record<KernelFeature, (context: ProbeContext) => boolean>> = {
  prog_name: ({ sys }) => loads(sys, { type: T.BPF_PROG_TYPE_SOCKET_FILTER, insns: returnZero, attr: { prog_name: 'probe' } }),

  global_data: ({ sys }) => {
    const map = probeArray(sys, 32);
    if (map < 0) return false;
    const insns = [...asm.ldMapValue(1, map, 16), ...asm.storeImm('DW', 1, 0, 42), ...returnZero];
    const answer = loads(sys, { type: T.BPF_PROG_TYPE_SOCKET_FILTER, insns });
    closed(sys, map);
    return answer;
  },

  btf: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.int)),
  btf_func: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.func)),
  btf_func_global: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.funcGlobal)),
  btf_datasec: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.datasec)),
  btf_qmark_datasec: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.qmarkDatasec)),
  btf_float: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.float)),
  btf_decl_tag: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.declTag)),
  btf_type_tag: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.typeTag)),
  btf_enum64: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.enum64)),
  btf_layout: ({ sys }) => closed(sys, loadProbeBtf(sys, probeBtfs.layout)),

  array_mmap: ({ sys }) => closed(sys, probeArray(sys, 4, BPF_F.BPF_F_MMAPABLE)),

  exp_attach_type: ({ sys }) =>
    loads(sys, {
      type: T.BPF_PROG_TYPE_CGROUP_SOCK,
      insns: returnZero,
      attr: { expected_attach_type: BPF_ATTACH_TYPE.BPF_CGROUP_INET_SOCK_CREATE },
    }),

  probe_read_kernel: ({ sys }) =>
    loads(sys, {
      type: T.BPF_PROG_TYPE_TRACEPOINT,
      insns: [
        ...asm.movReg(1, 10),
        ...asm.aluImm('ADD', 1, -8),
        ...asm.movImm(2, 8),
        ...asm.movImm(3, 0),
        ...asm.call(BPF_FUNC.BPF_FUNC_probe_read_kernel),
        ...asm.exit(),
      ],
    }),

  prog_bind_map: ({ sys }) =>
    withBoth(
      sys,
      probeArray(sys, 32),
      () => loadProbeProgram(sys, { type: T.BPF_PROG_TYPE_SOCKET_FILTER, insns: returnZero }),
      (map, prog) => bpf(sys, 'BPF_PROG_BIND_MAP', { prog_fd: prog, map_fd: map }) >= 0,
    ),

  module_btf: ({ sys }) => {
    const btf = loadProbeBtf(sys, probeBtfs.int);
    if (btf < 0) return false;
    // Older kernels' struct bpf_btf_info ends before `name`, and bytes past it must be zero.
    const info = new Uint8Array(32);
    const name = new Uint8Array(16);
    new DataView(info.buffer).setBigUint64(16, sys.addressOf(name), true);
    new DataView(info.buffer).setUint32(24, name.length, true);
    const answer = bpf(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: btf, info, info_len: info.length }) >= 0;
    keepAlive(name);
    closed(sys, btf);
    return answer;
  },

  perf_link: ({ sys }) => {
    const prog = loadProbeProgram(sys, { type: T.BPF_PROG_TYPE_TRACEPOINT, insns: returnZero });
    if (prog < 0) return false;
    const link = bpf(sys, 'BPF_LINK_CREATE', { prog_fd: prog, target_fd: 0xffffffff, attach_type: BPF_ATTACH_TYPE.BPF_PERF_EVENT });
    closed(sys, link);
    closed(sys, prog);
    return isErrno(link, 'EBADF');
  },

  bpf_cookie: ({ sys }) => loads(sys, helperProgram(T.BPF_PROG_TYPE_TRACEPOINT, BPF_FUNC.BPF_FUNC_get_attach_cookie)),

  // The helper came with the release that charges BPF memory to the cgroup.
  memcg_account: ({ sys }) => loads(sys, helperProgram(T.BPF_PROG_TYPE_SOCKET_FILTER, BPF_FUNC.BPF_FUNC_ktime_get_coarse_ns)),

  syscall_wrapper: ({ sys, canTrace }) => {
    const symbol = sys.arch === 'x64' ? '__x64_sys_bpf' : '__arm64_sys_bpf';
    const event = openPmuProbe(sys, { pmu: 'kprobe', name: symbol, offset: 0n, ret: false, pid: -1, cpu: 0 });
    if (event.ok) return closed(sys, event.fd);
    // Without any kprobes nobody can tell: no, as with libbpf.
    return event.missingPmu && canTrace(symbol);
  },

  uprobe_multi: ({ sys }) => {
    const type = BPF_ATTACH_TYPE.BPF_TRACE_UPROBE_MULTI;
    const prog = loadProbeProgram(sys, { type: T.BPF_PROG_TYPE_KPROBE, insns: returnZero, attr: { expected_attach_type: type } });
    if (prog < 0) return false;
    const attempt = (pid: number): number => {
      const link = bpf(sys, 'BPF_LINK_CREATE', {
        prog_fd: prog,
        target_fd: 0xffffffff,
        attach_type: type,
        'uprobe_multi.path': toCString('/'),
        'uprobe_multi.offsets': new Uint8Array(8),
        'uprobe_multi.cnt': 1,
        'uprobe_multi.pid': pid,
      });
      closed(sys, link);
      return link;
    };
    // A directory cannot be probed: EBADF. Kernels that filter threads where processes are meant take pid -1 for real.
    const answer = isErrno(attempt(0), 'EBADF') && isErrno(attempt(0xffffffff), 'EINVAL');
    closed(sys, prog);
    return answer;
  },

  // uprobe(2), which only the kernel's own trampolines may call: from anywhere else it is ENXIO.
  uprobe_syscall: ({ sys }) => sys.arch === 'x64' && isErrno(sys.backend.syscall(uprobeSyscall, []), 'ENXIO'),

  arg_ctx_tag: ({ sys }) => {
    const btf = loadProbeBtf(sys, probeBtfs.argCtxTag);
    if (btf < 0) return false;
    const funcInfo = new Uint8Array(new Uint32Array([0, 4, 2, 6]).buffer);
    const answer = loads(sys, {
      type: T.BPF_PROG_TYPE_KPROBE,
      insns: [...asm.callSubprogram(1), ...asm.exit(), ...asm.call(BPF_FUNC.BPF_FUNC_get_func_ip), ...asm.exit()],
      attr: { prog_btf_fd: btf, func_info: funcInfo, func_info_rec_size: 8, func_info_cnt: 2 },
    });
    closed(sys, btf);
    return answer;
  },

  ldimm64_full_range_off: ({ sys }) => {
    const map = probeArray(sys, 1);
    if (map < 0) return false;
    const log = new Uint8Array(1024);
    const prog = loadProbeProgram(sys, {
      type: T.BPF_PROG_TYPE_SOCKET_FILTER,
      insns: [...asm.ldMapValue(1, map, 1 << 30), ...asm.exit()],
      attr: { log_level: 1, log_buf: log, log_size: log.length },
    });
    closed(sys, prog);
    closed(sys, map);
    // The old limit names the offset; without it the access itself is out of bounds.
    const text = Buffer.from(log).toString('latin1');
    return prog < 0 && text.includes('invalid access to map value pointer') && !text.includes('direct value offset of');
  },

  percpu_cpu_flags: ({ sys }) => {
    const attr = { map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_PERCPU_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
    const map = bpf(sys, 'BPF_MAP_CREATE', attr);
    if (map < 0) return false;
    // The flag is looked at first, then the CPU's number, which no machine has (bpf_map_check_op_flags).
    const flags = (0xffffffffn << 32n) | BigInt(BPF_F.BPF_F_CPU);
    const result = bpf(sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map, key: new Uint8Array(4), value: new Uint8Array(4), flags });
    closed(sys, map);
    return isErrno(result, 'ERANGE');
  },

  ringbuf: ({ sys, pageSize }) =>
    closed(sys, bpf(sys, 'BPF_MAP_CREATE', { map_type: BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF, max_entries: pageSize })),
};
