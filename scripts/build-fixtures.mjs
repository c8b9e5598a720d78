// Builds the compiled files in fixtures/ from the sources beside them, the same bytes on any machine:
//   node scripts/build-fixtures.mjs           builds all
//   node scripts/build-fixtures.mjs NAME...   builds those whose output has NAME in its path
//   node scripts/build-fixtures.mjs --check   builds into a temporary folder and compares; exit code 1 where one differs
// Needs clang-19, lld-19 and llvm-19 (llvm-strip-19); sources may include libbpf-dev's headers (bpf/bpf_helpers.h).
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** One compiled fixture: `output` and `source` are paths from the root; `flags` come after the common ones. */
const table = [
  { output: 'fixtures/tour.bpf.o', source: 'fixtures/src/tour.bpf.c', target: 'bpf', flags: [] },
  { output: 'fixtures/tour.bpfeb.o', source: 'fixtures/src/tour.bpf.c', target: 'bpfeb', flags: [] },
  { output: 'fixtures/nobtf.bpf.o', source: 'fixtures/src/nobtf.bpf.c', target: 'bpf', flags: ['-g0'] },
  { output: 'fixtures/runtime.bpf.o', source: 'fixtures/src/runtime.bpf.c', target: 'bpf', flags: ['-Wno-missing-declarations'] },
  { output: 'fixtures/losses.bpf.o', source: 'fixtures/src/losses.bpf.c', target: 'bpf', flags: [] },
  { output: 'fixtures/kinds.bpf.o', source: 'fixtures/src/kinds.bpf.c', target: 'bpf', flags: [] },
  { output: 'fixtures/core/cases.bpf.o', source: 'fixtures/core/cases.bpf.c', target: 'bpf', flags: ['-w'] },
  { output: 'fixtures/core/target.o', source: 'fixtures/core/target.c', target: 'bpf', flags: ['-w'] },
  ...['maps', 'calls', 'sections', 'externs', 'legacy', 'wild', 'struct_ops', 'arena', 'argctx', 'link_a', 'link_b'].map((name) => ({
    output: `fixtures/object/${name}.bpf.o`,
    source: `fixtures/object/${name}.bpf.c`,
    target: 'bpf',
    flags: [],
  })),
  { output: 'fixtures/object/calls.bpfeb.o', source: 'fixtures/object/calls.bpf.c', target: 'bpfeb', flags: [] },
  {
    output: 'fixtures/object/jumptables.bpf.o',
    source: 'fixtures/object/jumptables.s',
    target: 'bpf',
    flags: ['-g0', '-Wno-unused-command-line-argument'],
  },
  {
    output: 'fixtures/object/isa.bpf.o',
    source: 'fixtures/object/isa.s',
    target: 'bpf',
    flags: ['-g0', '-mcpu=v4', '-Wno-unused-command-line-argument'],
  },
  { output: 'fixtures/btf/values.bpf.o', source: 'fixtures/btf/values.bpf.c', target: 'bpf', flags: ['-w'] },
  { output: 'fixtures/core/guarded.bpf.o', source: 'fixtures/core/guarded.bpf.c', target: 'bpf', flags: ['-w'] },
  { output: 'fixtures/core/kernel-old.o', source: 'fixtures/core/kernel.c', target: 'bpf', flags: [] },
  { output: 'fixtures/core/kernel-new.o', source: 'fixtures/core/kernel.c', target: 'bpf', flags: ['-DNEW'] },
  // One program for each section name.
  ...['probes', 'tracing', 'cgroup', 'net', 'struct_ops', 'dummy_ops', 'reno'].map((name) => ({
    output: `fixtures/attach/${name}.bpf.o`,
    source: `fixtures/src/attach/${name}.bpf.c`,
    target: 'bpf',
    flags: [],
  })),
  { output: 'fixtures/packet-filter/filters.bpf.o', source: 'fixtures/packet-filter/filters.bpf.c', target: 'bpf', flags: [] },
  {
    output: 'fixtures/usdt/usdt.bpf.o',
    source: 'fixtures/src/usdt.bpf.c',
    target: 'bpf',
    flags: ['-D__TARGET_ARCH_x86', '-Wno-missing-declarations'],
  },
  { output: 'fixtures/attach/stream.bpf.o', source: 'fixtures/src/stream.bpf.c', target: 'bpf', flags: [] },
  { output: 'fixtures/usdt/usdt_index.bpf.o', source: 'fixtures/src/usdt_index.bpf.c', target: 'bpf', flags: [] },
  // Programs with USDT probes, for two architectures, without a C library.
  ...[
    ['x64', 'x86_64-linux-gnu'],
    ['arm64', 'aarch64-linux-gnu'],
  ].map(([arch, target]) => ({
    output: `fixtures/usdt/target.${arch}`,
    source: 'fixtures/usdt/target.c',
    target,
    program: true,
    flags: [],
  })),
  // Three units with types in common, for deduplication.
  ...['one', 'two', 'three'].map((unit) => ({
    output: `fixtures/dedup/${unit}.o`,
    source: `fixtures/src/dedup/${unit}.c`,
    target: 'bpf',
    flags: [],
  })),
];

/** Of programs. The width of registers that a probe names is told by its argument's size. */
const programFlags = [
  '-O2',
  '-Wall',
  '-Werror',
  '-Wno-asm-operand-widths',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fno-asynchronous-unwind-tables',
  '-fno-pie',
  '-static',
  '-nostdlib',
  '-fuse-ld=lld',
  '-Wl,--build-id=none',
];

/** Paths in BTF and symbol names must not tell where the tree lies. */
const common = ['-O2', '-g', '-mcpu=v3', '-Wall', '-Werror', '-ffile-prefix-map=.=', '-fdebug-compilation-dir=.', '-Iinclude'];

/** Where Debian keeps <asm/types.h>, which <linux/bpf.h> includes: clang looks there for the machine's own target alone. */
const system = ['-idirafter', `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`];

function build(row, output) {
  const from = path.join(root, row.source);
  if (row.program === true) {
    run('clang-19', ['-target', row.target, ...programFlags, '-o', output, path.relative(root, from)]);
    return;
  }
  run('clang-19', ['-target', row.target, ...common, ...row.flags, ...system, '-c', path.relative(root, from), '-o', output]);
  // DWARF goes, BTF stays.
  run('llvm-strip-19', ['-g', output]);
}

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (result.status === 0) return;
  const reason = result.error?.message ?? `exit code ${result.status}\n${result.stderr}`;
  console.error(`build-fixtures: ${command} ${args.join(' ')}: ${reason}`);
  process.exit(2);
}

function check(rows) {
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-fixtures-'));
  let differing = 0;
  for (const row of rows) {
    const rebuilt = path.join(folder, path.basename(row.output));
    build(row, rebuilt);
    const same = readFileSync(rebuilt).equals(readFileSync(path.join(root, row.output)));
    if (!same) differing++;
    console.log(`${same ? 'same' : 'DIFFERS'} ${row.output}`);
  }
  rmSync(folder, { recursive: true });
  return differing;
}

const args = process.argv.slice(2);
const names = args.filter((arg) => arg !== '--check');
const rows = table.filter((row) => names.length === 0 || names.some((name) => row.output.includes(name)));
if (args.includes('--check')) process.exitCode = check(rows) === 0 ? 0 : 1;
else {
  for (const row of rows) {
    mkdirSync(path.dirname(path.join(root, row.output)), { recursive: true });
    build(row, path.join(root, row.output));
    console.log(row.output);
  }
}
