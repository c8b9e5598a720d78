// Makes docs/attach.md: what each section name came to on each kernel, from docs/attach/*.json.
//   node scripts/attach-table.mjs                    writes the page from the results that are there
//   node scripts/attach-table.mjs --here             measures this machine's kernel first
//   node scripts/attach-table.mjs --kernel 6.1 ...   measures Debian kernels in VMs first (see scripts/vm/run.mjs)
//                                                    (6.1/arm64: of that architecture)
//   --timeout S                                      of each VM; what was measured until then is kept
//   --part PART                                      measures section names with PART in them, and keeps the other results
// Measuring needs root; the fixtures are made by scripts/build-fixtures.mjs.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { build, root } from './setup.mjs';
import { PROJECT, rootFilesystem } from './vm/rootfs.mjs';

const folder = path.join(root, 'docs', 'attach');
const { values } = parseArgs({
  options: {
    part: { type: 'string', default: '' },
    timeout: { type: 'string', default: '1800' },
    here: { type: 'boolean', default: false },
    kernel: { type: 'string', multiple: true, default: [] },
  },
});

/** Runs a command that prints its results as lines of JSON, and keeps them under its kernel's name, with older ones of what it left out. */
function keep(command, name) {
  const [program, ...args] = command;
  const { stdout, status } = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });
  const [machine, ...fresh] = stdout
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line));
  if (status !== 0) process.exitCode = 1;
  if (machine === undefined) return;
  mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${name}.json`);
  const rows = new Map((existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).rows : []).map((row) => [row.section, row]));
  for (const row of fresh) rows.set(row.section, row);
  const result = { ...machine, rows: [...rows.values()] };
  writeFileSync(file, `${JSON.stringify(result, null, 1)}\n`);
}

/** V8's compilers cost an emulated processor more than they save in so short a run. */
const measure = ['node', ...(values.kernel.length > 0 ? ['--jitless'] : []), 'scripts/attach/measure.mjs', values.part];
if (values.here || values.kernel.length > 0) build();
if (values.here) keep(measure, 'host');
for (const kernel of values.kernel) {
  const [version, arch] = kernel.split('/');
  const other = arch === 'arm64' ? ['--arch', 'arm64', '--root', rootFilesystem(path.join(os.homedir(), '.cache/vm-run'), root)] : [];
  const within = arch === 'arm64' ? ['sh', '-c', `cd ${PROJECT} && exec "$@"`, 'sh'] : [];
  const vm = ['node', 'scripts/vm/run.mjs', '--kernel', version, ...other, '--timeout', values.timeout, '--', ...within, ...measure];
  keep(vm, kernel.replace('/', '-'));
}

const versionOrder = (a, b) => a.release.localeCompare(b.release, 'en', { numeric: true });
const results = readdirSync(folder)
  .filter((file) => file.endsWith('.json'))
  .map((file) => {
    const { kernel, arch, rows } = JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
    return { file, release: kernel, arch, rows: new Map(rows.map((row) => [row.section, row])) };
  })
  .toSorted(versionOrder);

const escape = (text) => text.replaceAll('|', '\\|').replaceAll('<', '&lt;');
const reasons = new Map();

/** The number of a reason in the list below the table. */
function footnote(why) {
  if (!reasons.has(why)) reasons.set(why, reasons.size + 1);
  return `[${reasons.get(why)}](#r${reasons.get(why)})`;
}

function cells(row) {
  if (row === undefined) return [' ', ' ', footnote('not measured')];
  const steps = [row.loaded, row.attached, row.fired].map((done) => (done ? 'yes' : ''));
  if (row.why !== undefined) {
    const at = steps.indexOf('');
    // A reason beside a full row is a remark.
    if (at < 0) steps[2] += ` ${footnote(row.why)}`;
    else steps[at] = footnote(row.why);
  }
  return steps;
}

/** One sentence for what differs only in the program's name. */
const general = (why) =>
  why
    .replace(/program on_\w+/g, 'the program')
    .replace(/section [\w.]+\/?[^,()]*/g, 'its section')
    .replace(/prog_fd \d+/g, 'prog_fd');

const sections = [...new Set(results.flatMap(({ rows }) => [...rows.keys()]))];
const title = ({ release, file, arch }) =>
  `${release.replace(/^(\d+\.\d+).*/, '$1')}${file === 'host.json' ? ' minimal' : ''}${arch === 'x64' ? '' : ` ${arch}`}`;
const body = sections.map((section) => {
  const columns = results.flatMap(({ rows }) => {
    const row = rows.get(section);
    return cells(row === undefined || row.why === undefined ? row : { ...row, why: general(row.why) });
  });
  return `| \`${escape(section)}\` | ${columns.join(' | ')} |`;
});
const total = (key) => results.map(({ rows }) => [...rows.values()].filter((row) => row[key]).length);
const [loaded, attached, fired] = ['loaded', 'attached', 'fired'].map(total);

const page = `# What attaches where

Made by \`node scripts/attach-table.mjs\` from the runs kept in docs/attach/: on each kernel one small program for each section
name (fixtures/src/attach/) is loaded, attached, and made to run by the event it waits for; a counter in its own map tells
whether it did, and whether it stopped when its link was closed. L: loaded, A: attached, F: fired. Where one is empty, the
number is that of the reason below the table. [kernels.md](kernels.md) has the gadgets and the tests.

| kernel | architecture | loaded | attached | fired |
|---|---|---|---|---|
${results.map((result, i) => `| ${result.release}${result.file === 'host.json' ? ' (built without kprobes, trampolines and LSM)' : ' (Debian)'} | ${result.arch} | ${loaded[i]} of ${sections.length} | ${attached[i]} | ${fired[i]} |`).join('\n')}

Sections without a target to attach to by themselves are given one: \`cgroup/\`, \`sockops\`, \`lsm_cgroup\` a cgroup; \`tc\`, \`tcx\`,
\`classifier\`, \`xdp\` the loopback device of a network namespace made for it; the programs of device and CPU maps a packet sent
there by another XDP program; \`sk_skb\`, \`sk_msg\` a socket map with a TCP connection in it; \`socket\` and \`sk_reuseport\` a socket
(by setsockopt(2), for which there is no link); \`syscall\` is run by a test run; \`action\` is the action of a filter of clsact that
matches everything; \`usdt\` is given a program with such probes. No kernel here has CONFIG_BPF_LIRC_MODE2: it needs CONFIG_RC_CORE=y, which Debian
builds as a module.

| section | ${results.map((result) => `${title(result)} L | A | F`).join(' | ')} |
|---|${results.map(() => '---|---|---|').join('')}
${body.join('\n')}

## Reasons

${[...reasons].map(([why, number]) => `${number}. <a id="r${number}"></a>${escape(why)}`).join('\n')}
`;
writeFileSync(path.join(root, 'docs', 'attach.md'), page);
console.error(`docs/attach.md: ${sections.length} sections, ${results.length} kernels`);
