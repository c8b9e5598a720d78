// Names, images and labels are whatever somebody wrote: a socket that answers as docker's does gives the worst ones to containers
// made by hand, and every output of the program is looked at, character by character.
import { spawn } from 'node:child_process';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import t, { type Test } from 'tap';
import { parseAllDocuments } from 'yaml';
import { idOf, startContainer, tag, TestCgroups } from '../enrich/containers/fixture.ts';
import { FakeSocket } from '../enrich/runtimes/fake-sockets.ts';

t.setTimeout(280_000);

const program = fileURLToPath(new URL('../../src/cli/rawbpf.js', import.meta.url));
/** Clears the screen, sets the title, ends the line, forges an event, turns the direction, is cut at its first byte, ends a quotation. */
const nasty = '\u001b[2J\u001b]0;owned\u0007\r\n{"x":1}\n\t\u009b31m\u202e\u2028\u0000\u007f\ufeff"\'\\,=!é\u{1f433}';
const huge = 'x'.repeat(300_000);

interface Hostile {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Stands in the answer where these have U+FFFD. */
  readonly raw?: Uint8Array;
}

const labels = { [nasty]: nasty, app: 'web' };
const ofPod = { 'io.kubernetes.pod.name': nasty, 'io.kubernetes.pod.namespace': nasty, 'io.kubernetes.container.name': nasty };
const all: readonly Hostile[] = [
  { id: idOf('controls'), name: nasty, image: nasty, labels },
  { id: idOf('controls in a pod'), name: nasty, image: nasty, labels: { ...labels, ...ofPod } },
  { id: idOf('no UTF-8'), name: 'a\ufffdb', image: 'c\ufffdd', labels: { 'e\ufffd': '\ufffdf' }, raw: Uint8Array.of(0xff) },
  { id: idOf('huge'), name: huge, image: huge, labels: { [huge]: huge } },
  // A computed key is a property of its own.
  { id: idOf('prototypes'), name: '__proto__', image: 'constructor', labels: { ['__proto__']: 'toString' } },
];

function answerOf({ id, name, image, labels, raw }: Hostile): Buffer {
  const body = JSON.stringify({ Id: id, Name: `/${name}`, State: { Pid: 0, StartedAt: nasty }, Config: { Image: image, Labels: labels } });
  if (raw === undefined) return Buffer.from(body);
  return Buffer.concat(body.split('\ufffd').flatMap((part, i) => (i === 0 ? [Buffer.from(part)] : [raw, Buffer.from(part)])));
}

const answers = new Map(all.map((each) => [each.id, answerOf(each)]));
const server = http.createServer(({ url = '' }, response) => {
  const found = answers.get(/^\/containers\/([0-9a-f]{64})\/json$/.exec(url)?.[1] ?? '');
  if (url.startsWith('/containers/json')) response.end(JSON.stringify([...answers.keys()].map((id) => ({ Id: id }))));
  else if (url.startsWith('/events')) response.writeHead(200).flushHeaders();
  else if (found === undefined) response.writeHead(404).end();
  else response.end(found);
});
const socket = await FakeSocket.listen(server);
const cgroups = new TestCgroups();
const places = ['podman', 'containerd', 'crio'].flatMap((kind) => [`--${kind}-socketpath`, '/nonexistent/socket']);

/** The program, beside this process, which answers it. */
class Cli {
  readonly what: string;
  readonly #child: ReturnType<typeof spawn>;
  readonly #out: Buffer[] = [];
  readonly #err: Buffer[] = [];
  readonly ended: Promise<number | null>;

  constructor(...args: readonly string[]) {
    this.what = args.filter((arg) => arg.length < 100).join(' ');
    const ids = all.map(({ id }) => id).join(',');
    this.#child = spawn(process.execPath, [program, ...args, '-c', ids, '--docker-socketpath', socket.path, ...places], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.stdout?.on('data', (part: Buffer) => this.#out.push(part));
    this.#child.stderr?.on('data', (part: Buffer) => this.#err.push(part));
    this.ended = new Promise((resolve) => this.#child.on('close', resolve));
  }

  get out(): Buffer {
    return Buffer.concat(this.#out);
  }

  get err(): string {
    return Buffer.concat(this.#err).toString();
  }

  /** Throws where stdout is no UTF-8. */
  get text(): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.out);
  }

  get lines(): readonly string[] {
    return this.text.trimEnd().split('\n');
  }

  /** Waits until its output is so. */
  async until(what: string, done: () => boolean): Promise<void> {
    for (const end = performance.now() + 120_000; !done();) {
      if (performance.now() > end || this.#child.exitCode !== null) throw new Error(`${this.what}: not ${what}: ${this.err}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGINT');
    await this.ended;
  }
}

const clis: Cli[] = [];
const containers: ReturnType<typeof startContainer>[] = [];
t.teardown(async () => {
  for (const container of containers) container.kill('SIGKILL');
  for (const cli of clis) await cli.stop();
  cgroups.close();
  await socket.close();
});

function start(...args: readonly string[]): Cli {
  const cli = new Cli(...args);
  clis.push(cli);
  return cli;
}

interface Shown {
  readonly change?: string;
  readonly runtime: Readonly<Record<string, string>>;
  readonly k8s: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
}

/** Every one as it was given. */
function checkNames(t: Test, what: string, shown: readonly Shown[]): void {
  t.equal(shown.length, all.length, `${what}: each once`);
  for (const { id, name, image, labels } of all) {
    const found = shown.find(({ runtime }) => runtime['containerId'] === id);
    const inPod = 'io.kubernetes.pod.name' in labels;
    t.ok(found?.runtime['containerName'] === name, `${what}: the name`);
    t.ok(found?.runtime['containerImageName'] === image, `${what}: the image`);
    if (found?.labels !== undefined) t.ok(isDeepStrictEqual(Object.entries(found.labels), Object.entries(labels)), `${what}: its labels`);
    t.equal(found?.k8s['podName'], inPod ? nasty : '', `${what}: the pod`);
    t.equal(found?.k8s['podLabels'], inPod ? `${nasty}=${nasty},app=web` : '', `${what}: the pod's labels`);
  }
}

/** A terminal takes nothing of it for more than a character on its line. */
function checkColumns(t: Test, { what, text, lines }: Cli, rows: number): void {
  t.same(text.match(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu), null, `${what}: characters`);
  t.equal(lines.length, 1 + rows, `${what}: a title and a line each`);
}

/** Format characters are data, and stay; controls have no business in a file. */
function checkText(t: Test, { what, text }: Cli): void {
  t.same(text.match(/[^\P{Cc}\n]/gu), null, `${what}: characters`);
}

const parsed = ({ lines }: Cli): readonly Shown[] => lines.map((line) => JSON.parse(line) as Shown);

void t.test('hostile names, images and labels, in every output', async (t) => {
  for (const { id } of all) {
    const command = ['sh', '-c', `echo; read x; exec /bin/true ${tag}`];
    const container = startContainer({ cgroup: cgroups.make(`docker/${id}`), command });
    containers.push(container);
    await new Promise((resolve) => container.stdout?.once('data', resolve));
  }
  const [list, listJson] = [start('list-containers'), start('list-containers', '-o', 'json')];
  for (const cli of [list, listJson]) t.equal(await cli.ended, 0, cli.what);
  checkColumns(t, list, all.length);
  for (const { id } of all) t.ok(list.text.includes(` ${id.slice(0, 12)} `), id);
  t.ok(list.out.length < 20_000, `one that is long makes no other line long: ${list.out.length} bytes`);
  checkText(t, listJson);
  checkNames(t, listJson.what, parsed(listJson));

  const fields = ['containerName', 'containerImageName', 'containerStartedAt'].map((name) => `runtime.${name}`);
  const columns = start('run', 'trace_exec', '-v', '--fields', [...fields, 'k8s.namespace', 'k8s.podName', 'k8s.podLabels'].join(','));
  const texts = (['json', 'yaml'] as const).map((mode) => start('run', 'trace_exec', '-v', '-o', mode));
  const [json, yaml] = texts as [Cli, Cli];
  const [watch, watchJson] = [start('list-containers', '--watch'), start('list-containers', '--watch', '-o', 'json')];
  const times = (cli: Cli, text: string): number => cli.text.split(text).length - 1;
  for (const run of [columns, ...texts]) await run.until('attached', () => run.err.includes(': attached'));
  for (const cli of [watch, watchJson]) await cli.until('all listed', () => times(cli, 'added') >= all.length);
  for (const container of containers) container.stdin?.end();
  for (const cli of [watch, watchJson]) await cli.until('all gone', () => times(cli, 'removed') >= all.length);
  await columns.until('all shown', () => columns.out.toString().split('\n').length > 1 + all.length);
  for (const cli of texts) await cli.until('all shown', () => times(cli, tag) >= all.length);
  for (const cli of clis) await cli.stop();

  checkColumns(t, columns, all.length);
  checkColumns(t, watch, 2 * all.length);
  t.ok(watch.out.length < 20_000, `${watch.what}: ${watch.out.length} bytes`);
  for (const cli of [...texts, watchJson]) checkText(t, cli);
  checkNames(t, json.what, parsed(json));
  const documents = parseAllDocuments(yaml.text);
  checkNames(t, yaml.what, Array.isArray(documents) ? documents.map((document) => document.toJS() as Shown) : []);
  for (const change of ['added', 'removed']) {
    const told = parsed(watchJson).filter((each) => each.change === change);
    checkNames(t, `${watchJson.what}, ${change}`, told);
  }
  for (const { what, err } of clis) t.same(err.match(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu), null, `${what}: stderr`);
});
