// `npm run test:vm`: boots Debian kernels under QEMU and runs there, one VM at a time, the gadgets and the kernel tests.
//   node scripts/test-vm.mjs [--kernel K]... [--what check,gadgets,perf,tests]... [--only PART] [--rest] [--timeout S] [--no-build]
//     --kernel   5.10, 6.1, 6.12, 7.3, or 6.1/arm64 (may be repeated; default: all of these)
//     --what     check: load every program of every gadget; gadgets: run each, compare what it says with what was done;
//                perf: the same on a kernel whose ring buffers were taken away; tests: the kernel tests of test/
//     --only     of the tests, those whose file name has one of these parts in it: bpf/link,gadgets/
//     --rest     of the tests, those of which no good result is kept: goes on where a run was cut short
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

/** The test files that failed on a kernel, or were not run there, in the order of --only. */
function remaining(kernel) {
  const kept = keptTests(root, kernel);
  const wanted = values.only.split(',');
  const placeOf = (file) => wanted.findIndex((part) => file.includes(part));
  return readdirSync(path.join(root, 'build/test'), { recursive: true })
    .filter((file) => file.endsWith('.kernel.test.js'))
    .map((file) => file.replace('.test.js', ''))
    .filter((file) => placeOf(file) >= 0)
    .filter((file) => kept[file.replace('.kernel', '')]?.failed.length !== 0)
    .toSorted((a, b) => placeOf(a) - placeOf(b))
    .join(',');
}

/** Runs scripts/vm/guest-tests.mjs in one VM; its lines go on to stdout and are counted. */
function runVm(kernel, what, rigFlags) {
  const [version, arch] = kernel.split('/');
  const cache = path.join(os.homedir(), '.cache/vm-run');
  const archFlags = arch === 'arm64' ? ['--arch', 'arm64', '--root', rootFilesystem(cache, root)] : [];
  const guest = [
    ...(arch === 'arm64' ? ['sh', '-c', `cd ${PROJECT} && exec "$@"`, 'sh'] : []),
    'node',
    'scripts/vm/guest-tests.mjs',
    `${kernel}${rigFlags.includes('--no-ringbuf') ? ' without ring buffers' : ''}`,
    what.join(','),
    values.rest ? remaining(kernel) : values.only,
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
    const vm = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
    stopVm = (signal) => vm.kill(signal);
    let rest = '';
    let ended = false;
    // Kept as they come: a run that is cut short has not been for nothing.
    const keep = (record) => keepResults(root, kernel, rigFlags.includes('--no-ringbuf') ? 'perf' : 'ring', [record]);
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
      // A VM that ended early has left tests out: that is a failure of its own.
      if (!ended) report(kernel, `not ok - ${kernel}: the VM did not reach the end (exit code ${code}${code === 124 ? ': time-out' : ''})`);
      const seconds = Math.round((Date.now() - started) / 1000);
      resultOf(kernel).seconds += seconds;
      console.log(`# ${kernel}: ${seconds} s`);
      resolve();
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
const wanted = values.what.split(',');
const kernels = values.kernel.filter((kernel) => kernel !== 'none');
if (wanted.includes('tests')) for (const arch of new Set(kernels.map((kernel) => kernel.split('/')[1] ?? 'x64'))) compileForGuests(arch);
for (const kernel of kernels) {
  if (stopped) break;
  const plain = wanted.filter((what) => what !== 'perf');
  if (plain.length > 0) await runVm(kernel, plain, []);
  if (!wanted.includes('perf') || stopped) continue;
  if (kernel.endsWith('/arm64')) report(kernel, `skip - ${kernel}: without ring buffers # the rig can take them away on x86-64 only`);
  else await runVm(kernel, values.what === 'perf' && values.only !== '' ? ['gadgets', 'tests'] : ['gadgets'], ['--no-ringbuf']);
}
const total = (key) => [...results.values()].reduce((sum, result) => sum + result[key], 0);
console.log(`${summary()}\n${total('passed')} passed, ${total('failed')} failed, ${total('skipped')} skipped`);
if (values.report) writeReport(root);
process.exitCode = total('failed') === 0 && (total('passed') > 0 || kernels.length === 0) && !stopped ? 0 : 1;
