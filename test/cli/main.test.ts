import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Writable } from 'node:stream';
import t from 'tap';
import { runProgram } from '../../src/cli/main.ts';

class Collected extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString();
    done();
  }
}

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const stdout = new Collected();
  const stderr = new Collected();
  return { code: await runProgram({ args, stdout, stderr }), out: stdout.text, err: stderr.text };
}

t.test('help goes to stdout, and without a command to stderr', async (t) => {
  for (const args of [['--help'], ['help'], ['-h']]) {
    const { code, out, err } = await run(...args);
    t.match({ code, err }, { code: 0, err: '' });
    t.match(out, /^rawbpf: eBPF for Node/);
    for (const command of ['run', 'features', 'list', 'check', 'inspect', 'btf', 'link', 'links', 'types'])
      t.match(out, new RegExp(`^  ${command} `, 'm'));
  }
  const { code, out, err } = await run();
  t.match({ code, out }, { code: 2, out: '' });
  t.match(err, /Usage: rawbpf COMMAND/);
});

t.test('every command has help of its own', async (t) => {
  for (const command of ['run', 'features', 'list', 'check', 'inspect', 'btf', 'link', 'links', 'types']) {
    const { code, out } = await run(command, '--help');
    t.equal(code, 0, command);
    t.match(out, new RegExp(`^Usage: rawbpf ${command}`));
    t.match(out, /--json/);
    t.equal((await run('help', command)).out, out);
  }
});

t.test('--help is help with a value too', async (t) => {
  for (const flag of ['--help=true', '--help=3']) t.match(await run('list', flag), { code: 0, out: /^Usage: rawbpf list/, err: '' }, flag);
  t.match(await run('list', '--help=false'), { code: 0, out: /trace_exec/ });
});

t.test('of several objects to link the malformed one is named', async (t) => {
  t.match(await run('link', path.join(os.tmpdir(), 'rawbpf-not-written.o'), '/dev/null'), {
    code: 1,
    out: '',
    err: /^rawbpf: malformed ELF header \(object \/dev\/null, offset 0\)/,
  });
});

t.test('mistakes in typing end with 2 and say what is wrong', async (t) => {
  const rows: readonly [readonly string[], RegExp][] = [
    [['rnu'], /unknown command rnu: did you mean run\?/],
    [['list', 'x'], /list takes no operand/],
    [['check'], /check needs an object/],
    [['check', '--nisns', 'a.o'], /unknown option --nisns: did you mean --insns\?/],
    [['run'], /run needs a gadget/],
    [['run', 'trace_exce'], /no gadget trace_exce.*did you mean trace_exec\b/],
    [['btf'], /btf needs a verb/],
    [['btf', 'min'], /btf min needs objects and --out FILE/],
    [['link', 'out'], /link needs a file to write and objects to link/],
    [['inspect', 'a', 'b'], /inspect takes one object/],
    [['list-containers', '--label', 'x'], /-l x is no label/],
    [['list-containers', '--host-root', '/nonexistent'], /--host-root \/nonexistent is no root of a host/],
    [['list-containers', '--runtime', ''], /--runtime {2}has an empty word/],
  ];
  for (const [args, message] of rows) {
    const { code, out, err } = await run(...args);
    t.match({ code, out }, { code: 2, out: '' }, args.join(' '));
    t.match(err, message);
  }
});

t.test('what cannot be read ends with 1', async (t) => {
  const { code, err } = await run('inspect', '/nonexistent/a.o');
  t.equal(code, 1);
  t.match(err, /cannot read \/nonexistent\/a\.o: there is no such file/);
});

const builtin = new URL('../../../gadgets/trace_exec/program.bpf.o', import.meta.url).pathname;

t.test('what cannot be read or written is told in a sentence, without a stack', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const gadget = path.join(folder, 'gadget');
  mkdirSync(path.join(gadget, 'gadget.yaml'), { recursive: true });
  copyFileSync(builtin, path.join(gadget, 'program.bpf.o'));
  const missing = path.join(folder, 'missing', 'out');
  const [kernels, circle] = [path.join(folder, 'kernels'), path.join(folder, 'circle')];
  for (const [links, name, to] of [
    [kernels, 'gone.btf', missing],
    [circle, 'round.btf', 'round.btf'],
  ] as const) {
    mkdirSync(links);
    symlinkSync(to, path.join(links, name));
  }
  const rows: readonly [readonly string[], string][] = [
    [['link', missing, builtin], `cannot write ${missing}: there is no such folder`],
    [['link', folder, builtin], `cannot write ${folder}: it is a folder`],
    [['link', '/dev/full', builtin], 'cannot write /dev/full: no space is left there'],
    [['btf', 'min', builtin, '--btf', builtin, '--out', missing], `cannot write ${missing}: there is no such folder`],
    [['check', '--kernels', missing, builtin], `cannot read ${missing}: there is no such file`],
    [['check', '--kernels', builtin, builtin], `cannot read ${builtin}: it is no folder`],
    [['check', '--kernels', kernels, builtin], `cannot read ${kernels}/gone.btf: there is no such file`],
    [['check', '--kernels', circle, builtin], `cannot read ${circle}/round.btf: its links lead round in a circle`],
    [['run', gadget, '--help'], `cannot read ${gadget}/gadget.yaml: it is a folder`],
  ];
  for (const [args, message] of rows) {
    const { code, err } = await run(...args);
    t.equal(code, 1, args.join(' '));
    t.equal(err, `rawbpf: ${message}\n`);
  }
});

t.test('what is malformed is told with the name of its file', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = path.join(folder, 'cut.o');
  writeFileSync(file, readFileSync(builtin).subarray(0, 100));
  for (const args of [
    ['inspect', file],
    ['types', file],
    ['btf', 'dump', file],
    ['btf', 'min', builtin, file, '--out', `${file}.btf`],
    ['run', file],
  ]) {
    const { code, err } = await run(...args);
    t.equal(code, 1, args.join(' '));
    t.match(err, `malformed ELF section header (file ${file}, offset`);
  }
});

t.test('check --kernels names the object that it does not take', async (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-test-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const legacy = new URL('../../../fixtures/object/legacy.bpf.o', import.meta.url).pathname;
  const { code, err } = await run('check', '--strict', '--kernels', folder, builtin, legacy);
  t.equal(code, 1);
  t.match(err, `(file ${legacy}, section maps`);
});

t.test("help shows what a gadget.yaml calls its parameters without the terminal's control characters", async (t) => {
  const gadget = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-test-'));
  t.teardown(() => rmSync(gadget, { recursive: true }));
  copyFileSync(builtin, path.join(gadget, 'program.bpf.o'));
  const [param, source] = ['ignore_failed', 'mine'].map(
    (name) => `${name}:\n      key: "${name}\\e[31m"\n      description: "red\\e[31m\\x9b31m"`,
  );
  writeFileSync(path.join(gadget, 'gadget.yaml'), `name: evil\nparams:\n  ebpf:\n    ${param}\n  custom:\n    ${source}\n`);
  const { code, out } = await run('run', gadget, '--help');
  t.equal(code, 0);
  t.match(out, '--ignore_failed\\x1b[31m');
  t.match(out, 'red\\x1b[31m\\x9b31m');
  t.notOk(out.includes('\x1b') || out.includes('\x9b'));
});

t.test('a letter that an option has is not taken away by a gadget.yaml', async (t) => {
  const gadget = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-test-'));
  t.teardown(() => rmSync(gadget, { recursive: true }));
  copyFileSync(builtin, path.join(gadget, 'program.bpf.o'));
  for (const [alias, shown] of [
    ['o', '    --ignore-failed'],
    ['i', '-i, --ignore-failed'],
    ['xy', '    --ignore-failed'],
  ] as const) {
    writeFileSync(
      path.join(gadget, 'gadget.yaml'),
      `params:\n  ebpf:\n    ignore_failed:\n      key: ignore-failed\n      alias: ${alias}\n`,
    );
    const { code, out } = await run('run', gadget, '-o', 'json', '--help');
    t.equal(code, 0);
    t.match(out, `\n  ${shown} `, alias);
  }
});

t.test('an object that cannot be opened is a result of check', async (t) => {
  const file = new URL('../../../package.json', import.meta.url).pathname;
  const { code, out } = await run('check', file, '-o', 'json');
  t.equal(code, 1);
  t.match(JSON.parse(out), { object: file, opened: false, loaded: false, error: { code: /^E_ELF/ }, programs: [], maps: [] });
});

t.test('list names the gadgets', async (t) => {
  const rows = (await run('list', '--json')).out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { name: string; description: string });
  t.ok(rows.some((row) => row.name === 'trace_exec' && row.description !== ''));
  t.ok(rows.some((row) => row.name === 'trace_open' && row.description !== ''));
});

t.test('types and link take -o json too', async (t) => {
  const object = new URL('../../../gadgets/trace_exec/program.bpf.o', import.meta.url).pathname;
  const { out } = await run('types', object, '-o', 'json');
  const declared: { object: string; declarations: string } = JSON.parse(out);
  t.equal(declared.object, object);
  t.equal(declared.declarations, (await run('types', object)).out);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-link-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const linked = path.join(folder, 'linked.o');
  const { code, out: said } = await run('link', linked, object, '--json');
  t.equal(code, 0);
  t.same(JSON.parse(said), { object: linked, inputs: [object], size: statSync(linked).size });
  t.equal((await run('link', linked, object)).out, '');
});
