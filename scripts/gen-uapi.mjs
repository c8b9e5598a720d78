// Writes src/bpf/uapi/*.gen.ts: the numbers of the kernel's BPF and perf interface, as `as const` tables.
// Usage: node scripts/gen-uapi.mjs INCLUDE_DIR    (a folder with linux/bpf.h and linux/perf_event.h; needs gcc)
// The values come from the compiler: the enum and macro names are listed by the preprocessor, then a program prints them.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const include = process.argv[2];
if (include === undefined) {
  console.error('usage: node scripts/gen-uapi.mjs INCLUDE_DIR');
  process.exit(2);
}
const work = mkdtempSync(join(tmpdir(), 'gen-uapi-'));
const cpp = (header, ...flags) =>
  execFileSync('gcc', ['-E', '-P', ...flags, `-I${include}`, '-include', `linux/${header}`, '-x', 'c', '/dev/null'], { encoding: 'utf8' });

/** All enums of a header in order: [{ name, constants }]; an anonymous enum's name is ''. */
function enumsOf(header) {
  return [...cpp(header).matchAll(/\benum\s*(\w*)\s*\{([^}]*)\}/g)].map(([, name, body]) => ({
    name,
    constants: body
      .split(',')
      .map((item) => /^\s*(\w+)/.exec(item)?.[1])
      .filter((item) => item !== undefined && !item.startsWith('__MAX')),
  }));
}

/** Names of object-like macros of the header itself. */
function macrosOf(header, pattern) {
  return [...readFileSync(join(include, 'linux', header), 'utf8').matchAll(/^#define[ \t]+(\w+)[ \t]+\S/gm)]
    .map((m) => m[1])
    .filter((name) => pattern.test(name));
}

function valuesOf(header, names) {
  const source = join(work, 'values.c');
  const lines = names.map((name) => `  printf("%lld\\n", (long long)(${name}));`);
  writeFileSync(
    source,
    `#include <stdio.h>\n#include <sys/ioctl.h>\n#include <linux/${header}>\nint main(void) {\n${lines.join('\n')}\n}\n`,
  );
  const program = join(work, 'values');
  execFileSync('gcc', ['-w', `-I${include}`, '-o', program, source]);
  const values = execFileSync(program, { encoding: 'utf8' }).trim().split('\n').map(Number);
  for (const value of values) if (!Number.isSafeInteger(value)) throw new Error(`${value} is not exact`);
  return new Map(names.map((name, i) => [name, values[i]]));
}

function table(constant, about, names, values) {
  const rows = [...new Set(names)].map((name) => `  ${name}: ${values.get(name)},`);
  return `/** ${about} */\nexport const ${constant} = {\n${rows.join('\n')}\n} as const;\n`;
}

function write(file, header, tables) {
  const values = valuesOf(header, [...new Set(tables.flatMap((entry) => entry[2]))]);
  const text = tables.map(([constant, about, names]) => table(constant, about, names, values)).join('\n');
  writeFileSync(
    new URL(`../src/bpf/uapi/${file}.gen.ts`, import.meta.url),
    `// Made by scripts/gen-uapi.mjs from include/uapi/linux/${header}; do not edit.\n\n${text}`,
  );
}

const bpf = enumsOf('bpf.h');
const named = (name) => {
  const found = bpf.find((entry) => entry.name === name);
  if (found === undefined) throw new Error(`bpf.h has no enum ${name}`);
  return found.constants;
};
// Some enums have no name, and get one in a later kernel, as that of bpf_skb_adjust_room's flags did.
const constantsLike = (pattern, list = bpf) => list.flatMap((entry) => entry.constants).filter((name) => pattern.test(name));

write('cmd', 'bpf.h', [['BPF_CMD', 'Commands of bpf(2): enum bpf_cmd.', named('bpf_cmd')]]);
write('map-type', 'bpf.h', [['BPF_MAP_TYPE', 'Map types: enum bpf_map_type.', named('bpf_map_type')]]);
write('prog-type', 'bpf.h', [['BPF_PROG_TYPE', 'Program types: enum bpf_prog_type.', named('bpf_prog_type')]]);
write('attach-type', 'bpf.h', [['BPF_ATTACH_TYPE', 'Attach types: enum bpf_attach_type.', named('bpf_attach_type')]]);
write('link-type', 'bpf.h', [
  ['BPF_LINK_TYPE', 'Link types: enum bpf_link_type.', named('bpf_link_type')],
  ['BPF_PERF_EVENT_TYPE', 'Kinds of perf event links: enum bpf_perf_event_type.', named('bpf_perf_event_type')],
  ['BPF_TASK_FD_TYPE', 'What BPF_TASK_FD_QUERY finds: enum bpf_task_fd_type.', named('bpf_task_fd_type')],
]);
write('func', 'bpf.h', [['BPF_FUNC', 'Helper functions: enum bpf_func_id.', named('bpf_func_id')]]);
write('flags', 'bpf.h', [
  [
    'BPF_F',
    'Every BPF_F_* flag; which call takes it stands in linux/bpf.h.',
    [...constantsLike(/^BPF_F_/), ...macrosOf('bpf.h', /^BPF_F_/).filter((name) => name !== 'BPF_F_ADJ_ROOM_ENCAP_L2')],
  ],
  ['BPF_UPDATE', 'Flags of map updates.', ['BPF_ANY', 'BPF_NOEXIST', 'BPF_EXIST', 'BPF_F_LOCK']],
  ['BPF_STATS_TYPE', 'What BPF_ENABLE_STATS counts: enum bpf_stats_type.', named('bpf_stats_type')],
  ['BPF_RINGBUF', 'Ring buffer bits, header size and queries.', constantsLike(/^BPF_(RB|RINGBUF)_/)],
  ['BPF_CGROUP_ITER_ORDER', 'Order of a cgroup iterator: enum bpf_cgroup_iter_order.', named('bpf_cgroup_iter_order')],
  ['BPF_PSEUDO', 'Meanings of src_reg in ldimm64 and call instructions.', macrosOf('bpf.h', /^BPF_PSEUDO_/)],
]);

const perf = enumsOf('perf_event.h');
const perfNamed = (name) => perf.find((entry) => entry.name === name).constants.filter((constant) => !constant.endsWith('_MAX'));
write('perf', 'perf_event.h', [
  ['PERF_TYPE', 'Kinds of events: enum perf_type_id.', perfNamed('perf_type_id')],
  ['PERF_COUNT_HW', 'Hardware events: enum perf_hw_id.', perfNamed('perf_hw_id')],
  ['PERF_COUNT_HW_CACHE', 'Caches: enum perf_hw_cache_id.', perfNamed('perf_hw_cache_id')],
  ['PERF_COUNT_HW_CACHE_OP', 'Operations on a cache: enum perf_hw_cache_op_id.', perfNamed('perf_hw_cache_op_id')],
  [
    'PERF_COUNT_HW_CACHE_RESULT',
    'Results of an operation on a cache: enum perf_hw_cache_op_result_id.',
    perfNamed('perf_hw_cache_op_result_id'),
  ],
  ['PERF_COUNT_SW', 'Software events: enum perf_sw_ids.', perfNamed('perf_sw_ids')],
  ['PERF_SAMPLE', 'Fields of a sample: enum perf_event_sample_format.', perfNamed('perf_event_sample_format')],
  ['PERF_FORMAT', 'Fields of a read(): enum perf_event_read_format.', perfNamed('perf_event_read_format')],
  ['PERF_RECORD', 'Records in the ring: enum perf_event_type.', perfNamed('perf_event_type')],
  ['PERF_EVENT_IOC', 'ioctl(2) requests on a perf event.', macrosOf('perf_event.h', /^PERF_EVENT_IOC_/)],
  ['PERF_FLAG', 'Flags of perf_event_open(2).', macrosOf('perf_event.h', /^PERF_FLAG_/)],
]);
rmSync(work, { recursive: true });
