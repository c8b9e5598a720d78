import { BPF_LINK_TYPE as T } from '../uapi/link-type.gen.ts';
import type { LinkKind } from './link.ts';

/** What is known of a type of link. */
export interface LinkType {
  readonly kind: LinkKind;
  /** The arm of struct bpf_link_info's union that belongs to it. */
  readonly arm: string;
}

/** By BPF_LINK_TYPE_*. */
export const linkTypes: Readonly<Record<number, LinkType>> = {
  [T.BPF_LINK_TYPE_RAW_TRACEPOINT]: { kind: 'raw_tracepoint', arm: 'raw_tracepoint' },
  [T.BPF_LINK_TYPE_TRACING]: { kind: 'tracing', arm: 'tracing' },
  [T.BPF_LINK_TYPE_CGROUP]: { kind: 'cgroup', arm: 'cgroup' },
  [T.BPF_LINK_TYPE_ITER]: { kind: 'iter', arm: 'iter' },
  [T.BPF_LINK_TYPE_NETNS]: { kind: 'netns', arm: 'netns' },
  [T.BPF_LINK_TYPE_XDP]: { kind: 'xdp', arm: 'xdp' },
  [T.BPF_LINK_TYPE_PERF_EVENT]: { kind: 'perf_event', arm: 'perf_event' },
  [T.BPF_LINK_TYPE_KPROBE_MULTI]: { kind: 'kprobe_multi', arm: 'kprobe_multi' },
  [T.BPF_LINK_TYPE_STRUCT_OPS]: { kind: 'struct_ops', arm: 'struct_ops' },
  [T.BPF_LINK_TYPE_NETFILTER]: { kind: 'netfilter', arm: 'netfilter' },
  [T.BPF_LINK_TYPE_TCX]: { kind: 'tcx', arm: 'tcx' },
  [T.BPF_LINK_TYPE_UPROBE_MULTI]: { kind: 'uprobe_multi', arm: 'uprobe_multi' },
  [T.BPF_LINK_TYPE_NETKIT]: { kind: 'netkit', arm: 'netkit' },
  [T.BPF_LINK_TYPE_SOCKMAP]: { kind: 'sockmap', arm: 'sockmap' },
  [T.BPF_LINK_TYPE_TRACING_MULTI]: { kind: 'tracing_multi', arm: 'tracing_multi' },
};
