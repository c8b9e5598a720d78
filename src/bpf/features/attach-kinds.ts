import { existsSync } from 'node:fs';
import { bpf } from '../../sys/bpf.ts';
import { errnoName } from '../../sys/errno.ts';
import { versionCode } from '../../sys/kernel-version.ts';
import { perfEventOpen } from '../../sys/perf-event.ts';
import { toCString } from '../../bytes/text.ts';
import { BTF_KIND } from '../../btf/types.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { PERF_COUNT_SW, PERF_TYPE } from '../uapi/perf.gen.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { asm } from '../insn/asm.ts';
import { loadProbeProgram } from '../kernel/features.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { tracepointId } from '../link/tracepoint.ts';
import { attemptLoad, loadsFor } from './program-types.ts';

/** Whether a way of attaching works here. */
export interface AttachSupport {
  readonly kind: string;
  readonly supported: boolean;
  /** What it rests on, or why not. */
  readonly detail: string;
}

const T = BPF_PROG_TYPE;
const A = BPF_ATTACH_TYPE;
const returnZero = [...asm.movImm(0, 0), ...asm.exit()];
/** No descriptor and no device has this number. */
const nobody = 0x7fffffff;

type Probe = (kernel: Kernel) => { readonly supported: boolean; readonly detail: string };

/** Tries to make a link to nothing: `expected` is how a kernel that knows the hook complains. */
function linkProbe(type: number, attachType: number, expected: readonly string[], attr: Readonly<Record<string, number>>): Probe {
  return (kernel) => {
    const prog = loadProbeProgram(kernel.sys, { type, insns: returnZero, attr: { expected_attach_type: attachType } });
    if (prog < 0) return { supported: false, detail: `its program type does not load: ${errnoName(prog)}` };
    const link = bpf(kernel.sys, 'BPF_LINK_CREATE', { prog_fd: prog, attach_type: attachType, ...attr });
    if (link >= 0) kernel.sys.call('close', link);
    kernel.sys.call('close', prog);
    const supported = link >= 0 || expected.includes(errnoName(link));
    return { supported, detail: supported ? 'link' : `no link: ${errnoName(link)}` };
  };
}

function pmu(name: 'kprobe' | 'uprobe'): Probe {
  return () => {
    const supported = existsSync(`/sys/bus/event_source/devices/${name}/type`);
    return {
      supported,
      detail: supported ? `perf event of the ${name} PMU` : `no ${name} PMU: CONFIG_${name.toUpperCase()}_EVENTS is off`,
    };
  };
}

function feature(supported: boolean, yes: string, no: string): { supported: boolean; detail: string } {
  return { supported, detail: supported ? yes : no };
}

const fd = { target_fd: nobody };
const device = { target_ifindex: nobody };

/** In the order of the section table. */
const probes: Readonly<Record<string, Probe>> = {
  tracepoint: (kernel) => {
    try {
      tracepointId(kernel, 'sched/sched_process_exec');
      return { supported: true, detail: kernel.has('perf_link') ? 'perf link' : 'ioctl on a perf event' };
    } catch (error) {
      return { supported: false, detail: error instanceof Error ? error.message : String(error) };
    }
  },
  raw_tracepoint: (kernel) => {
    const { result } = attemptLoad(kernel, T.BPF_PROG_TYPE_RAW_TRACEPOINT, returnZero);
    return feature(result >= 0, 'link', `programs do not load: ${errnoName(result)}`);
  },
  tp_btf: (kernel) =>
    feature(
      loadsFor(kernel, T.BPF_PROG_TYPE_TRACING, A.BPF_TRACE_RAW_TP, 'btf_trace_sys_enter', 'TYPEDEF'),
      'link',
      'programs do not load',
    ),
  fentry: (kernel) =>
    feature(
      loadsFor(kernel, T.BPF_PROG_TYPE_TRACING, A.BPF_TRACE_FENTRY, 'vfs_read', 'FUNC'),
      'trampoline',
      'programs do not load: no trampolines',
    ),
  lsm: (kernel) =>
    feature(
      loadsFor(kernel, T.BPF_PROG_TYPE_LSM, A.BPF_LSM_MAC, 'bpf_lsm_file_open', 'FUNC'),
      'trampoline',
      'programs do not load: no BPF LSM, or no trampolines',
    ),
  iter: (kernel) =>
    feature(loadsFor(kernel, T.BPF_PROG_TYPE_TRACING, A.BPF_TRACE_ITER, 'bpf_iter_task', 'FUNC'), 'link', 'programs do not load'),
  kprobe: pmu('kprobe'),
  'kprobe.multi': (kernel) => {
    const type = A.BPF_TRACE_KPROBE_MULTI;
    const prog = loadProbeProgram(kernel.sys, { type: T.BPF_PROG_TYPE_KPROBE, insns: returnZero, attr: { expected_attach_type: type } });
    if (prog < 0) return { supported: false, detail: `programs do not load: ${errnoName(prog)}` };
    const name = toCString('rawbpf_no_such_function');
    const names = new Uint8Array(BigUint64Array.of(kernel.sys.addressOf(name)).buffer);
    const attr = { prog_fd: prog, attach_type: type, 'kprobe_multi.syms': names, 'kprobe_multi.cnt': 1 };
    const link = bpf(kernel.sys, 'BPF_LINK_CREATE', attr);
    kernel.sys.call('close', prog);
    if (link >= 0) kernel.sys.call('close', link);
    return feature(name.length > 0 && errnoName(link) === 'ESRCH', 'link', `no link: ${errnoName(link)}`);
  },
  uprobe: pmu('uprobe'),
  'uprobe.multi': (kernel) => feature(kernel.has('uprobe_multi'), 'link', 'no link of this kind'),
  perf_event: (kernel) => {
    const attr = { type: PERF_TYPE.PERF_TYPE_SOFTWARE, config: PERF_COUNT_SW.PERF_COUNT_SW_CPU_CLOCK, sample_freq: 1 };
    const event = perfEventOpen(kernel.sys, { attr, bits: { freq: 1, disabled: 1 }, cpu: 0 });
    if (event >= 0) kernel.sys.call('close', event);
    return feature(event >= 0, 'perf events', `no perf events: ${errnoName(event)}`);
  },
  cgroup: linkProbe(T.BPF_PROG_TYPE_CGROUP_SKB, A.BPF_CGROUP_INET_EGRESS, ['EBADF'], fd),
  xdp: (kernel) => {
    // A wrong device gives EINVAL, as a kernel without XDP links does: the type that holds one tells.
    const supported = (kernel.vmlinuxBtf()?.findByName('bpf_xdp_link', 'STRUCT') ?? null) !== null || kernel.version >= versionCode(5, 9);
    return feature(supported, 'link', 'netlink only');
  },
  tcx: linkProbe(T.BPF_PROG_TYPE_SCHED_CLS, A.BPF_TCX_INGRESS, ['ENODEV'], device),
  netkit: linkProbe(T.BPF_PROG_TYPE_SCHED_CLS, A.BPF_NETKIT_PRIMARY, ['ENODEV'], device),
  sk_lookup: linkProbe(T.BPF_PROG_TYPE_SK_LOOKUP, A.BPF_SK_LOOKUP, ['EBADF', 'EINVAL'], fd),
  netfilter: linkProbe(T.BPF_PROG_TYPE_NETFILTER, A.BPF_NETFILTER, ['EAFNOSUPPORT'], { 'netfilter.pf': 99 }),
  sockmap: linkProbe(T.BPF_PROG_TYPE_SK_SKB, A.BPF_SK_SKB_VERDICT, ['EBADF'], fd),
  struct_ops: (kernel) => {
    const btf = kernel.vmlinuxBtf();
    const names: string[] = [];
    if (btf === null) return feature(false, '', 'the kernel has no BTF');
    for (let id = btf.firstId; id < btf.typeCount; id++) {
      if (btf.kindOf(id) !== BTF_KIND.STRUCT || !btf.nameOf(id).startsWith('bpf_struct_ops_')) continue;
      const type = btf.type(id);
      // The kernel's wrapper: struct bpf_struct_ops_NAME { common; struct NAME data; }.
      if (type.kind === 'STRUCT' && type.members.length === 2 && type.members[1]?.name === 'data') names.push(type.name.slice(15));
    }
    return feature(names.length > 0, names.join(', '), 'the kernel has none');
  },
};

/** Tries every way of attaching; nothing stays attached. */
export function attachSupport(kernel: Kernel): AttachSupport[] {
  return Object.entries(probes).map(([kind, probe]) => ({ kind, ...probe(kernel) }));
}
