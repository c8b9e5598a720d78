import { mkdtempSync, rmSync, statSync } from 'node:fs';
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
