import { readFileSync } from 'node:fs';
import t from 'tap';
import { Btf } from '../../src/btf/btf.ts';
import type { BtfMember } from '../../src/btf/types.ts';
import type { StructLayout } from '../../src/bytes/struct.ts';
import * as uapi from '../../src/bpf/uapi/index.ts';
import { BPF_ATTR, btfInfo, iterLinkInfo, linkInfo, mapInfo, progInfo } from '../../src/sys/bpf-attr/index.ts';
import { kernelVersion, versionCode } from '../../src/sys/kernel-version.ts';
import { PERF_ATTR_BITS, perfEventAttr, perfMmapPage } from '../../src/sys/perf-attr.ts';

type Assert = Pick<typeof t, 'equal' | 'same' | 'comment'>;

// A loaded machine may take long over all of it.
t.setTimeout(110_000);

const btf = Btf.parse(new Uint8Array(readFileSync('/sys/kernel/btf/vmlinux')));

/** A member of a kernel struct with its path (`kprobe_multi.syms`), the names of anonymous structs left out. */
interface Placed {
  readonly path: string;
  readonly bitOffset: number;
  readonly bits: number;
}

function strip(id: number): number {
  for (;;) {
    const type = btf.type(id);
    if (type.kind !== 'TYPEDEF' && type.kind !== 'CONST' && type.kind !== 'VOLATILE') return id;
    id = type.typeId;
  }
}

function bitsOf(id: number): number {
  const type = btf.type(strip(id));
  if (type.kind === 'ARRAY') return type.count * bitsOf(type.typeId);
  if (type.kind === 'PTR') return 64;
  return 'size' in type ? type.size * 8 : 0;
}

function place(members: readonly BtfMember[], prefix: string, base: number, into: Placed[]): Placed[] {
  for (const member of members) {
    const type = btf.type(strip(member.typeId));
    const path = prefix + member.name;
    const bitOffset = base + member.bitOffset;
    if (type.kind !== 'STRUCT' && type.kind !== 'UNION') into.push({ path, bitOffset, bits: member.bitSize || bitsOf(member.typeId) });
    else place(type.members, member.name === '' ? prefix : `${path}.`, bitOffset, into);
  }
  return into;
}

function membersOf(name: string): readonly BtfMember[] {
  for (const id of btf.findAll(name)) {
    const type = btf.type(id);
    if (type.kind === 'STRUCT' || type.kind === 'UNION') return type.members;
  }
  throw new Error(`the kernel has no struct ${name}`);
}

/** Compares every field of a table that the kernel has; returns those that only one of them has. */
function compare(test: Assert, layout: StructLayout, kernel: readonly Placed[]): { ours: string[]; kernels: string[] } {
  const byPath = new Map(kernel.map((field) => [field.path, field]));
  const ours: string[] = [];
  for (const field of layout.fields) {
    const found = byPath.get(field.name);
    if (found === undefined) ours.push(`${layout.name}: ${field.name}`);
    else test.same([found.bitOffset, found.bits], [field.offset * 8, field.size * 8], `${layout.name}: ${field.name}`);
    byPath.delete(field.name);
  }
  return { ours, kernels: [...byPath.keys()].map((path) => `${layout.name}: ${path}`) };
}

// Younger than 6.18.
const younger = new Set([
  'bpf_attr.link_create: uprobe_multi.path_fd',
  'bpf_attr.link_create: tracing_multi.ids',
  'bpf_attr.link_create: tracing_multi.cookies',
  'bpf_attr.link_create: tracing_multi.cnt',
  'bpf_attr.prog_assoc_struct_ops: map_fd',
  'bpf_attr.prog_assoc_struct_ops: prog_fd',
  'bpf_attr.prog_assoc_struct_ops: flags',
  'bpf_link_info: tracing_multi.attach_type',
  'bpf_link_info: tracing_multi.count',
  'bpf_link_info: tracing_multi.btf_obj_id',
  'bpf_link_info: tracing_multi.ids',
  'bpf_link_info: tracing_multi.addrs',
  'bpf_link_info: tracing_multi.cookies',
  'perf_event_attr: config4',
]);
const complete = kernelVersion() >= versionCode(6, 18) && kernelVersion() < versionCode(6, 19);

function judge(test: Assert, { ours, kernels }: { ours: string[]; kernels: string[] }): void {
  if (!complete) return test.comment(`kernel is not 6.18: only in the tables ${ours.join(', ')}; only in the kernel ${kernels.join(', ')}`);
  test.same(
    ours.filter((field) => !younger.has(field)),
    [],
    'the kernel has every field of the table',
  );
  test.same(kernels, [], 'the table has every field of the kernel');
}

void t.test('union bpf_attr', async (test) => {
  const members = membersOf('bpf_attr');
  const anonymous = members.filter((member) => member.name === '').map((member) => place([member], '', 0, []));
  for (const layout of new Set(Object.values(BPF_ATTR))) {
    const arm = layout.name.split('.')[1];
    const names = new Set(layout.fields.map((field) => field.name));
    const known = (fields: readonly Placed[]): number => fields.filter((field) => names.has(field.path)).length;
    const named = arm === undefined ? undefined : members.find((member) => member.name === arm);
    const arms = arm === undefined ? anonymous.toSorted((a, b) => known(b) - known(a)) : [];
    const kernel =
      named === undefined
        ? (arms[0] ?? [])
        : place([named], '', 0, []).map((field) => ({ ...field, path: field.path.slice(`${arm}.`.length) }));
    judge(test, compare(test, layout, kernel));
  }
});

void t.test('info structs', async (test) => {
  for (const layout of [mapInfo, btfInfo, linkInfo, iterLinkInfo])
    judge(test, compare(test, layout, place(membersOf(layout.name), '', 0, [])));
  const kernel = place(membersOf('bpf_prog_info'), '', 0, []);
  const gpl = kernel.find((field) => field.path === 'gpl_compatible');
  test.equal(
    gpl?.bitOffset,
    (progInfo.fields.find((field) => field.name === 'gpl_flags')?.offset ?? 0) * 8,
    'gpl_compatible is bit 0 of gpl_flags',
  );
  judge(
    test,
    compare(
      test,
      progInfo,
      kernel.map((field) => (field.path === 'gpl_compatible' ? { ...field, path: 'gpl_flags', bits: 32 } : field)),
    ),
  );
});

void t.test('perf structs', async (test) => {
  const kernel = place(membersOf('perf_event_attr'), '', 0, []);
  const bits = kernel.filter((field) => field.bitOffset >= 320 && field.bitOffset < 384 && !field.path.startsWith('__'));
  for (const { path, bitOffset, bits: width } of bits) {
    test.same(PERF_ATTR_BITS[path as keyof typeof PERF_ATTR_BITS], [bitOffset - 320, width], `perf_event_attr: ${path}`);
  }
  test.ok(bits.length >= 30);
  const rest = kernel.filter(
    (field) => (field.bitOffset < 320 || field.bitOffset >= 384) && !/^__reserved|^aux_(start_paused|pause|resume)$/.test(field.path),
  );
  judge(test, compare(test, perfEventAttr, [...rest, { path: 'flags', bitOffset: 320, bits: 64 }]));
  const page = place(membersOf('perf_event_mmap_page'), '', 0, []).filter((field) => !/^__reserved|^cap_/.test(field.path));
  judge(test, compare(test, perfMmapPage, page));
});

void t.test('constants', async (test) => {
  const enums: readonly [string, uapi.ConstantTable][] = [
    ['bpf_cmd', uapi.BPF_CMD],
    ['bpf_map_type', uapi.BPF_MAP_TYPE],
    ['bpf_prog_type', uapi.BPF_PROG_TYPE],
    ['bpf_attach_type', uapi.BPF_ATTACH_TYPE],
    ['bpf_link_type', uapi.BPF_LINK_TYPE],
    ['bpf_perf_event_type', uapi.BPF_PERF_EVENT_TYPE],
    ['bpf_task_fd_type', uapi.BPF_TASK_FD_TYPE],
    ['bpf_func_id', uapi.BPF_FUNC],
    ['bpf_stats_type', uapi.BPF_STATS_TYPE],
    ['bpf_cgroup_iter_order', uapi.BPF_CGROUP_ITER_ORDER],
    ['perf_type_id', uapi.PERF_TYPE],
    ['perf_hw_id', uapi.PERF_COUNT_HW],
    ['perf_sw_ids', uapi.PERF_COUNT_SW],
    ['perf_event_sample_format', uapi.PERF_SAMPLE],
    ['perf_event_read_format', uapi.PERF_FORMAT],
    ['perf_event_type', uapi.PERF_RECORD],
  ];
  for (const [name, table] of enums) {
    const id = btf.findAll(name)[0];
    if (id === undefined) {
      test.comment(`no enum ${name} in this kernel's BTF`);
      continue;
    }
    const type = btf.type(id);
    if (type.kind !== 'ENUM') throw new Error(`${name} is no enum`);
    const kernel = type.values.filter((value) => !/^__|^MAX_|_MAX$/.test(value.name));
    test.same(
      kernel.filter((value) => table[value.name] !== Number(value.value)).map((value) => value.name),
      [],
      `every constant of enum ${name}`,
    );
  }
  const flags = new Map<string, number>();
  for (let id = 1; id < btf.typeCount; id++) {
    if (btf.kindOf(id) !== 6 && btf.kindOf(id) !== 19) continue;
    const type = btf.type(id);
    if (type.kind !== 'ENUM' && type.kind !== 'ENUM64') continue;
    for (const value of type.values) if (value.name.startsWith('BPF_F_')) flags.set(value.name, Number(value.value));
  }
  const ours: uapi.ConstantTable = uapi.BPF_F;
  // Not of the user interface: net/core/filter.c and include/linux/filter.h.
  for (const name of ['BPF_F_PAD_ZEROS', 'BPF_F_NEIGH', 'BPF_F_PEER', 'BPF_F_NEXTHOP']) flags.delete(name);
  // Before ENUM64 (Linux 6.0) BTF has the low 32 bits of a constant only, signed or not.
  const unlike = [...flags]
    .filter(([name, value]) => (ours[name] ?? NaN) % 2 ** 32 !== value % 2 ** 32 && ours[name] !== value - 2 ** 32)
    .map(([name]) => name);
  test.ok(flags.size > (complete ? 60 : 20));
  test.same(unlike, [], 'every BPF_F_* of the kernel’s enums');
});
