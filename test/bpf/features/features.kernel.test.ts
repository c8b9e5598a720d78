import t from 'tap';
import { readdirSync } from 'node:fs';
import { kernelFeatures } from '../../../src/bpf/features/report.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { createBackend, hostArch } from '../../../src/sys/default-sys.ts';
import { FaultInjector } from '../../../src/sys/fault-injector.ts';
import { Sys } from '../../../src/sys/sys.ts';
import { bpftool } from '../bpftool.ts';

interface Probed {
  readonly program_types: Readonly<Record<string, boolean>>;
  readonly map_types: Readonly<Record<string, boolean>>;
  readonly helpers: Readonly<Record<string, readonly string[]>>;
  readonly misc: Readonly<Record<string, boolean>>;
}

t.test('the same as bpftool feature probe', { timeout: 60_000 }, async (t) => {
  const fds = readdirSync('/proc/self/fd').length;
  const kernel = new Kernel();
  const report = kernelFeatures(kernel);
  kernel.close();
  t.equal(readdirSync('/proc/self/fd').length, fds, 'nothing stays open');
  const probed = bpftool('feature', 'probe') as Probed;
  let compared = 0;
  for (const { name, supported } of report.programTypes) {
    const theirs = probed.program_types[`have_${name.slice('BPF_PROG_TYPE_'.length).toLowerCase()}_prog_type`];
    // bpftool tries tracing by a trampoline; BTF tracepoints load without.
    if (theirs === undefined || (name === 'BPF_PROG_TYPE_TRACING' && supported)) continue;
    compared++;
    t.equal(supported, theirs, name);
  }
  for (const { name, supported } of report.mapTypes) {
    const theirs = probed.map_types[`have_${name.slice('BPF_MAP_TYPE_'.length).toLowerCase()}_map_type`];
    if (theirs === undefined) continue;
    compared++;
    t.equal(supported, theirs, name);
  }
  const known = new Set(Object.values(probed.helpers).flat());
  for (const { programType, helpers } of report.helpers) {
    const theirs = probed.helpers[`${programType.slice('BPF_PROG_TYPE_'.length).toLowerCase()}_available_helpers`];
    if (theirs === undefined || helpers === null || helpers.length === 0) continue;
    compared++;
    const ours = helpers.map((helper) => helper.replace('BPF_FUNC_', 'bpf_')).filter((helper) => known.has(helper));
    // Verifiers from 6.11 on word the refusal anew, which bpftool 7.1 takes for a yes: it may only know more.
    const extra = ours.filter((helper) => !theirs.includes(helper));
    t.same(extra, [], `helpers of ${programType}`);
  }
  const may = (type: string, helper: string): boolean | undefined =>
    report.helpers
      .find(({ programType }) => programType === `BPF_PROG_TYPE_${type}`)
      ?.helpers?.some((name) => name === `BPF_FUNC_${helper}`);
  // From the kernel's tables: xdp_func_proto(), tc_cls_act_func_proto(), sk_filter_func_proto(), bpf_tracing_func_proto().
  const facts: readonly (readonly [type: string, helper: string, allowed: boolean])[] = [
    ['XDP', 'xdp_adjust_head', true],
    ['SOCKET_FILTER', 'xdp_adjust_head', false],
    ['SCHED_CLS', 'clone_redirect', true],
    ['SOCKET_FILTER', 'clone_redirect', false],
    ['SOCKET_FILTER', 'skb_load_bytes', true],
    ['TRACEPOINT', 'skb_load_bytes', false],
    ['TRACEPOINT', 'get_stackid', true],
    ['XDP', 'get_stackid', false],
    ['PERF_EVENT', 'perf_prog_read_value', true],
    ['KPROBE', 'perf_prog_read_value', false],
    ['SK_LOOKUP', 'sk_assign', true],
    ['KPROBE', 'map_lookup_elem', true],
  ];
  for (const [type, helper, allowed] of facts) t.equal(may(type, helper), allowed, `${type} ${helper}`);
  t.equal(report.instructions.large_programs, probed.misc['have_large_insn_limit']);
  t.equal(report.instructions.bounded_loops, probed.misc['have_bounded_loops']);
  t.equal(report.instructions.v2, probed.misc['have_v2_isa_extension']);
  t.equal(report.instructions.v3, probed.misc['have_v3_isa_extension']);
  t.ok(compared > 60, `${compared} answers compared`);
  t.equal(report.attach.find(({ kind }) => kind === 'raw_tracepoint')?.supported, true);
});

t.test('a process that may not use BPF', async (t) => {
  const faults = new FaultInjector(createBackend(), hostArch(), [{ when: ({ name }) => name === 'bpf', errno: 'EPERM' }]);
  t.throws(() => kernelFeatures(new Kernel({ sys: new Sys(faults, hostArch()) })), { code: 'E_BPF_REFUSED' });
});
