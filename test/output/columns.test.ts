import t from 'tap';
import { ColumnsWriter, visibleFields } from '../../src/output/columns.ts';
import { selectFields } from '../../src/output/select.ts';
import { cut, displayWidth, safeText } from '../../src/output/terminal.ts';
import { annotationsOf, sourceFixture } from '../gadget/fixture.ts';

void t.test('titles, alignment and hidden fields', (t) => {
  const { source, record } = sourceFixture(
    'event',
    annotationsOf({ args: { 'columns.hidden': 'true' }, size_raw: { 'columns.hidden': 'false', 'columns.alignment': 'right' } }),
  );
  const names = visibleFields(source).map(({ name }) => name);
  t.ok(['proc.comm', 'proc.pid', 'error', 'size', 'size_raw', 'to.endpoint', 'from.addr'].every((name) => names.includes(name)));
  t.notOk(
    names.some((name) =>
      ['timestamp', 'timestamp_raw', 'error_raw', 'proc', 'args', 'proc.mntns_id', 'proc.creds.user', 'to.port'].includes(name),
    ),
  );
  const columns = new ColumnsWriter(source, { fields: ['proc.comm', 'proc.pid', 'error', 'size_raw'].map((name) => source.field(name)) });
  // proc.pid: at least 7, aligned to the right; others begin where their title begins.
  t.match(columns.header(), /^COMM +PID ERROR +SIZE_RAW$/);
  const row = columns.row(record);
  t.equal(row.indexOf('4242') + 4, columns.header().indexOf('PID') + 3);
  t.equal(row.indexOf('ENOENT'), columns.header().indexOf('ERROR'));
  t.equal(row.length, columns.header().length);
  t.end();
});

void t.test('columns share the width of the terminal', (t) => {
  const { source, record } = sourceFixture(
    'event',
    annotationsOf({ args: { 'columns.width': '10' }, error: { 'columns.fixed': 'true', 'columns.width': '8' } }),
  );
  const fields = ['proc.comm', 'proc.pid', 'error', 'args', 'timestamp'].map((name) => source.field(name));
  for (const width of [20, 30, 40, 60, 80, 100, 200]) {
    const columns = new ColumnsWriter(source, { fields, width });
    t.ok(displayWidth(columns.header()) <= width, `titles in ${width}`);
    t.ok(displayWidth(columns.row(record)) <= width, `a row in ${width}`);
  }
  const wide = new ColumnsWriter(source, { fields, width: 200 });
  t.match(wide.row(record), /2023-11-1/);
  const narrow = new ColumnsWriter(source, { fields, width: 40 });
  t.match(narrow.row(record), /\u2026/, 'what is cut is marked');
  narrow.resize(null);
  t.match(narrow.row(record), /ls -l {2}a "b\\\\n/, 'elsewhere than on a terminal nothing is cut');
  t.end();
});

void t.test('a width that a gadget.yaml may ask for is bounded', (t) => {
  const { source, record } = sourceFixture(
    'event',
    annotationsOf({ error: { 'columns.width': '1000000000', 'columns.minwidth': '999999999' } }),
  );
  const columns = new ColumnsWriter(source, { fields: [source.field('error'), source.field('proc.comm')] });
  t.ok(columns.header().length < 10_000);
  t.ok(columns.row(record).length < 10_000);
  t.end();
});

void t.test('kinds of cells', (t) => {
  const { source, record } = sourceFixture(
    'shapes',
    annotationsOf({ f64: { 'columns.precision': '4' }, u8: { 'columns.hex': 'true' }, s8: { 'columns.replace': 'u16' } }),
  );
  const cell = (name: string): string => new ColumnsWriter(source, { fields: [source.field(name)] }).row(record);
  const cases: readonly (readonly [string, string])[] = [
    ['f32', '0.10'],
    ['f64', '0.1000'],
    ['u8', '0xff'],
    ['s8', '65535'],
    ['pointer', '0x1234'],
    ['yes', 'true'],
    ['u64', '18446744073709551615'],
    ['numbers', '[-1,0,2147483647]'],
    ['items', '[{"id":1,"tag":"a","error_raw":13,"error":"EACCES"},{"id":2,"tag":"bcde","error_raw":0,"error":""}]'],
  ];
  for (const [name, text] of cases) t.equal(cell(name), text, name);
  t.end();
});

void t.test('nothing that a terminal obeys gets through, whatever the bytes', (t) => {
  const { source, record, bytes } = sourceFixture('event', annotationsOf({ args: { 'strings.array': 'argv' } }));
  const all = source.fields.filter((field) => field.slot !== null);
  const writers = [new ColumnsWriter(source, { fields: all }), new ColumnsWriter(source, { fields: all, width: 120 })];
  let state = 7;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  const hard = [0x1b, 0x5b, 0x0a, 0x0d, 0x07, 0x08, 0x7f, 0xc2, 0x9b, 0x85, 0xe2, 0x80, 0xae, 0xa8, 0xef, 0xbb, 0xbf, 0x41, 0];
  let bad = 0;
  for (let round = 0; round < 400; round++) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = round % 2 === 0 ? random() : (hard[random() % hard.length] as number);
    for (const writer of writers) {
      if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u.test(writer.row(record))) bad++;
    }
  }
  t.equal(bad, 0);
  t.equal(safeText('a\u001b[31mb\n\t\u202e\u009b\ud800\u{e0001}'), 'a\\x1b[31mb\\n\\t\\u202e\\x9b\ufffd\\u{e0001}');
  t.equal(safeText('gr\u00fc\u00df\u4e16\u754c'), 'gr\u00fc\u00df\u4e16\u754c');
  t.end();
});

void t.test('widths of characters and cuts', (t) => {
  // python3 -c "import wcwidth; ..." has no package here: East Asian Width W of UAX #11 counts 2, Mn counts 0.
  t.equal(displayWidth('abc'), 3);
  t.equal(displayWidth('\u4e16\u754c'), 4);
  t.equal(displayWidth('e\u0301'), 1);
  t.equal(displayWidth('\u{1f600}'), 2);
  const cases: readonly (readonly [string, number, 'end' | 'start' | 'middle' | 'none', string])[] = [
    ['abcdef', 6, 'end', 'abcdef'],
    ['abcdef', 4, 'end', 'abc\u2026'],
    ['abcdef', 4, 'start', '\u2026def'],
    ['abcdef', 4, 'middle', 'a\u2026ef'],
    ['abcdef', 4, 'none', 'abcd'],
    ['abcdef', 1, 'end', '\u2026'],
    ['abcdef', 0, 'end', ''],
    ['\u4e16\u754c\u4e16', 4, 'end', '\u4e16\u2026'],
    ['\u{1f600}\u{1f600}', 3, 'end', '\u{1f600}\u2026'],
  ];
  for (const [text, width, ellipsis, expected] of cases) t.equal(cut(text, width, ellipsis), expected, `${text} ${width} ${ellipsis}`);
  t.end();
});

void t.test('--fields', (t) => {
  const { source } = sourceFixture('event');
  const names = (text: string): string[] => selectFields(source, text).map(({ name }) => name);
  t.same(names('error, proc.pid'), ['error', 'proc.pid'], 'a list has its own order');
  t.same(names('PID'), ['proc.pid'], 'the title of a column will do');
  const shown = visibleFields(source).map(({ name }) => name);
  t.same(
    names('-error'),
    shown.filter((name) => name !== 'error'),
  );
  t.same(
    names('+timestamp'),
    source.fields.filter(({ name }) => shown.includes(name) || name === 'timestamp').map(({ name }) => name),
  );
  t.same(
    names('proc.creds'),
    ['proc.creds.uid', 'proc.creds.user', 'proc.creds.gid', 'proc.creds.group'],
    'a struct stands for its fields',
  );
  t.same(names('error,-error,sig'), ['sig']);
  t.throws(() => names('eror'), { code: 'E_FIELD', message: /did you mean error/ });
  t.throws(() => names(''), { code: 'E_FIELD' });
  t.throws(() => names('error,-error'), { code: 'E_FIELD', message: /leaves no field/ });
  t.end();
});
