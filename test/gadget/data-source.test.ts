import { inspect } from 'node:util';
import t from 'tap';
import { Btf, BtfBuilder } from '../../src/btf/index.ts';
import { buildDataSource } from '../../src/gadget/data-source.ts';
import { ByteWriter } from '../../src/output/byte-writer.ts';
import { JsonWriter } from '../../src/output/json.ts';
import { annotationsOf, expectedValues, fixedContext, sourceFixture } from './fixture.ts';

/** As the expected values write them: big integers as text, big-endian nothing. */
const comparable = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, part: unknown) =>
      typeof part === 'bigint' ? (part.toString().length >= 16 ? part.toString() : Number(part)) : part,
    ),
  );

void t.test('every shape of field has the value that gcc reads', (t) => {
  const { source, record, notices } = sourceFixture('shapes');
  const expected = expectedValues().shapes;
  const decoded = comparable(source.decode(record)) as Record<string, unknown>;
  for (const [name, value] of Object.entries(expected)) {
    if (name === 'f32') t.equal(source.field('f32').text(record), '0.1', 'the shortest text of the float, 0.100000001 with nine digits');
    else t.same(decoded[name], value, name);
  }
  t.equal(decoded['text'], 'h\u00e9\ufffd\ufffdz', 'bytes that are no UTF-8 become U+FFFD');
  t.same(notices, []);
  t.same(new Set(Object.keys(decoded)), new Set([...Object.keys(expected), 'text']), 'no field is missing and none is too many');
  t.end();
});

void t.test('kinds, and which values are bigints', (t) => {
  const { source, record } = sourceFixture('shapes');
  const kinds: Readonly<Record<string, string>> = {
    yes: 'bool',
    s8: 'int8',
    u16: 'uint16',
    s64: 'int64',
    u128: 'uint128',
    f32: 'float32',
    low: 'uint32',
    middle: 'int32',
    wide: 'uint64',
    text: 'string',
    names: 'array',
    raw: 'array',
    where: 'struct',
    'where.x': 'int32',
    items: 'array',
    'either.whole': 'uint32',
    half: 'uint16',
    pointer: 'uint64',
  };
  for (const [name, kind] of Object.entries(kinds)) t.equal(source.field(name).kind, kind, name);
  for (const field of source.fields) {
    if (field.slot === null || !field.isInteger) continue;
    t.equal(typeof field.value(record), field.isWide ? 'bigint' : 'number', field.name);
    t.equal(field.wide(record), BigInt(field.value(record) as number), `${field.name} as a bigint`);
  }
  t.end();
});

void t.test('special types beside the raw values', (t) => {
  const { source, record, notices } = sourceFixture('event');
  const expected = expectedValues().event;
  const text = (name: string): string => source.field(name).text(record);
  const number = (name: string): number => source.field(name).number(record);
  for (const name of ['error', 'sig']) t.equal(text(name), expected[name], name);
  for (const name of ['syscall_raw', 'mode_raw', 'flags_raw', 'size_raw', 'latency_raw', 'color_raw', 'tint_raw', 'perm_raw']) {
    t.equal(number(name), expected[name], name);
  }
  t.equal(text('from.addr'), expected['from'], 'inet_ntop agrees');
  t.equal(text('to.addr'), expected['to'], 'inet_ntop agrees');
  t.equal(number('to.port'), expected['port']);
  t.equal(text('to.proto'), 'TCP');
  t.equal(text('to.endpoint'), '[2001:db8::1]:443');
  t.equal(source.find('to.addr_raw'), null, 'raw addresses are replaced');
  t.equal(text('proc.parent.comm'), expected['parent'], 'a comm that fills its array');
  t.equal(text('proc.comm'), 'sh\n\u001b[31m');
  t.equal(text('proc.creds.user'), 'root');
  t.equal(text('proc.creds.group'), 'gid:4294967294');
  // date -u -d @1700123456 and the nanoseconds as they were.
  t.equal(new Date(text('timestamp')).toISOString(), '2023-11-16T08:30:56.789Z');
  t.equal(source.field('timestamp_raw').value(record), 1700123456789012345n);
  // python3: stat.filemode(0o104755)
  t.equal(text('mode'), '-rwsr-xr-x');
  // python3: [n for n in dir(os) if n.startswith('O_') and getattr(os, n) & 0o2102101], of O_LARGEFILE 0o100000 in asm/fcntl.h
  t.equal(text('flags'), 'O_WRONLY|O_CREAT|O_APPEND|O_LARGEFILE|O_CLOEXEC');
  t.equal(text('syscall'), 'SYS_OPENAT');
  t.equal(text('size'), '83 MB');
  t.equal(text('latency'), '1.23ms');
  t.equal(text('color'), 'BLUE');
  t.equal(text('tint'), 'GREEN', 'a typedef of an enum');
  t.equal(text('perm'), 'READ|EXEC|0x8', 'a set of bits, one without a name');
  t.equal(source.find('__hidden'), null);
  t.equal(text('args'), 'ls -l  a "b\\\n');
  t.same(source.field('argv').value(record), ['ls', '-l', '', 'a "b\\\n']);
  t.equal(source.size, expected['size']);
  t.same(notices, []);
  t.end();
});

void t.test('tags and annotations', (t) => {
  const { source } = sourceFixture(
    'event',
    annotationsOf({ 'proc.pid': { 'columns.width': '9' }, error: { description: 'why' }, nonsense: { a: 'b' }, 'k8s.podName': { a: 'b' } }),
  );
  const pid = source.field('proc.pid');
  t.ok(['type:gadget_pid', 'type:__u32', 'type:unsigned int', 'name:pid', 'src:ebpf'].every((tag) => pid.tags.has(tag)));
  t.ok(source.field('proc.comm').tags.has('type:gadget_comm'), 'an array has the tags of its elements');
  t.equal(pid.annotation('columns.width'), '9');
  t.equal(pid.annotation('columns.minwidth'), '7', 'from the template of the type');
  t.equal(pid.annotation('columns.alias'), 'pid');
  t.equal(source.field('error').annotation('description'), 'why', 'added fields can be described too');
  t.equal(source.field('error_raw').hidden, true);
  t.equal(source.field('proc').hidden, true);
  t.equal(source.find('PROC.Creds.UID')?.name, 'proc.creds.uid', 'names count in any case');
  t.throws(() => source.field('proc.pidd'), { code: 'E_FIELD', message: /did you mean proc\.pid/ });
  t.end();
});

void t.test('a field that gadget.yaml names but the event lacks is told', (t) => {
  const { notices } = sourceFixture('event', annotationsOf({ nonsense: { a: 'b' }, 'k8s.podName': { a: 'b' } }));
  t.match(notices, [/nonsense/]);
  t.equal(notices.length, 1, 'fields that enrichment adds are not');
  t.end();
});

void t.test('targets named by annotations', (t) => {
  const { source, record, notices } = sourceFixture(
    'event',
    annotationsOf({
      error_raw: { 'formatters.errno.target': 'reason' },
      'proc.creds.uid': { 'uidgidresolver.target': 'owner' },
      timestamp_raw: { 'formatters.timestamp.format': '2006/01/02 15h .000 Z07:00' },
      perm_raw: { 'ebpf.formatter.bitfield.separator': ' ' },
      color_raw: { 'ebpf.formatter.enum': 'proc' },
    }),
  );
  t.equal(source.field('reason').text(record), 'ENOENT');
  t.equal(source.find('error'), null);
  t.equal(source.field('proc.creds.owner').text(record), 'root');
  t.match(source.field('timestamp').text(record), /^2023\/11\/1[567] \d\dh \.789 (Z|[+-]\d\d:\d\d)$/);
  t.equal(source.field('perm').text(record), 'READ EXEC 0x8');
  t.match(notices, [/field proc is left out/], 'a name that is taken');
  t.end();
});

void t.test('what follows the struct', (t) => {
  const { source, record, bytes } = sourceFixture('shapes', annotationsOf({}, { 'ebpf.rest.name': 'payload' }));
  const longer = new Uint8Array(bytes.length + 3);
  longer.set(bytes);
  longer.set([1, 2, 0xff], bytes.length);
  record.point(new DataView(longer.buffer), 0, longer.length);
  t.same(source.field('payload').value(record), Uint8Array.of(1, 2, 0xff));
  t.equal(source.field('payload').text(record), '0102ff');
  record.point(new DataView(longer.buffer), 0, bytes.length);
  t.same(source.field('payload').value(record), new Uint8Array(0));
  const limited = sourceFixture('shapes', annotationsOf({}, { 'ebpf.rest.name': 'payload', 'ebpf.rest.len': 'u8' }));
  limited.record.point(new DataView(longer.buffer), 0, longer.length);
  t.same(limited.source.field('payload').value(limited.record), Uint8Array.of(1, 2, 0xff), 'a length past the end is cut');
  longer[source.field('u8').offset] = 2;
  t.same(limited.source.field('payload').value(limited.record), Uint8Array.of(1, 2));
  t.end();
});

void t.test('an event shorter than its struct is extended with zeroes, again and again', (t) => {
  const { source, record, bytes } = sourceFixture('event');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const length of [200, 8, 100, 0, bytes.length, 60]) {
    record.point(view, 0, length);
    const expected = new Uint8Array(bytes.length);
    expected.set(bytes.subarray(0, length));
    t.same(Uint8Array.from(record.bytes.subarray(record.offset, record.offset + source.size)), expected, `${length} bytes`);
  }
  record.point(view, 0, 8);
  t.equal(source.field('proc.pid').number(record), 0);
  t.equal(source.field('error').text(record), '');
  t.equal(source.field('timestamp_raw').value(record), 1700123456789012345n);
  t.end();
});

void t.test('texts that events place themselves never leave the event', (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'unsigned int', size: 4, encoding: 0, bitOffset: 0, bits: 32 });
  const text = builder.add({ kind: 'TYPEDEF', name: 'gadget_string', typeId: int, attribute: false });
  const typeId = builder.add({
    kind: 'STRUCT',
    name: 'event',
    size: 4,
    members: [{ name: 'path', typeId: text, bitOffset: 0, bitSize: 0 }],
  });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const bytes = Buffer.from('....abc\0SECRET');
  const read = (offset: number, length: number, size: number): string => {
    bytes.writeUInt32LE(offset | (length << 16), 0);
    return source.field('path').text(source.makeRecord().point(new DataView(Uint8Array.from(bytes).buffer), 0, size));
  };
  t.equal(read(4, 3, 8), 'abc');
  t.equal(read(0, 0, 8), '');
  t.equal(read(4, 1000, 8), 'abc');
  t.equal(read(8, 6, 8), '');
  t.equal(read(0xffff, 0x7fff, 8), '');
  t.end();
});

void t.test('endpoints of older objects', (t) => {
  const builder = new BtfBuilder();
  const u8 = builder.add({ kind: 'INT', name: 'unsigned char', size: 1, encoding: 0, bitOffset: 0, bits: 8 });
  const u16 = builder.add({ kind: 'INT', name: 'unsigned short', size: 2, encoding: 0, bitOffset: 0, bits: 16 });
  const bytes16 = builder.add({ kind: 'ARRAY', name: '', typeId: u8, indexTypeId: u16, count: 16 });
  const at = (name: string, typeId: number, byte: number): { name: string; typeId: number; bitOffset: number; bitSize: number } => ({
    name,
    typeId,
    bitOffset: byte * 8,
    bitSize: 0,
  });
  const address = builder.add({ kind: 'UNION', name: '', size: 16, members: [at('v6', bytes16, 0)] });
  const l4 = builder.add({
    kind: 'STRUCT',
    name: 'gadget_l4endpoint_t',
    size: 22,
    members: [at('addr', address, 0), at('port', u16, 16), at('proto', u16, 18), at('version', u8, 20)],
  });
  const l3 = builder.add({
    kind: 'STRUCT',
    name: 'gadget_l3endpoint_t',
    size: 18,
    members: [at('addr', address, 0), at('version', u8, 16)],
  });
  const typeId = builder.add({ kind: 'STRUCT', name: 'event', size: 40, members: [at('src', l4, 0), at('dst', l3, 22)] });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const bytes = new Uint8Array(40);
  bytes.set([10, 0, 0, 1]);
  bytes.set([80, 0, 17, 0, 4], 16);
  bytes.set([0xfe, 0x80], 22);
  bytes.set([6], 22 + 16);
  const out = new ByteWriter();
  new JsonWriter(source).write(out, source.makeRecord().point(new DataView(bytes.buffer), 0, 40));
  t.equal(
    out.take().toString(),
    '{"dst":{"addr":"fe80::","version":6},"src":{"addr":"10.0.0.1","port":80,"proto":"UDP","proto_raw":17,"version":4}}\n',
  );
  t.end();
});

void t.test('hostile structs', (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const member = (name: string, typeId: number, bitOffset = 0): { name: string; typeId: number; bitOffset: number; bitSize: number } => ({
    name,
    typeId,
    bitOffset,
    bitSize: 0,
  });
  const names = builder.add({
    kind: 'STRUCT',
    name: 'names',
    size: 4,
    members: ['constructor', 'toString', 'hasOwnProperty', 'x', 'x', 'a.b', '"\n'].map((name) => member(name, int)),
  });
  const outside = builder.add({ kind: 'STRUCT', name: 'outside', size: 4, members: [member('x', int, 64)] });
  const empty = builder.add({ kind: 'STRUCT', name: 'empty', size: 0, members: [] });
  // Doubling: 2^20 fields from 20 types of two members each.
  let doubled = builder.add({ kind: 'STRUCT', name: 'd0', size: 4, members: [member('x', int)] });
  for (let i = 1; i <= 20; i++)
    doubled = builder.add({ kind: 'STRUCT', name: `d${i}`, size: 4, members: [member('a', doubled), member('b', doubled)] });
  // The same through arrays of structs.
  const index = int;
  let nested = builder.add({ kind: 'STRUCT', name: 'n0', size: 4, members: [member('x', int)] });
  for (let i = 1; i <= 22; i++) {
    const array = builder.add({ kind: 'ARRAY', name: '', typeId: nested, indexTypeId: index, count: 1 });
    nested = builder.add({ kind: 'STRUCT', name: `n${i}`, size: 4, members: [member('a', array), member('b', array)] });
  }
  const huge = builder.add({ kind: 'STRUCT', name: 'huge', size: 0x7fffffff, members: [member('x', int)] });
  const btf = Btf.parse(builder.encode());
  const notices: string[] = [];
  const build = (typeId: number): ReturnType<typeof buildDataSource> =>
    buildDataSource({ name: 'x', kind: 'tracer', btf, typeId, context: fixedContext, notice: (message) => notices.push(message) });
  const source = build(names);
  const decoded = source.decode(source.makeRecord().point(new DataView(Uint8Array.of(1, 0, 0, 0).buffer), 0, 4));
  t.same(Object.keys(decoded), ['constructor', 'toString', 'hasOwnProperty', 'x', 'a.b', '"\n']);
  t.equal(decoded['constructor'], 1);
  t.equal(Object.getPrototypeOf(Object.getPrototypeOf(decoded)), null, 'nothing is inherited');
  t.match(inspect(decoded), /^\{\n? +constructor: 1,/, 'and shown as it looks');
  t.match(notices, [/field x is left out/]);
  t.throws(() => build(outside), { code: 'E_BTF_MEMBER' });
  t.throws(() => build(empty), { code: 'E_GADGET_EVENT' });
  t.throws(() => build(int), { code: 'E_GADGET_EVENT' });
  const start = performance.now();
  t.ok(build(doubled).fields.length <= 8192);
  const deep = build(nested);
  const record = deep.makeRecord().point(new DataView(new ArrayBuffer(4)), 0, 4);
  const out = new ByteWriter();
  new JsonWriter(deep).write(out, record);
  t.equal(out.take().toString(), `${JSON.stringify(deep.decode(record))}\n`);
  t.ok(performance.now() - start < 20_000, 'in bounded time');
  t.match(notices.at(-1), /are left out/);
  t.throws(() => build(huge), { code: 'E_GADGET_EVENT', message: /too large/ });
  t.end();
});
