// Opening, relocating and loading objects, looking into the kernel's BTF and writing it as C: beside bpftool (libbpf), in one run.
//   node build/bench/load.js [--json] [ROUNDS] [OBJECT...]       BPFTOOL=path names another bpftool
// Both sides are processes of their own, taking turns. Of ours the time from reading the object to the last program is told
// ("load"), which leaves out the start of Node and of our modules, and the time since the process began ("whole").
// bpftool pins what it loads: a BPF file system is mounted for it, in a mount namespace of its own.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

// Node reads and parses such a file at every start, 45 ms for Debian's: no part of what is compared.
delete process.env['NODE_EXTRA_CA_CERTS'];

const args = process.argv.slice(2);
const asJson = args.includes('--json');
const operands = args.filter((arg) => arg !== '--json');
const rounds = Math.max(5, Number(operands.find((arg) => /^\d+$/.test(arg)) ?? 11));
const root = fileURLToPath(new URL('../../', import.meta.url));
const child = (name: string): string => fileURLToPath(new URL(`${name}.js`, import.meta.url));
/** The program as it is shipped: `npm run build` makes it. */
const cli = path.join(root, 'build', 'cli', 'rawbpf.cjs');

/** The objects to load: those given, or the biggest that are in the tree and load as a whole. */
function objects(): string[] {
  const given = operands.filter((arg) => !/^\d+$/.test(arg));
  if (given.length > 0) return given;
  return ['fixtures', 'gadgets']
    .flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.bpf.o'))
        .map((name) => path.join(root, folder, name)),
    )
    .toSorted((a, b) => statSync(b).size - statSync(a).size)
    .filter((file) => spawnSync(process.execPath, [child('load-child'), file]).status === 0)
    .slice(0, 3);
}

const bpftool = [process.env['BPFTOOL'] ?? '', '/usr/sbin/bpftool', '/usr/local/sbin/bpftool', 'bpftool'].find(
  (name) => name !== '' && spawnSync(name, ['version']).status === 0,
);

interface Run {
  /** Milliseconds. */
  readonly wall: number;
  /** Milliseconds of CPU of a process that is over. */
  readonly cpu: number;
  readonly stdout: string;
}

/** Runs a process to its end; how it ended is the caller's to judge. */
function run(command: string, params: readonly string[]): Run & { readonly status: number | null } {
  // The times of children that were waited for: utime and stime in ticks of 10 ms are too coarse, so bash tells them.
  const script = 'TIMEFORMAT="%R %U %S"; { time "$@" >&3 2>&4; } 2>&1 3>&1 4>/dev/null | cat; exit "${PIPESTATUS[0]}"';
  const { stdout, status } = spawnSync('bash', ['-c', script, 'bash', command, ...params], { encoding: 'utf8', maxBuffer: 1 << 28 });
  const end = stdout.trimEnd().lastIndexOf('\n');
  const [wall = 0, user = 0, system = 0] = stdout
    .slice(end + 1)
    .trim()
    .split(' ')
    .map(Number);
  return { status, wall: wall * 1000, cpu: (user + system) * 1000, stdout: stdout.slice(0, Math.max(end, 0)) };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

interface Row {
  readonly what: string;
  /** Medians in milliseconds; null where there is no peer. */
  readonly ours: number;
  readonly peer: number | null;
  readonly ratio: number | null;
  readonly ourCpu: number;
  readonly peerCpu: number | null;
  readonly note: string;
}

const rows: Row[] = [];

function add(
  what: string,
  ours: readonly number[],
  peer: readonly number[],
  ourCpu: readonly number[],
  peerCpu: readonly number[],
  note: string,
): void {
  const mine = median(ours);
  const theirs = peer.length === 0 ? null : median(peer);
  rows.push({
    what,
    ours: mine,
    peer: theirs,
    ratio: theirs === null ? null : mine / theirs,
    ourCpu: median(ourCpu),
    peerCpu: peerCpu.length === 0 ? null : median(peerCpu),
    note,
  });
}

/** `bpftool prog loadall` in a mount namespace of its own; null where it refuses the object. */
function bpftoolLoads(file: string): Run | null {
  if (bpftool === undefined) return null;
  const script =
    'mount --make-rprivate / && mkdir -p "$2" && mount -t bpf none "$2" && shift 0 && TIMEFORMAT="%R %U %S" && ' +
    '{ time "$1" prog loadall "$3" "$2/x" >/dev/null 2>&1; } 2>&1; [ -d "$2/x" ]';
  const folder = mkdtempSync(path.join(tmpdir(), 'rawbpf-bench-'));
  try {
    const { stdout, status } = spawnSync('unshare', ['-m', 'bash', '-c', script, 'bash', bpftool, folder, file], { encoding: 'utf8' });
    if (status !== 0) return null;
    const [wall = 0, user = 0, system = 0] = stdout.trim().split(' ').map(Number);
    return { wall: wall * 1000, cpu: (user + system) * 1000, stdout: '' };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The same by a program of a few lines that sizes maps which the user is to size: what bpftool refuses. Null without gcc and libbpf. */
function libbpfLoads(file: string): Run | null {
  if (loader === null) return null;
  const { wall, cpu, status } = run(loader, [file]);
  return status === 0 ? { wall, cpu, stdout: '' } : null;
}

const built = path.join(mkdtempSync(path.join(tmpdir(), 'rawbpf-bench-')), 'load-libbpf');
process.on('exit', () => rmSync(path.dirname(built), { recursive: true, force: true }));
const flags = (process.env['LIBBPF_FLAGS'] ?? '-lbpf').split(' ');
const gcc = spawnSync('gcc', ['-O2', '-o', built, path.join(root, 'bench/peers/load-libbpf.c'), ...flags]);
const loader = gcc.status === 0 ? built : null;

function loading(file: string): void {
  const ours: number[] = [];
  const whole: number[] = [];
  const again: number[] = [];
  const againCpu: number[] = [];
  const ourCpu: number[] = [];
  const peer: number[] = [];
  const peerCpu: number[] = [];
  let programs = 0;
  const bpftoolTakesIt = bpftoolLoads(file) !== null;
  for (let round = 0; round < rounds; round++) {
    const theirs = bpftoolTakesIt ? bpftoolLoads(file) : libbpfLoads(file);
    if (theirs !== null) {
      peer.push(theirs.wall);
      peerCpu.push(theirs.cpu);
    }
    const { stdout, stderr, status } = spawnSync(process.execPath, [child('load-child'), file], { encoding: 'utf8' });
    if (status !== 0) throw new Error(`${file}: ${stderr}`);
    const result = JSON.parse(stdout) as Record<'programs' | 'load' | 'cpu' | 'again' | 'againCpu' | 'sinceStart', number>;
    ({ programs } = result);
    ours.push(result.load);
    whole.push(result.sinceStart);
    again.push(result.again);
    againCpu.push(result.againCpu);
    ourCpu.push(result.cpu);
  }
  const name = path.relative(root, path.resolve(file));
  const size = `${Math.round(statSync(file).size / 1000)} kB, ${programs} programs`;
  add(`load ${name}`, ours, peer, ourCpu, peerCpu, bpftoolTakesIt ? size : `${size}; beside load-libbpf.c, as bpftool refuses it`);
  add(
    `load again ${name}`,
    again,
    peer,
    againCpu,
    peerCpu,
    'once more in the same process, its code compiled; the kernel and its BTF looked at anew',
  );
  add(`whole ${name}`, whole, peer, ourCpu, peerCpu, 'with the start of Node and of the modules');
  checking(file, name, peer, peerCpu);
}

/** `rawbpf check`, which loads and lets go, as a whole process, less what `node -e 0` takes in the same round. */
function checking(file: string, name: string, peer: readonly number[], peerCpu: readonly number[]): void {
  const ours: number[] = [];
  const ourCpu: number[] = [];
  // The first run keeps compiled code for the others.
  for (let round = -1; round < rounds; round++) {
    const node = run(process.execPath, ['-e', '0']);
    const check = run(process.execPath, [cli, 'check', file]);
    if (round < 0) continue;
    ours.push(check.wall - node.wall);
    ourCpu.push(check.cpu - node.cpu);
  }
  add(`check ${name}`, ours, peer, ourCpu, peerCpu, "the whole program, Node's own start taken off");
}

function index(): void {
  const results = Array.from({ length: rounds }, () => {
    const { stdout } = spawnSync(process.execPath, ['--expose-gc', child('btf-child')], { encoding: 'utf8' });
    return JSON.parse(stdout) as { types: number; index: number; name: number; blob: number; indexMemory: number; namesMemory: number };
  });
  const of = (field: 'index' | 'name' | 'indexMemory' | 'namesMemory'): number[] => results.map((result) => result[field]);
  const [{ types, blob } = { types: 0, blob: 0 }] = results;
  const kernel = `${types} types, ${blob.toFixed(1)} MB`;
  add('index of vmlinux BTF, cold', of('index'), [], [], [], `${kernel}; ${median(of('indexMemory')).toFixed(1)} MB more memory`);
  add(
    'first name found in it, cold',
    of('name'),
    [],
    [],
    [],
    `${median(of('namesMemory')).toFixed(1)} MB more memory than the blob, in all`,
  );
}

function dump(): void {
  const ours: Run[] = [];
  const peer: Run[] = [];
  for (let round = 0; round < Math.min(rounds, 7); round++) {
    if (bpftool !== undefined) peer.push(run(bpftool, ['btf', 'dump', 'file', '/sys/kernel/btf/vmlinux', 'format', 'c']));
    ours.push(run(process.execPath, [cli, 'btf', 'dump', '/sys/kernel/btf/vmlinux', '--format', 'c']));
  }
  const lines = ours[0]?.stdout.split('\n').length ?? 0;
  const of = (runs: readonly Run[], field: 'wall' | 'cpu'): number[] => runs.map((each) => each[field]);
  const note = `${lines} lines; with the start of Node`;
  add('btf dump --format c of vmlinux', of(ours, 'wall'), of(peer, 'wall'), of(ours, 'cpu'), of(peer, 'cpu'), note);
}

function cell(value: number | null, digits: number): string {
  return value === null || Number.isNaN(value) ? '-' : value.toFixed(digits);
}

for (const file of objects()) loading(file);
index();
dump();
const version =
  bpftool === undefined ? 'no bpftool' : spawnSync(bpftool, ['version'], { encoding: 'utf8' }).stdout.trim().replaceAll('\n', ', ');
if (asJson) console.log(JSON.stringify({ peer: version, rounds, rows }));
else {
  console.log(`medians of ${rounds} rounds in ms; peer: ${version}`);
  console.log('what'.padEnd(52), ...['ours', 'bpftool', 'ratio', 'our CPU', 'its CPU'].map((head) => head.padStart(8)), ' ');
  for (const row of rows) {
    const cells = [cell(row.ours, 1), cell(row.peer, 1), cell(row.ratio, 2), cell(row.ourCpu, 1), cell(row.peerCpu, 1)];
    console.log(row.what.padEnd(52), ...cells.map((text) => text.padStart(8)), ` ${row.note}`);
  }
}
