// What runs on the kernels gave: kept as JSON in docs/kernels/, shown as docs/kernels.md.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const folder = (root) => path.join(root, 'docs/kernels');
const fileOf = (root, kernel) => path.join(folder(root), `${kernel.replace('/', '-')}.json`);
const empty = () => ({ machine: null, check: {}, run: {}, tests: {} });

/** Joins what a run told to what is known of the kernel; `way`: with ring buffers or, without them, perf buffers. */
export function keepResults(root, kernel, way, records) {
  if (records.length === 0) return;
  mkdirSync(folder(root), { recursive: true });
  const file = fileOf(root, kernel);
  const kept = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { kernel, ring: empty(), perf: empty() };
  const into = kept[way];
  for (const { kind, ...record } of records) {
    if (kind === 'machine') into.machine = record;
    else if (kind === 'test') into.tests[record.file] = record;
    else into[kind][record.name] = record;
  }
  for (const part of [kept.ring, kept.perf])
    for (const key of ['check', 'run', 'tests'])
      part[key] = Object.fromEntries(Object.entries(part[key]).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(file, `${JSON.stringify(kept, null, 1)}\n`);
}

/** The results of tests that are kept of a kernel, by file. */
export function keptTests(root, kernel) {
  const file = fileOf(root, kernel);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).ring.tests : {};
}

const order = ['5.10', '6.1', '6.12', '7.3', '6.1/arm64'];
const cell = (text) => String(text).replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;');
const row = (...cells) => `| ${cells.map(cell).join(' | ')} |`;

/** What was run on which kernel, as docs/kernels.md. */
export function writeReport(root) {
  const all = readdirSync(folder(root))
    .filter((file) => file.endsWith('.json'))
    .map((file) => JSON.parse(readFileSync(path.join(folder(root), file), 'utf8')))
    .toSorted((a, b) => order.indexOf(a.kernel) - order.indexOf(b.kernel));
  const reasons = new Reasons();
  const text = [
    head,
    ...summary(all),
    '',
    ...remarks(root),
    '## Gadgets',
    '',
    gadgetHead,
    ...gadgetTable(all, (kept) => kept.ring, reasons),
    '',
    '### Without ring buffers',
    '',
    perfHead,
    ...gadgetTable(
      all.filter((kept) => Object.keys(kept.perf.run).length > 0),
      (kept) => kept.perf,
      reasons,
    ),
    '',
    ...alternatives(all),
    '## Kernel tests',
    '',
    testHead,
    ...testTable(all, reasons),
    '',
    '## Reasons',
    '',
    ...reasons.lines(),
    '',
  ].join('\n');
  writeFileSync(path.join(root, 'docs/kernels.md'), text);
}

const head = `# What was run on which kernel

Made by \`node scripts/test-vm.mjs --report\` from the results that \`npm run test:vm\` keeps in docs/kernels/: Debian's own kernels,
booted under QEMU without hardware virtualisation, 2 CPUs, 3 GiB, cgroup v2 alone. [attach.md](attach.md) says for each section name
what attaches and fires there. Numbers in brackets are reasons, at the end.
`;
const gadgetHead = `Each gadget is loaded, attached, and the thing done that it shows; *own tests* are those of test/gadgets, which compare every field
with another source. "n of m" programs loaded: the others belong to hooks or alternatives that the kernel does not have.
`;
const perfHead = `The same on a kernel whose ring buffers were taken away, so that all events go through perf buffers; and the tests of gadgets, of the
buffer headers and of runs there.
`;
const testHead = `Top-level tests of each file under test/: passed, failed (**bold**), skipped with the reason. A dash: no run yet.
`;

/** What is to be said of these runs, written by hand. */
function remarks(root) {
  const file = path.join(folder(root), 'remarks.md');
  return existsSync(file) ? [readFileSync(file, 'utf8')] : [];
}

/** Reasons under numbers, each told once. */
class Reasons {
  #numbers = new Map();

  of(text) {
    const short = text.replaceAll('\n', ' ').slice(0, 400);
    if (!this.#numbers.has(short)) this.#numbers.set(short, this.#numbers.size + 1);
    return `[${this.#numbers.get(short)}](#r${this.#numbers.get(short)})`;
  }

  lines() {
    return [...this.#numbers].map(([text, number]) => `${number}. <a id="r${number}"></a>${cell(text)}`);
  }
}

const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);

function counts(tests) {
  const list = Object.values(tests);
  return {
    passed: sum(list, (test) => test.passed),
    failed: sum(list, (test) => test.failed.length),
    skipped: sum(list, (test) => test.skipped.length),
    left: list.filter((test) => test.left !== undefined).length,
  };
}

function summary(all) {
  const lines = [
    row(
      'kernel',
      'release',
      'gadgets loading',
      'running and seen',
      'without ring buffers',
      'tests passed',
      'failed',
      'skipped',
      'files not for guests',
      'tests without ring buffers',
    ),
    row(...Array.from({ length: 10 }, () => '---')),
  ];
  for (const { kernel, ring, perf } of all) {
    const [plain, less] = [counts(ring.tests), counts(perf.tests)];
    const checks = Object.values(ring.check);
    const seen = (runs) => `${Object.values(runs).filter(wentWell).length} of ${Object.keys(runs).length}`;
    const lessText = Object.keys(perf.tests).length === 0 ? '-' : `${less.passed} passed, ${less.failed} failed, ${less.skipped} skipped`;
    lines.push(
      row(
        kernel,
        ring.machine?.release ?? '',
        checks.length === 0 ? '-' : `${checks.filter((check) => check.loads).length} of ${checks.length}`,
        Object.keys(ring.run).length === 0 ? '-' : seen(ring.run),
        Object.keys(perf.run).length === 0 ? '-' : seen(perf.run),
        plain.passed,
        plain.failed,
        plain.skipped,
        plain.left,
        lessText,
      ),
    );
  }
  return lines;
}

function wentWell({ error, none, exact, seen, wanted }) {
  return error === null && (none !== null || (exact ? seen === wanted : seen >= wanted));
}

/** The test files of test/gadgets that are about a gadget. */
function ownTests(gadget) {
  const name = gadget.startsWith('snapshot_')
    ? 'snapshot'
    : gadget.endsWith('_blockio')
      ? 'blockio'
      : /^top_(file|tcp)$/.test(gadget)
        ? 'top'
        : gadget;
  return `gadgets/${name}`;
}

function gadgetTable(all, part, reasons) {
  if (all.length === 0) return ['No run yet.'];
  const names = [...new Set(all.flatMap((kept) => [...Object.keys(part(kept).run), ...Object.keys(part(kept).check)]))].toSorted((a, b) =>
    a.localeCompare(b, 'en'),
  );
  return [
    row('gadget', ...all.map(({ kernel }) => kernel)),
    row('---', ...all.map(() => '---')),
    ...names.map((name) => row(name, ...all.map((kept) => gadgetCell(name, part(kept), reasons)))),
  ];
}

function gadgetCell(name, { check, run, tests }, reasons) {
  const loaded = check[name];
  const ran = run[name];
  const parts = [];
  if (loaded !== undefined && !loaded.loads) parts.push(`**does not load** ${reasons.of(loaded.error?.message ?? '')}`);
  if (ran === undefined) parts.push(loaded?.loads === true ? 'loads' : '-');
  else if (ran.error !== null) parts.push(`**does not run** ${reasons.of(ran.error.message)}`);
  else {
    if (ran.attached.length > 0) parts.push(kindsOf(ran.attached));
    if (ran.none !== null) parts.push('attached');
    else if (ran.exact) parts.push(ran.seen === ran.wanted ? `${ran.seen} of ${ran.wanted} seen` : `**${ran.seen} of ${ran.wanted} seen**`);
    else parts.push(ran.seen > 0 ? 'seen' : '**not seen**');
  }
  const own = tests[ownTests(name)];
  if (own !== undefined && own.left === undefined) parts.push(`own tests ${testCell(own, reasons)}`);
  return parts.join('; ');
}

/** Kinds of attachments with how many of each: `fentry ×2`. */
function kindsOf(attached) {
  const kinds = new Map();
  for (const each of attached) {
    const kind = each.split(' ')[0];
    kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
  }
  return [...kinds].map(([kind, times]) => (times > 1 ? `${kind} ×${times}` : kind)).join(', ');
}

/** Of gadgets that can watch the same thing in several ways: which way won where. */
function alternatives(all) {
  const names = ['top_blockio', 'top_tcp', 'trace_capabilities', 'trace_exec', 'profile_blockio'];
  const lines = ['### Which way won', '', 'What is attached, of the gadgets whose objects hold several ways to see the same thing.', ''];
  lines.push(row('gadget', ...all.map(({ kernel }) => kernel)), row('---', ...all.map(() => '---')));
  for (const name of names) lines.push(row(name, ...all.map(({ ring }) => (ring.run[name]?.attached ?? []).join(', ') || '-')));
  return [...lines, ''];
}

function testTable(all, reasons) {
  const files = [...new Set(all.flatMap(({ ring }) => Object.keys(ring.tests)))].toSorted((a, b) => a.localeCompare(b, 'en'));
  return [
    row('test', ...all.map(({ kernel }) => kernel)),
    row('---', ...all.map(() => '---')),
    ...files.map((file) =>
      row(file, ...all.map(({ ring }) => (ring.tests[file] === undefined ? '-' : testCell(ring.tests[file], reasons)))),
    ),
  ];
}

function testCell({ passed, failed, skipped, left }, reasons) {
  if (left !== undefined) return `not run ${reasons.of(left)}`;
  const parts = passed > 0 || failed.length === 0 ? [`${passed}`] : [];
  if (failed.length > 0)
    parts.push(`**${failed.length} failed** ${[...new Set(failed)].map((name) => reasons.of(`failed: ${name}`)).join(' ')}`);
  if (skipped.length > 0) parts.push(`${skipped.length} skipped ${[...new Set(skipped.map(({ why }) => reasons.of(why)))].join(' ')}`);
  return parts.join(', ');
}
