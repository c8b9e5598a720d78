// Compiles gadgets/*/program.bpf.c, and rawbpf's own programs in src/enrich/*/programs, into the objects that are committed
// beside them. The bytes depend on the sources, the
// headers and the compiler alone, not on the folder or the machine.
//
// A gadget that reads registers has an object for each architecture, program.bpf.x86.o and program.bpf.arm64.o.
//
//   node scripts/build-gadgets.mjs [--out DIR] [--clang CLANG] [NAME...]
//
// --out writes DIR/NAME/program.bpf.o and DIR/programs/NAME.bpf.o instead. Needs clang-19, llvm-strip-19 and libbpf's headers (Debian: clang-19
// llvm-19 libbpf-dev).
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    clang: { type: 'string', default: 'clang-19' },
    strip: { type: 'string', default: 'llvm-strip-19' },
  },
});

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
  if (result.status === 0) return;
  if (result.error !== undefined && 'code' in result.error && result.error.code === 'ENOENT') {
    console.error(`build-gadgets: ${command} is not here; on Debian: apt install clang-19 llvm-19 libbpf-dev`);
  }
  process.exit(1);
}

const gadgets = readdirSync(path.join(root, 'gadgets'), { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && existsSync(path.join(root, 'gadgets', entry.name, 'program.bpf.c')))
  .map(({ name }) => ({ name, source: `gadgets/${name}/program.bpf.c`, out: `${name}/program.bpf.o` }));
const own = readdirSync(path.join(root, 'src', 'enrich'), { withFileTypes: true })
  .map((entry) => `src/enrich/${entry.name}/programs`)
  .filter((folder) => existsSync(path.join(root, folder)))
  .flatMap((folder) => readdirSync(path.join(root, folder)).map((file) => `${folder}/${file}`))
  .filter((source) => source.endsWith('.bpf.c'))
  .map((source) => ({ name: path.basename(source, '.bpf.c'), source, out: `programs/${path.basename(source).replace(/c$/, 'o')}` }));
const all = [...gadgets, ...own].toSorted((a, b) => (a.source < b.source ? -1 : 1));
const unknown = positionals.find((name) => !all.some((each) => each.name === name));
if (unknown !== undefined) {
  console.error(`build-gadgets: there is no gadgets/${unknown}/program.bpf.c`);
  process.exit(2);
}

// Where a program reads registers as its context has them, they differ by architecture.
const readsRegisters = /\b(?:bpf_perf_event_data|PT_REGS_\w+|BPF_[KU](?:RET)?PROBE|BPF_KSYSCALL|BPF_USDT)\b/;
// Where Debian keeps <asm/types.h>, which <linux/bpf.h> includes: clang looks there for the machine's own target alone.
const system = ['-idirafter', `/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`];
const targets = [
  { suffix: 'x86', include: 'amd64' },
  { suffix: 'arm64', include: 'arm64' },
];

for (const { name, source, out } of all) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  const plain = values.out === undefined ? path.join(root, source.replace(/c$/, 'o')) : path.join(path.resolve(values.out), out);
  mkdirSync(path.dirname(plain), { recursive: true });
  const perArchitecture = readsRegisters.test(readFileSync(path.join(root, source), 'utf8'));
  for (const { suffix, include } of perArchitecture ? targets : targets.slice(0, 1)) {
    const object = perArchitecture ? plain.replace(/o$/, `${suffix}.o`) : plain;
    // Relative names and a mapped root: BTF keeps the path of each source line.
    run(values.clang, [
      '-target', 'bpf', '-mcpu=v2', '-O2', '-g', '-Wall', '-Werror',
      `-ffile-prefix-map=${root}=.`, '-fdebug-compilation-dir=.',
      `-Iinclude/gadget/${include}`, '-Iinclude', `-D__TARGET_ARCH_${suffix}`, ...system,
      '-c', source, '-o', object,
    ]); // prettier-ignore
    // Takes DWARF away and leaves BTF.
    run(values.strip, ['-g', object]);
    console.error(`build-gadgets: ${path.relative(process.cwd(), object)}`);
  }
}
