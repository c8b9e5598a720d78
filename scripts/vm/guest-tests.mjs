// What scripts/test-vm.mjs runs in the guest: prints `ok - `, `not ok - ` and `skip - ` lines, lines of JSON behind `@ ` for the
// report, and `# end` at the end.
//   node scripts/vm/guest-tests.mjs NAME WHAT[,WHAT...] [PART,...] [SECONDS after which no test is begun]
import { spawn, spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gadgetNames, objectOf, runGadgets } from './guest/gadgets.mjs';

const [name, whats, part = '', slice = '0'] = process.argv.slice(2);
const began = Date.now();
const overtime = () => Number(slice) > 0 && since(began) > Number(slice);
const parts = part.split(',');
const cli = 'build/src/cli/rawbpf.js';

/** Tests of the host's own doings, or about what a VM of this kind has not. */
const notHere = new Map([
  ['cli/package', 'installs npm packages: a VM has no network'],
  ['fixtures/build', 'compiles, which no kernel changes'],
  ['gadgets/objects', 'compiles, which no kernel changes'],
  ['include/headers', 'compiles, which no kernel changes'],
  ['include/page', 'reads files, which no kernel changes'],
  ['declare/tsc', 'compiles, which no kernel changes'],
  ['elf/binary', 'reads files, which no kernel changes'],
  ['examples', 'compiles, which no kernel changes'],
  ['runtimes/', 'needs container runtimes'],
  ['kubernetes', 'needs a cluster'],
  ['dump/vmlinux', 'compiles dumps of a whole kernel: too slow under emulation'],
  ['dump/random', 'compiles, which no kernel changes'],
  ['btf/vmlinux', 'compares every type of the kernel with bpftool: too slow under emulation'],
  ['oracle/libbpf', 'compares files, which no kernel changes'],
]);
const testLimitMs = 600_000;
/** An emulated processor translates code as it comes: V8's compilers make more of it than they save in such short runs. */
const env = {
  ...process.env,
  NODE_OPTIONS: '--jitless',
  RAWBPF_TEST_SLOWNESS: '20',
  TMPDIR: '/dev/shm',
  RAWBPF_TEST_COMPILED: path.resolve('build/compiled'),
};

const indent = (text) =>
  text
    .trimEnd()
    .split('\n')
    .slice(-300)
    .map((line) => `#   ${line}\n`)
    .join('');
const line = (text) => process.stdout.write(`${text}\n`);
const tell = (record) => line(`@ ${JSON.stringify(record)}`);
const since = (started) => Math.round((Date.now() - started) / 1000);

function machine() {
  const read = (file) => (existsSync(file) ? readFileSync(file, 'utf8').trim() : '');
  const mounts = read('/proc/mounts').split('\n');
  tell({
    kind: 'machine',
    release: os.release(),
    version: os.version(),
    arch: process.arch,
    node: process.version,
    cpus: os.cpus().length,
    lsm: read('/sys/kernel/security/lsm'),
    cgroups: [...new Set(mounts.map((each) => each.split(' ')[2]).filter((type) => type?.startsWith('cgroup')))].join(' + '),
  });
}

/** Loads every program of every gadget, all in one process: starting Node takes longer than loading. */
function check() {
  const started = Date.now();
  const gadgets = gadgetNames();
  const objects = gadgets.map(objectOf);
  const result = spawnSync(process.execPath, [cli, 'check', '-o', 'json', ...objects], { encoding: 'utf8', env, maxBuffer: 1 << 28 });
  const reports = result.stdout
    .split('\n')
    .filter((each) => each.startsWith('{'))
    .map((each) => JSON.parse(each));
  for (const [i, gadget] of gadgets.entries()) {
    const report = reports[i];
    const error = report === undefined ? { code: '', message: result.stderr } : report.error;
    const loaded = (report?.programs ?? []).filter((program) => program.loaded).length;
    tell({ kind: 'check', name: gadget, loads: report?.loaded === true, error, loaded, programs: report?.programs.length ?? 0 });
    if (report?.loaded === true) line(`ok - ${name}: check ${gadget}`);
    else line(`not ok - ${name}: check ${gadget}\n${indent(JSON.stringify(error ?? report?.programs, null, 1))}`);
  }
  line(`# check: ${since(started)} s`);
}

/** Runs every gadget, does what it is to show, and looks for that in its rows. */
async function gadgets() {
  await runGadgets(gadgetNames(), (result) => {
    tell({ kind: 'run', ...result });
    const { name: gadget, error, attached, none, seen, wanted, exact, rows, lost, seconds, notices } = result;
    const told = none ? none : `${seen} of ${wanted} seen, ${rows} rows`;
    const how = `run ${gadget}: ${attached.length} programs attached, ${told} (${seconds} s)`;
    const good = error === null && (none || (exact ? seen === wanted : seen >= wanted)) && !(lost > 0 && exact);
    if (good) line(`ok - ${name}: ${how}`);
    else line(`not ok - ${name}: ${how}\n${indent([...notices, error?.message ?? '', `lost ${lost}`].join('\n'))}`);
  });
}

/** `rawbpf run` itself, once: what starts, says that all is attached, and ends on a signal as it should. */
async function command() {
  const started = Date.now();
  const child = spawn(process.execPath, [cli, 'run', 'trace_exec', '-v', '-o', 'json'], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let errors = '';
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
  const attached = new Promise((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text) => {
      errors += text;
      if (/: attached$/m.test(errors)) resolve();
    });
  });
  const closed = new Promise((resolve) => child.on('close', resolve));
  await Promise.race([attached, closed]);
  for (let i = 0; i < 5; i++) spawnSync('/bin/true', ['rawbpf-command']);
  for (let i = 0; i < 100 && output.split('rawbpf-command').length < 6; i++) await new Promise((resolve) => setTimeout(resolve, 200));
  child.kill('SIGINT');
  const code = await closed;
  const seen = output.split('\n').filter((each) => each.includes('rawbpf-command')).length;
  const good = code === 0 && seen === 5 && /\b0 lost/.test(errors);
  line(`${good ? 'ok' : 'not ok'} - ${name}: rawbpf run trace_exec: ${seen} of 5 programs told (${since(started)} s)`);
  if (!good) line(indent(errors));
}

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      return entry.isDirectory() ? testFiles(file) : file.endsWith('.kernel.test.js') ? [file] : [];
    })
    .toSorted();
}

/** Tests that turn something of the whole machine, or measure what others would disturb: when no other runs. */
const alone = ['events/cpu-hotplug', 'link/order', 'collection/leak', 'events/ringbuf-reader', 'events/ringbuf-busy'];

/** Runs the kernel tests, each in a process of its own, as many at a time as there are processors. */
async function tests() {
  // In the order of the parts: a run that is cut short has done the first.
  const files = testFiles('build/test')
    .filter((one) => parts.some((part) => one.includes(part)))
    .toSorted((a, b) => placeOf(a) - placeOf(b));
  const isAlone = (file) => alone.some((each) => file.includes(each));
  const together = files.filter((file) => !isAlone(file));
  const worker = async () => {
    for (let file = together.shift(); file !== undefined && !overtime(); file = together.shift()) await runFile(file);
  };
  await Promise.all(Array.from({ length: Math.max(1, os.cpus().length) }, worker));
  for (const file of files.filter(isAlone)) if (!overtime()) await runFile(file);
}

const placeOf = (file) => parts.findIndex((part) => file.includes(part));

/** Runs a program to its end, or to the limit. */
function runLimited(args, options) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr = (stderr + text).slice(-100_000)));
    const timer = setTimeout(() => child.kill('SIGKILL'), testLimitMs);
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve({ status, signal, stdout, stderr });
    });
  });
}

const bundleOf = (file) => file.replace(/(\.test)?\.js$/, '.bundle.mjs');

async function runFile(file) {
  const short = file.replace('build/test/', '').replace('.kernel.test.js', '');
  const why = [...notHere].find(([key]) => short.includes(key));
  if (why !== undefined) {
    line(`skip - ${name}: ${short} # ${why[1]}`);
    tell({ kind: 'test', file: short, passed: 0, failed: [], skipped: [], left: why[1], seconds: 0 });
    return;
  }
  tell({ kind: 'begin', file: short });
  const started = Date.now();
  const result = await runLimited([bundleOf(file)], { env: { ...env, TAP: '1', TAP_TIMEOUT: '0' } });
  const seconds = since(started);
  const subtests = result.stdout.split('\n').filter((text) => /^(not )?ok \d/.test(text));
  const told = { kind: 'test', file: short, passed: 0, failed: [], skipped: [], seconds };
  const lines = [];
  for (const text of subtests) {
    const what = text.replace(/^(not )?ok \d+ -? ?/, '').replace(/ # time=.*| \{$/g, '');
    const skipped = /# (SKIP|TODO) ?(.*)/i.exec(what);
    const label = what.replace(/ # .*/, '');
    if (skipped !== null) told.skipped.push({ name: label, why: skipped[2] });
    else if (text.startsWith('not')) told.failed.push(label);
    else told.passed++;
    if (skipped !== null) lines.push(`skip - ${name}: ${short}: ${label} # ${skipped[2]}`);
    else lines.push(`${text.startsWith('not') ? 'not ok' : 'ok'} - ${name}: ${short}: ${what}`);
  }
  if (result.status !== 0 || subtests.length === 0) {
    const how = result.signal === null ? `exit code ${result.status}` : `${result.signal} after ${seconds} s`;
    if (told.failed.length === 0) {
      told.failed.push(`ended with ${how}`);
      lines.push(`not ok - ${name}: ${short}: ended with ${how}`);
    }
    lines.push(indent(failures(result.stdout) + result.stderr).trimEnd());
  }
  lines.push(`# ${short}: ${seconds} s`);
  line(lines.join('\n'));
  tell(told);
}

/** Failed assertions with their diagnostics. */
function failures(output) {
  const kept = [];
  let keeping = false;
  for (const text of output.split('\n')) {
    if (/^\s*not ok/.test(text)) keeping = true;
    else if (/^\s*(ok |# Subtest|1\.\.)/.test(text)) keeping = false;
    if (keeping) kept.push(text);
  }
  return `${kept.join('\n')}\n`;
}

// Loading tap takes longer than most tests: see tap/index.mjs.
if (whats.includes('tests')) spawnSync('mount', ['--bind', 'scripts/vm/tap', 'node_modules/tap'], { stdio: 'inherit' });
// Loop devices are no module that a kernel loads by itself.
spawnSync('modprobe', ['loop']);
// One file in place of three hundred and fifty: most of the time that a command takes to start here.
copyFileSync(bundleOf('build/src/cli/rawbpf.js'), 'build/src/cli/rawbpf.js');
machine();
for (const what of whats.split(',')) {
  if (what === 'check') check();
  else if (what === 'gadgets') {
    await gadgets();
    await command();
  } else if (what === 'tests') await tests();
  else line(`not ok - ${name}: nothing called ${what}`);
}
line('# end');
