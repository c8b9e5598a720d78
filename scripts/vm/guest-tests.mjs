// What scripts/test-vm.mjs runs in the guest: prints `ok - `, `not ok - ` and `skip - ` lines, and `# end` at the end.
//   node scripts/vm/guest-tests.mjs NAME WHAT[,WHAT...] [PART,...]
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';

const [name, whats, part = ''] = process.argv.slice(2);
const parts = part.split(',');
const cli = 'build/src/cli/rawbpf.js';
const gadgets = readdirSync('gadgets').filter((gadget) => existsSync(`gadgets/${gadget}/program.bpf.o`));

/** Tests of the host's own doings, or about what a VM of this kind has not. */
const notHere = new Map([
  ['cli/package', 'installs npm packages: a VM has no network'],
  ['fixtures/build', 'compiles, which no kernel changes'],
  ['include/headers', 'compiles, which no kernel changes'],
  ['declare/tsc', 'compiles, which no kernel changes'],
  ['elf/binary', 'reads files, which no kernel changes'],
  ['examples', 'compiles, which no kernel changes'],
  ['runtimes/', 'needs container runtimes'],
  ['kubernetes', 'needs a cluster'],
  ['dump/vmlinux', 'compiles dumps of a whole kernel: too slow under emulation'],
  ['dump/random', 'compiles, which no kernel changes'],
  ['oracle/libbpf', 'compares files, which no kernel changes'],
]);
const testLimitMs = 600_000;
/** An emulated processor translates code as it comes: V8's compilers make more of it than they save in such short runs. */
const env = { ...process.env, NODE_OPTIONS: '--jitless', RAWBPF_TEST_SLOWNESS: '20' };

const indent = (text) =>
  text
    .trimEnd()
    .split('\n')
    .slice(-300)
    .map((line) => `#   ${line}\n`)
    .join('');
const line = (text) => process.stdout.write(`${text}\n`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Loads every program of every gadget, all in one process: starting Node takes longer than loading. */
function check() {
  const started = Date.now();
  const objects = gadgets.map((gadget) => `gadgets/${gadget}/program.bpf.o`);
  const result = spawnSync(process.execPath, [cli, 'check', '-o', 'json', ...objects], { encoding: 'utf8', env, maxBuffer: 1 << 28 });
  const reports = jsonReports(result.stdout);
  for (const [i, gadget] of gadgets.entries()) {
    const report = reports[i];
    if (report?.loaded === true) line(`ok - ${name}: check ${gadget}`);
    else line(`not ok - ${name}: check ${gadget}\n${indent(JSON.stringify(report?.error ?? report?.programs ?? result.stderr, null, 1))}`);
  }
  line(`# check: ${Math.round((Date.now() - started) / 1000)} s`);
}

/** One object a line, or all in one array. */
function jsonReports(text) {
  try {
    return [JSON.parse(text)].flat();
  } catch {
    return text
      .split('\n')
      .filter((each) => each.startsWith('{'))
      .map((each) => JSON.parse(each));
  }
}

/** What is done while a gadget runs, and how its events tell that they saw it. */
const deeds = {
  trace_exec: {
    act: () => spawnSync('/bin/true', ['rawbpf-deed']),
    seen: (event) => JSON.stringify(event).includes('rawbpf-deed'),
  },
  trace_open: {
    act: () => spawnSync('/bin/cat', ['/tmp/rawbpf-deed']),
    seen: (event) => JSON.stringify(event).includes('/tmp/rawbpf-deed'),
  },
  trace_signal: {
    act: () => spawnSync('/bin/sh', ['-c', 'kill -s USR2 $$']),
    seen: (event) => event.sig === 'SIGUSR2' && event.tpid === event.proc.pid,
  },
  trace_tcp: {
    act: () => spawnSync('/bin/bash', ['-c', 'exec 3<>/dev/tcp/127.0.0.1/7']),
    seen: (event) => event.error === 'ECONNREFUSED' && event.dst.port === 7,
  },
  trace_bind: {
    act: () =>
      spawnSync('/usr/bin/perl', ['-e', 'use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); bind(S, pack_sockaddr_in(4242, INADDR_LOOPBACK))']),
    seen: (event) => event.addr.port === 4242 && event.addr.proto === 'UDP',
  },
  trace_mount: {
    act: () => spawnSync('/bin/umount', ['/nowhere/rawbpf-deed']),
    seen: (event) => event.op === 'UMOUNT' && event.dest.includes('rawbpf-deed'),
  },
};

/** Runs a gadget and does its deed five times: all five have to be told, once each. */
async function runGadget(gadget) {
  const deed = deeds[gadget];
  if (deed === undefined) {
    line(`skip - ${name}: run ${gadget} # its own test in test/gadgets does what it shows`);
    return;
  }
  const started = Date.now();
  const child = spawn(process.execPath, [cli, 'run', gadget, '-o', 'json'], { stdio: ['ignore', 'pipe', 'pipe'], env });
  let errors = '';
  let rest = '';
  let total = 0;
  let counting = false;
  let seen = 0;
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text));
  child.stdout.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop();
    for (const json of lines.filter((one) => one !== '')) {
      total++;
      if (!deed.seen(JSON.parse(json))) continue;
      if (counting) seen++;
      else first = true;
    }
  });
  let first = false;
  let ended = false;
  const closed = new Promise((resolve) => child.on('close', (code) => resolve(((ended = true), code))));
  // It is up when it tells of a deed; only then does the counting begin.
  for (let i = 0; i < 240 && !first && !ended; i++) {
    deed.act();
    await pause(500);
  }
  await pause(3000);
  counting = true;
  for (let i = 0; i < 5 && !ended; i++) deed.act();
  for (let i = 0; i < 40 && seen < 5 && !ended; i++) await pause(250);
  await pause(1000);
  child.kill('SIGINT');
  const code = await closed;
  const seconds = Math.round((Date.now() - started) / 1000);
  const lost = /\b[1-9]\d* lost/.test(errors);
  if (seen === 5 && code === 0 && !lost) line(`ok - ${name}: run ${gadget}: 5 of 5 deeds told, ${total} events (${seconds} s)`);
  else
    line(`not ok - ${name}: run ${gadget}: ${seen} of 5 deeds told, ${total} events, exit code ${code} (${seconds} s)\n${indent(errors)}`);
}

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true })
    .flatMap((entry) => {
      const file = path.join(folder, entry.name);
      return entry.isDirectory() ? testFiles(file) : file.endsWith('.kernel.test.js') ? [file] : [];
    })
    .toSorted();
}

/** Runs the kernel tests, each in a process of its own. */
function tests() {
  for (const file of testFiles('build/test').filter((one) => parts.some((part) => one.includes(part)))) {
    const why = [...notHere].find(([key]) => file.includes(key));
    if (why !== undefined) {
      line(`skip - ${name}: ${file} # ${why[1]}`);
      continue;
    }
    const started = Date.now();
    const result = spawnSync(process.execPath, [file], {
      encoding: 'utf8',
      env: { ...env, TAP: '1', TAP_TIMEOUT: '0' },
      timeout: testLimitMs,
      killSignal: 'SIGKILL',
      maxBuffer: 1 << 28,
    });
    const seconds = Math.round((Date.now() - started) / 1000);
    const subtests = result.stdout.split('\n').filter((text) => /^(not )?ok \d/.test(text));
    for (const text of subtests) {
      const what = text.replace(/^(not )?ok \d+ -? ?/, '').replace(/ # time=.*| \{$/g, '');
      const skipped = /# (SKIP|TODO) ?(.*)/i.exec(what);
      if (skipped !== null) line(`skip - ${name}: ${file}: ${what.replace(/ # .*/, '')} # ${skipped[2]}`);
      else line(`${text.startsWith('not') ? 'not ok' : 'ok'} - ${name}: ${file}: ${what}`);
    }
    if (result.status !== 0) {
      const how = result.signal === null ? `exit code ${result.status}` : `${result.signal} after ${seconds} s`;
      if (!subtests.some((text) => text.startsWith('not'))) line(`not ok - ${name}: ${file}: ended with ${how}`);
      line(indent(failures(result.stdout) + result.stderr).trimEnd());
    }
    line(`# ${file}: ${seconds} s`);
  }
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

for (const what of whats.split(',')) {
  if (what === 'check') check();
  else if (what === 'gadgets') for (const gadget of gadgets) await runGadget(gadget);
  else if (what === 'tests') tests();
  else line(`not ok - ${name}: nothing called ${what}`);
}
line('# end');
