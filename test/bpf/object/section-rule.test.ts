import t from 'tap';
import { BPF_ATTACH_TYPE, BPF_PROG_TYPE } from '../../../src/bpf/insn/index.ts';
import { findSectionRule, sectionRules } from '../../../src/bpf/object/index.ts';
import { suggestSection } from '../../../src/bpf/object/section-rule.ts';
import { expected, open } from './support.ts';

t.test('section names mean what libbpf says they mean', async (t) => {
  const { programs } = open('sections', { strict: true });
  const want = expected().sections?.programs ?? [];
  t.equal(programs.length, want.length);
  for (const [i, program] of programs.entries()) {
    const { section, type, attachType, autoload, flags, insns } = want[i] ?? {};
    t.equal(program.name, want[i]?.name);
    t.same([program.sectionName.replace(/^\?/, ''), program.type, program.autoload], [section, type, autoload], program.sectionName);
    // USDT programs get theirs when they are linked, for kernels that have uprobe_multi.
    if (program.section?.attach !== 'usdt') t.equal(program.expectedAttachType ?? 0, attachType, program.sectionName);
    if (insns !== null) t.equal(program.flags, flags, program.sectionName);
  }
});

t.test('the first row that matches wins, and a plus stands for the bare name or a slash', async (t) => {
  t.equal(sectionRules().length, 116);
  const rows: [string, string | null, string | null][] = [
    ['kprobe', 'kprobe+', null],
    ['kprobe/', 'kprobe+', ''],
    ['kprobe/a/b', 'kprobe+', 'a/b'],
    ['kprobes', null, null],
    ['?tp/x/y', 'tp+', 'x/y'],
    ['??tp', null, null],
    ['socket', 'socket', null],
    ['socket/x', null, null],
    ['tc/ingress', 'tc/ingress', null],
    ['uprobe.multi.s/a:b', 'uprobe.multi.s+', 'a:b'],
    ['', null, null],
    ['__proto__', null, null],
  ];
  for (const [name, pattern, attachTo] of rows) {
    const match = findSectionRule(name);
    t.equal(match?.rule.pattern ?? null, pattern, name);
    t.equal(match?.attachTo ?? null, attachTo, name);
  }
});

t.test('names of other loaders are taken only without strict', async (t) => {
  const rows: [string, string | null, string | null][] = [
    ['socket1', 'socket', null],
    ['classifier/ingress/drop', 'classifier', 'ingress/drop'],
    ['perf_event/profiler', 'perf_event', 'profiler'],
    ['xdp/drop', 'xdp', 'drop'],
    ['xdp.frags/drop', 'xdp.frags', 'drop'],
    ['tc/ingress/a', 'tc/ingress', 'a'],
    ['tc/anything', 'tc', 'anything'],
    ['cgroup_skb/ingress/a', 'cgroup_skb/ingress', 'a'],
    ['cgroup_skb/other', 'cgroup_skb', 'other'],
    ['xdpdrop', null, null],
    ['kprobes/x', null, null],
    ['nonsense', null, null],
  ];
  for (const [name, pattern, attachTo] of rows) {
    t.equal(findSectionRule(name), null, `${name} is unknown to libbpf`);
    const match = findSectionRule(name, { lax: true });
    t.equal(match?.rule.pattern ?? null, pattern, name);
    t.equal(match?.attachTo ?? null, attachTo, name);
  }
  const lax = open('sections');
  const types = new Map(lax.programs.map(({ name, type }) => [name, type]));
  t.equal(types.get('q01'), BPF_PROG_TYPE.BPF_PROG_TYPE_SOCKET_FILTER);
  t.equal(types.get('q02'), BPF_PROG_TYPE.BPF_PROG_TYPE_SCHED_CLS);
  t.equal(types.get('q05'), BPF_PROG_TYPE.BPF_PROG_TYPE_UNSPEC, 'an unknown section is listed without a type');
});

t.test('an attach type of zero is told from none', async (t) => {
  t.equal(findSectionRule('cgroup_skb/ingress')?.rule.attachType, BPF_ATTACH_TYPE.BPF_CGROUP_INET_INGRESS);
  t.equal(findSectionRule('cgroup/skb')?.rule.attachType, null);
});

t.test('names that are nearly right', async (t) => {
  const rows: readonly (readonly [name: string, text: RegExp])[] = [
    ['tracepont/syscalls/sys_enter_open', /^did you mean tracepoint\/syscalls\/sys_enter_open /],
    ['?kprobee/do_exit', /^did you mean kprobe\/do_exit[ ,?]/],
    ['cgroup/conect4', /^did you mean cgroup\/connect4[ ,?]/],
    ['no such thing at all', /^$/],
  ];
  for (const [name, text] of rows) t.match(suggestSection(name), text, name);
});
