// `npm run test:vm`: boots Debian kernels under QEMU and runs there, one VM at a time, the gadgets and the kernel tests.
//   node scripts/test-vm.mjs [--kernel K]... [--what check,gadgets,perf,tests]... [--only PART] [--rest] [--timeout S] [--no-build]
//     --kernel   5.10, 6.1, 6.12, 7.3, or 6.1/arm64 (may be repeated; default: all of these)
//     --what     check: load every program of every gadget; gadgets: run each, compare what it says with what was done;
//                perf: the same on a kernel whose ring buffers were taken away; tests: the kernel tests of test/
//     --only     of the tests, those whose file name has one of these parts in it: bpf/link,gadgets/
//     --rest     of the tests, those of which no good result is kept: goes on where a run was cut short
//     --slice S  begin no test in a VM after S seconds: what is left then goes on in another
//     --lock F   hold this lock file (flock) while a VM runs, where others start VMs too
//     --report   writes docs/kernels.md out of what runs left in docs/kernels/ (alone with --kernel none: runs nothing)
// A run's results are kept in docs/kernels/, one file a kernel; one of some tests or phases renews those only.
// Needs root and QEMU (Debian: qemu-system-x86 kmod, for arm64 qemu-system-arm); kernels are fetched through apt once.
// Emulation without KVM is some twenty times slower than the machine: a kernel takes ten to thirty minutes.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from './setup.mjs';
import { bundleTests } from './vm/bundle-tests.mjs';
import { keepResults, keptTests, writeReport } from './vm/report.mjs';
import { PROJECT, rootFilesystem } from './vm/rootfs.mjs';

const { values } = parseArgs({
  options: {
    kernel: { type: 'string', multiple: true, default: ['5.10', '6.1', '6.12', '7.3', '6.1/arm64'] },
    what: { type: 'string', default: 'check,gadgets,perf,tests' },
    only: { type: 'string', default: '' },
    timeout: { type: 'string', default: '3600' },
    report: { type: 'boolean', default: false },
    rest: { type: 'boolean', default: false },
    slice: { type: 'string', default: '0' },
    lock: { type: 'string' },
    'no-build': { type: 'boolean', default: false },
  },
});

/** A signal ends the VM that runs, and starts no other. */
let stopped = false;
let stopVm = () => {};
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    stopped = true;
    stopVm(signal);
  });
}

/** What came of each kernel: counts, seconds, and how often each reason to skip was given. */
const results = new Map();

function resultOf(kernel) {
  if (!results.has(kernel)) results.set(kernel, { passed: 0, failed: 0, skipped: 0, seconds: 0, reasons: new Map() });
  return results.get(kernel);
}

function report(kernel, line) {
  const result = resultOf(kernel);
  if (line.startsWith('ok - ')) result.passed++;
  else if (line.startsWith('not ok - ')) result.failed++;
  else if (line.startsWith('skip - ')) {
    const why = / # (.*)$/.exec(line)?.[1] ?? 'no reason given';
    result.skipped++;
    result.reasons.set(why, (result.reasons.get(why) ?? 0) + 1);
  }
  console.log(line);
}

/** The results as a table in Markdown. */
function summary() {
  const rows = [...results].map(
    ([kernel, { passed, failed, skipped, seconds }]) => `| ${kernel} | ${passed} | ${failed} | ${skipped} | ${seconds} |`,
  );
  const reasons = [...results].flatMap(([kernel, result]) =>
    [...result.reasons].map(([why, times]) => `- ${kernel}: ${times} skipped: ${why}`),
  );
  return ['| kernel | passed | failed | skipped | seconds |', '|---|---|---|---|---|', ...rows, '', ...reasons].join('\n');
}

/** The test files wanted, in the order of --only; with --rest those that failed on the kernel or were not run there. */
function wantedTests(kernel) {
  const kept = keptTests(root, kernel);
  const parts = values.only.split(',');
  const placeOf = (file) => parts.findIndex((part) => file.includes(part));
  const seconds = (file) => kept[file.replace('.kernel', '')]?.seconds ?? 0;
  return readdirSync(path.join(root, 'build/test'), { recursive: true })
    .filter((file) => file.endsWith('.kernel.test.js'))
    .map((file) => file.replace('.test.js', ''))
    .filter((file) => placeOf(file) >= 0)
    .filter((file) => !values.rest || kept[file.replace('.kernel', '')]?.failed.length !== 0)
    .toSorted((a, b) => placeOf(a) - placeOf(b) || seconds(b) - seconds(a));
}

/**
 * Runs what is wanted in one VM, or in several: where a slice of time was over, and where a guest stopped (emulation now and then
 * ends in an Oops). A test during which two guests stopped has failed.
 */
async function runKernel(kernel, what, rigFlags) {
  const stops = new Map();
  let left = what.includes('tests') ? wantedTests(kernel) : [];
  for (let phases = what; phases.length > 0 && !stopped; phases = left.length > 0 ? ['tests'] : []) {
    const { ended, done, begun } = await runVm(kernel, phases, rigFlags, left);
    if (stopped) return;
    if (!ended && begun.size === 0) return report(kernel, `not ok - ${kernel}: the VM stopped during ${phases.join(', ')}`);
    for (const file of begun) {
      if (done.has(file)) continue;
      stops.set(file, (stops.get(file) ?? 0) + 1);
      if (stops.get(file) < 2) continue;
      const why = 'the guest stopped during it, twice';
      report(kernel, `not ok - ${kernel}: ${file}: ${why}`);
      keepResults(root, kernel, wayOf(rigFlags), [{ kind: 'test', file, passed: 0, failed: [why], skipped: [], seconds: 0 }]);
      done.add(file);
    }
    left = left.filter((file) => !done.has(file.replace('.kernel', '')));
  }
}

const wayOf = (rigFlags) => (rigFlags.includes('--no-ringbuf') ? 'perf' : 'ring');

/** Runs scripts/vm/guest-tests.mjs in one VM; its lines go on to stdout and are counted. */
function runVm(kernel, what, rigFlags, files) {
  const [version, arch] = kernel.split('/');
  const cache = path.join(os.homedir(), '.cache/vm-run');
  const archFlags = arch === 'arm64' ? ['--arch', 'arm64', '--root', rootFilesystem(cache, root)] : [];
  const guest = [
    ...(arch === 'arm64' ? ['sh', '-c', `cd ${PROJECT} && exec "$@"`, 'sh'] : []),
    'node',
    'scripts/vm/guest-tests.mjs',
    `${kernel}${rigFlags.includes('--no-ringbuf') ? ' without ring buffers' : ''}`,
    what.join(','),
    files.join(','),
    values.slice,
  ];
  const args = [
    'scripts/vm/run.mjs',
    '--kernel',
    version,
    ...archFlags,
    '--mem',
    '3072',
    '--timeout',
    values.timeout,
    ...rigFlags,
    '--',
    ...guest,
  ];
  console.log(`# ${kernel}: ${what.join(', ')}${rigFlags.length > 0 ? ` (${rigFlags.join(' ')})` : ''}`);
  return new Promise((resolve) => {
    const started = Date.now();
    const command = [...(values.lock === undefined ? [] : ['flock', '--no-fork', values.lock]), process.execPath, ...args];
    const vm = spawn(command[0], command.slice(1), { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    stopVm = (signal) => vm.kill(signal);
    let rest = '';
    let ended = false;
    const done = new Set();
    const begun = new Set();
    // Kept as they come: a run that is cut short has not been for nothing.
    const keep = (record) => {
      if (record.kind === 'begin') {
        // With the time: what hangs is told from what is slow.
        console.log(`# ${new Date().toISOString().slice(11, 19)} ${record.file} begins`);
        return begun.add(record.file);
      }
      if (record.kind === 'test') done.add(record.file);
      return keepResults(root, kernel, wayOf(rigFlags), [record]);
    };
    vm.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line === '# end') ended = true;
        else if (line.startsWith('@ ')) keep(JSON.parse(line.slice(2)));
        else report(kernel, line);
      }
    });
    vm.on('close', (code) => {
      if (!ended) console.log(`# ${kernel}: the VM stopped early (exit code ${code}${code === 124 ? ': time-out' : ''})`);
      const seconds = Math.round((Date.now() - started) / 1000);
      resultOf(kernel).seconds += seconds;
      console.log(`# ${kernel}: ${seconds} s`);
      resolve({ ended, done, begun });
    });
  });
}

/**
 * Compiles on this machine what the tests would compile in the guests, by running those tests here: what they find does not
 * matter, only what they compile.
 */
function compileForGuests(arch) {
  const folder = path.join(root, 'build/compiled');
  const stamp = path.join(folder, arch);
  const files = ['include/helper-api', 'include/buffer', 'include/seed-era', 'gadget/kinds'];
  const sources = [...files.map((file) => `test/${file}.kernel.test.ts`), ...headers('include')].map((file) => path.join(root, file));
  if (existsSync(stamp) && sources.every((file) => statSync(file).mtimeMs < statSync(stamp).mtimeMs)) return;
  rmSync(stamp, { force: true });
  const env = { ...process.env, RAWBPF_TEST_COMPILED: folder, RAWBPF_TEST_ARCH: arch };
  for (const file of files)
    spawnSync(process.execPath, [`build/test/${file}.kernel.test.js`], { cwd: root, env, stdio: 'ignore', timeout: 300_000 });
  writeFileSync(stamp, '');
}

function headers(folder) {
  return readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath ?? entry.path, entry.name)));
}

if (!values['no-build']) build();
else if (!existsSync(path.join(root, 'build/.built'))) {
  console.error('test-vm: --no-build, but nothing is built yet: run it once without');
  process.exit(2);
}
const wanted = values.what.split(',');
const kernels = values.kernel.filter((kernel) => kernel !== 'none');
if (wanted.includes('tests')) for (const arch of new Set(kernels.map((kernel) => kernel.split('/')[1] ?? 'x64'))) compileForGuests(arch);
if (kernels.length > 0) await bundleTests();
for (const kernel of kernels) {
  if (stopped) break;
  const plain = wanted.filter((what) => what !== 'perf');
  if (plain.length > 0) await runKernel(kernel, plain, []);
  if (!wanted.includes('perf') || stopped) continue;
  if (kernel.endsWith('/arm64')) report(kernel, `skip - ${kernel}: without ring buffers # the rig can take them away on x86-64 only`);
  else await runKernel(kernel, values.what === 'perf' && values.only !== '' ? ['gadgets', 'tests'] : ['gadgets'], ['--no-ringbuf']);
}
const total = (key) => [...results.values()].reduce((sum, result) => sum + result[key], 0);
console.log(`${summary()}\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
if (values.report) writeReport(root);
process.exitCode = total('failed') === 0 && (total('passed') > 0 || kernels.length === 0) && !stopped ? 0 : 1;
