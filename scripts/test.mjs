// `npm test`: sets up what the tests need, builds, checks lint and format, runs every test and prints the tally.
//   node scripts/test.mjs [--no-setup] [--soak] [PATTERN...]   PATTERN: part of a test file's name
// Pure tests share one process; every kernel test has its own, so that a crash takes only itself along.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { build, installPackages, root } from './setup.mjs';

const args = process.argv.slice(2);
const flags = new Set(args.filter((arg) => arg.startsWith('--')));
const patterns = args.filter((arg) => !arg.startsWith('--'));
const soak = flags.has('--soak');
const KERNEL_LIMIT_MS = soak ? 3_600_000 : 300_000;

if (!flags.has('--no-setup')) {
  installDebianPackages();
  installPackages();
}
build();

const tally = { passed: 0, failed: 0, skipped: 0 };
if (patterns.length === 0 && !soak) {
  check('lint', ['oxlint', 'bin/oxlint'], ['--type-aware', '--deny-warnings']);
  check('format', ['oxfmt', 'bin/oxfmt'], ['--check']);
}

const wanted = (file) =>
  patterns.length === 0 || patterns.some((pattern) => path.relative(path.join(root, 'build'), file).includes(pattern));
const files = testFiles(path.join(root, 'build', 'test')).filter(wanted);
const own = files.filter((file) => file.endsWith(soak ? '.soak.test.js' : '.kernel.test.js'));
const pure = soak ? [] : files.filter((file) => !/\.(kernel|soak)\.test\.js$/.test(file));

if (pure.length > 0) {
  const imports = pure.map((file) => `await import(${JSON.stringify(file)});`).join('\n');
  // With a teardown tap ends its root test as soon as that is idle, and leaves out, without a word, what is imported later.
  const guard = `import t from 'tap'; t.teardown = () => { throw new Error('pure tests share one process: no teardown of the root test') };\n`;
  await runTest('pure tests', ['--input-type=module', '--eval', guard + imports], 600_000);
}
for (const file of own) await runTest(path.relative(path.join(root, 'build'), file), [file], KERNEL_LIMIT_MS);

console.log(`${tally.passed} passed, ${tally.failed} failed, ${tally.skipped} skipped`);
process.exit(tally.failed === 0 && tally.passed > 0 ? 0 : 1);

/** Installs what the tests compile and compare with, where it is missing; nothing of it is a service. */
function installDebianPackages() {
  const libraries = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`;
  const wanted = {
    '/usr/bin/clang-19': 'clang-19',
    '/usr/bin/clang-14': 'clang-14',
    '/usr/bin/llvm-strip-19': 'llvm-19',
    '/usr/bin/ld.lld-19': 'lld-19',
    '/usr/include/bpf/bpf_helpers.h': 'libbpf-dev',
    '/usr/sbin/bpftool': 'bpftool',
    '/usr/bin/strace': 'strace',
    '/usr/bin/gcc': 'gcc',
    '/usr/bin/ip': 'iproute2',
    [`${libraries}/libcurl.so.4`]: 'libcurl4',
    [`${libraries}/libcurl-gnutls.so.4`]: 'libcurl3-gnutls',
    [`${libraries}/libcurl-nss.so.4`]: 'libcurl3-nss',
  };
  const missing = Object.entries(wanted).flatMap(([file, name]) => (existsSync(file) ? [] : [name]));
  if (missing.length === 0) return;
  const install = () => apt('install', '-y', '-q', '--no-install-recommends', ...missing);
  console.error(`rawbpf: installing Debian packages: ${missing.join(' ')}`);
  if (install() || (apt('update', '-q') && install())) return;
  console.error(`rawbpf: could not install ${missing.join(' ')}: run this as root on Debian 12, or install them yourself`);
  process.exit(1);
}

function apt(...aptArgs) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync('apt-get', aptArgs, { stdio: ['ignore', 2, 2], env }).status === 0;
}

function check(what, [pkg, bin], checkArgs) {
  const result = spawnSync(process.execPath, [path.join(root, 'node_modules', pkg, bin), ...checkArgs], { cwd: root, encoding: 'utf8' });
  if (result.status === 0) {
    tally.passed++;
    console.log(`ok - ${what}`);
  } else {
    tally.failed++;
    console.log(`not ok - ${what}\n${result.stdout}${result.stderr}`);
  }
}

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      if (entry.isDirectory()) return testFiles(file);
      // A test whose source is gone may still lie in build/.
      const source = path.join(root, path.relative(path.join(root, 'build'), file).replace(/\.js$/, '.ts'));
      return file.endsWith('.test.js') && existsSync(source) ? [file] : [];
    })
    .toSorted();
}

/** Runs one node process that speaks TAP, prints its failures and skips, and adds it to the tally. */
function runTest(name, nodeArgs, limit) {
  return new Promise((resolve) => {
    const started = Date.now();
    const child = spawn(process.execPath, nodeArgs, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TAP: '1', TAP_TIMEOUT: String(limit / 1000) },
    });
    let output = '';
    let errors = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (errors = (errors + text).slice(-100_000)));
    const timer = setTimeout(() => child.kill('SIGKILL'), limit);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const seconds = ((Date.now() - started) / 1000).toFixed(1);
      const total = totals(output);
      const bad = code !== 0 || total === null || total.fail > 0;
      tally.passed += total?.pass ?? 0;
      tally.skipped += total?.skip ?? 0;
      tally.failed += bad ? Math.max(1, total?.fail ?? 0) : 0;
      console.log(
        `${bad ? 'not ok' : 'ok'} - ${name} (${seconds} s): ${total?.pass ?? 0} passed${total?.skip ? `, ${total.skip} skipped` : ''}`,
      );
      for (const line of output.split('\n'))
        if (/# (SKIP|TODO)\b/i.test(line)) console.log(`  skipped: ${line.trim().replace(/^(not )?ok \d* ?-? ?/, '')}`);
      if (bad) {
        console.log(`  ended with ${signal ?? `exit code ${code}`}${signal === 'SIGKILL' ? ` (time limit ${limit / 1000} s)` : ''}`);
        console.log(failures(output) + errors.replace(/^/gm, '  '));
      }
      resolve();
    });
  });
}

/** The last line that tap ends its output with: `# { total: 3, pass: 2, skip: 1 }`. */
function totals(output) {
  const line = output
    .split('\n')
    .filter((text) => /^# \{ total: .*\}$/.test(text))
    .at(-1);
  if (line === undefined) return null;
  const count = (key) => Number(new RegExp(`\\b${key}: (\\d+)`).exec(line)?.[1] ?? 0);
  return { pass: count('pass'), fail: count('fail'), skip: count('skip') + count('todo') };
}

/** Every failed assertion with its diagnostics, without the passing ones. */
function failures(output) {
  const kept = [];
  let keeping = false;
  for (const line of output.split('\n')) {
    if (/^\s*not ok/.test(line)) keeping = true;
    else if (/^\s*(ok |# Subtest|1\.\.)/.test(line)) keeping = false;
    if (keeping) kept.push(line);
  }
  return kept
    .slice(0, 400)
    .map((line) => `  ${line}\n`)
    .join('');
}
