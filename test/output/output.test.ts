import t from 'tap';
import { parse, parseAllDocuments } from 'yaml';
import { RecordList } from '../../src/gadget/record-list.ts';
import { EventOutput, type OutputMode } from '../../src/output/output.ts';
import { YamlWriter } from '../../src/output/yaml.ts';
import { sourceFixture } from '../gadget/fixture.ts';

/** A target that takes `room` chunks before it asks for a pause. */
class Target {
  readonly chunks: Buffer[] = [];
  room = Infinity;
  drain: (() => void) | null = null;

  /** Tells of each chunk that it has gone out. */
  readonly taken: ((error?: Error | null) => void)[] = [];

  write(chunk: Uint8Array, done: (error?: Error | null) => void): boolean {
    this.chunks.push(Buffer.from(chunk));
    this.taken.push(done);
    return this.chunks.length < this.room;
  }

  once(_: 'drain', listener: () => void): void {
    this.drain = listener;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
}

function outputs(
  mode: OutputMode,
  fields: string | null = null,
): { target: Target; output: EventOutput; event: ReturnType<typeof sourceFixture>; shapes: ReturnType<typeof sourceFixture> } {
  const target = new Target();
  const event = sourceFixture('event');
  const shapes = sourceFixture('shapes');
  return { target, event, shapes, output: new EventOutput({ mode, sources: [event.source, shapes.source], target, fields }) };
}

void t.test('every mode', (t) => {
  const write = (mode: OutputMode): string => {
    const { target, output, event, shapes } = outputs(mode);
    output.event(event.source, event.record);
    output.event(shapes.source, shapes.record);
    output.event(event.source, event.record);
    output.flush();
    return target.text;
  };
  const lines = write('json').trimEnd().split('\n');
  t.equal(lines.length, 3);
  for (const line of lines) t.doesNotThrow(() => JSON.parse(line));
  t.equal(lines[0], lines[2]);
  t.equal(write('none'), '');
  const pretty = write('jsonpretty');
  t.match(pretty, '{\n  "args": ');
  const columns = write('columns').trimEnd().split('\n');
  t.equal(columns.length, 6, 'titles again whenever another data source begins');
  t.match(columns[0], /^COMM/);
  t.equal(columns[0], columns[4]);
  const documents = parseAllDocuments(write('yaml'), { intAsBigInt: true });
  t.equal(documents.length, 3);
  t.end();
});

void t.test('YAML has the values of JSON, digit by digit', (t) => {
  for (const struct of ['event', 'shapes'] as const) {
    const { source, record } = sourceFixture(struct);
    const text = new YamlWriter(source).document(record);
    const fromYaml = parse(text, { intAsBigInt: true, version: '1.2' }) as Record<string, unknown>;
    const target = new Target();
    const output = new EventOutput({ mode: 'json', sources: [source], target });
    output.event(source, record);
    output.flush();
    const fromJson = parse(target.text, { intAsBigInt: true, version: '1.2' }) as Record<string, unknown>;
    for (const [name, value] of Object.entries(fromJson)) t.strictSame(fromYaml[name], value, name);
    t.equal(Object.keys(fromYaml).length, Object.keys(fromJson).length);
    // YAML 1.1 takes more words for booleans and more forms for numbers.
    const old = parse(text, { version: '1.1', intAsBigInt: true }) as Record<string, unknown>;
    t.strictSame(old['text'] ?? old['error'], fromYaml['text'] ?? fromYaml['error']);
  }
  t.end();
});

void t.test('YAML of hostile texts is read back as it was', (t) => {
  const { source, record, bytes } = sourceFixture('event');
  const at = source.field('proc.comm').offset;
  const texts = [
    'yes',
    'null',
    '1e3',
    '0x1F',
    '~',
    '- a',
    'a: b',
    'a #b',
    '#',
    ' x',
    'x ',
    "'",
    '"',
    '\u0085',
    '\u001b[m',
    '',
    '1:30',
    '.inf',
    '*a',
    '&a',
    '!t',
    '%x',
    '@',
    '`',
    '|',
    '>',
    '{',
    '[',
    'a,b',
    '=',
    '<<',
    '2001-01-01',
    '_1',
    'n',
    'no',
    '\ufeff',
  ];
  for (const text of texts) {
    bytes.fill(0, at, at + 16);
    bytes.set(Buffer.from(text), at);
    for (const version of ['1.1', '1.2'] as const) {
      const document = new YamlWriter(source).document(record);
      const parsed = parse(document, { version }) as { proc: { comm: unknown } };
      t.equal(parsed.proc.comm, text, `${JSON.stringify(text)} in YAML ${version}`);
      t.notMatch(document, /[^\P{Cc}\n]/u);
    }
  }
  t.end();
});

void t.test('what an iterator gave is one list', (t) => {
  const { source, bytes } = sourceFixture('shapes');
  const twice = new Uint8Array(bytes.length * 2);
  twice.set(bytes);
  twice.set(bytes, bytes.length);
  const write = (mode: OutputMode, count: number): string => {
    const target = new Target();
    const output = new EventOutput({ mode, sources: [source], target });
    output.batch(source, new RecordList(twice.subarray(0, count * bytes.length), bytes.length, source.makeRecord()));
    output.flush();
    return target.text;
  };
  t.equal((JSON.parse(write('json', 2)) as unknown[]).length, 2);
  t.equal(write('json', 2).split('\n').length, 2);
  t.equal(write('json', 0), '[]\n');
  t.equal((JSON.parse(write('jsonpretty', 2)) as unknown[]).length, 2);
  t.equal(write('jsonpretty', 0), '[]\n');
  t.equal((parse(write('yaml', 2)) as unknown[]).length, 2);
  t.equal(write('yaml', 0), '---\n[]\n');
  t.equal(write('columns', 2).trimEnd().split('\n').length, 3);
  t.end();
});

void t.test('order and number of what an iterator gave', (t) => {
  const { source, bytes } = sourceFixture('shapes');
  const at = source.field('s32').offset;
  const all = new Uint8Array(bytes.length * 5);
  for (const [i, value] of [3, -1, 2, 3, 0].entries()) {
    all.set(bytes, i * bytes.length);
    new DataView(all.buffer).setInt32(i * bytes.length + at, value, true);
    all[i * bytes.length + source.field('u8').offset] = i;
  }
  const write = (sort: string | null, maxEntries: number | null, width: number | null = null): string => {
    const target = new Target();
    const output = new EventOutput({ mode: 'columns', sources: [source], target, fields: 's32,u8', sort, maxEntries, width });
    for (let i = 0; i < 2; i++) output.batch(source, new RecordList(all, bytes.length, source.makeRecord()));
    output.flush();
    return target.text.replace(/ +/g, ' ');
  };
  const twice = (rows: string): string => `S32 U8\n${rows}${rows}`;
  t.equal(write('-s32', null), twice('3 0\n3 3\n2 2\n0 4\n-1 1\n'), 'equal ones keep their order');
  t.equal(write('s32,-u8', 3), twice('-1 1\n0 4\n2 2\n'));
  t.equal(write(null, 2), twice('3 0\n-1 1\n'));
  t.equal(write('second:s32', 1), twice('-1 1\n'));
  t.throws(() => write('nope', null), { code: 'E_FIELD' });
  const tops = new Map([['cli.clear-screen-before', 'true']]);
  Object.defineProperty(source, 'annotations', { value: tops });
  t.equal(write('s32', 1, 80).split('\u001b[H\u001b[2JS32 U8\n').length, 3, 'a screen anew for each, with titles');
  t.notMatch(write('s32', 1, null), '\u001b', 'only where there is a screen');
  t.end();
});

void t.test('fields by data source', (t) => {
  const { target, output, event, shapes } = outputs('columns', 'first:error;second:u8,yes');
  output.event(event.source, event.record);
  output.event(shapes.source, shapes.record);
  output.flush();
  t.equal(target.text, 'ERROR\nENOENT\nU8  YES\n255 true\n');
  t.throws(() => outputs('columns', 'third:a'), { code: 'E_FIELD', message: /first, second/ });
  t.end();
});

void t.test('a target that is slow asks for a pause, and gets everything in order', async (t) => {
  const { target, output, event } = outputs('json');
  target.room = 1;
  t.equal(output.congested, false);
  output.event(event.source, event.record);
  await new Promise((resolve) => setImmediate(resolve));
  t.equal(target.chunks.length, 1, 'written without being told to, after the turn');
  t.equal(output.congested, true);
  let drained = false;
  const waiting = output.drained().then(() => (drained = true));
  output.event(event.source, event.record);
  output.flush();
  t.equal(target.chunks.length, 2, 'what is written meanwhile is not lost');
  t.equal(drained, false);
  target.drain?.();
  await waiting;
  t.equal(output.congested, false);
  await output.drained();
  t.equal(target.text.trimEnd().split('\n').length, 2);
});

void t.test('events count as written once the target says so', (t) => {
  const { target, output, event } = outputs('json');
  const write = (count: number): void => {
    for (let i = 0; i < count; i++) output.event(event.source, event.record);
  };
  write(3);
  t.equal(output.unwritten, 3, 'gathered');
  output.flush();
  write(2);
  t.equal(output.unwritten, 5);
  target.taken[0]?.();
  t.equal(output.unwritten, 2, 'the first chunk has gone out');
  output.flush();
  target.taken[1]?.(new Error('EPIPE'));
  t.equal(output.unwritten, 2, 'a chunk that failed was not written');
  t.end();
});

void t.test('many events make few chunks, none of them changed afterwards', (t) => {
  const { target, output, event } = outputs('json');
  for (let i = 0; i < 1000; i++) {
    event.bytes[event.source.field('proc.pid').offset] = i & 0xff;
    output.event(event.source, event.record);
  }
  output.flush();
  const pids = target.text
    .trimEnd()
    .split('\n')
    .map((line) => (JSON.parse(line) as { proc: { pid: number } }).proc.pid & 0xff);
  t.equal(pids.length, 1000);
  t.ok(pids.every((pid, i) => pid === (i & 0xff)));
  t.ok(target.chunks.length < 50);
  t.end();
});
