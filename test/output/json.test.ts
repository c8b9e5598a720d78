import t from 'tap';
import { Btf, BtfBuilder } from '../../src/btf/index.ts';
import type { ContainerFields } from '../../src/gadget/context.ts';
import { buildDataSource } from '../../src/gadget/data-source.ts';
import { ByteWriter } from '../../src/output/byte-writer.ts';
import { JsonWriter } from '../../src/output/json.ts';
import { indentJson } from '../../src/output/json-layout.ts';
import { jsonText } from '../../src/output/json-string.ts';
import { annotationsOf, fixedContext, sourceFixture } from '../gadget/fixture.ts';

function lineOf(fixture: ReturnType<typeof sourceFixture>): string {
  const out = new ByteWriter();
  new JsonWriter(fixture.source).write(out, fixture.record);
  return out.take().toString();
}

void t.test('a line holds what decoding gives, keys sorted by their bytes at every level', (t) => {
  for (const struct of ['event', 'shapes'] as const) {
    const fixture = sourceFixture(struct);
    const line = lineOf(fixture);
    t.ok(line.endsWith('}\n'));
    t.equal(line.indexOf('\n'), line.length - 1);
    const exact = JSON.parse(line.replace(/(?<=[:[,])(-?\d{16,})(?=[,\]}])/g, '"$1n"')) as Record<string, unknown>;
    const check = (value: unknown, path: string): void => {
      if (typeof value !== 'object' || value === null || Array.isArray(value)) return;
      const keys = Object.keys(value);
      t.same(
        keys,
        keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))),
        `keys of ${path}`,
      );
      for (const [key, part] of Object.entries(value)) check(part, `${path}.${key}`);
    };
    check(exact, struct);
    const decoded = JSON.parse(
      JSON.stringify(fixture.source.decode(fixture.record), (key, part: unknown) => {
        if (key === 'endpoint') return undefined;
        if (key === 'f32') return 0.1;
        return typeof part === 'bigint' ? (part.toString().length >= 16 ? `${part}n` : Number(part)) : part;
      }),
    ) as Record<string, unknown>;
    t.strictSame(sortKeys(exact), sortKeys(decoded));
  }
  t.end();
});

function sortKeys(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(
    Object.entries(value)
      .map(([key, part]): [string, unknown] => [key, sortKeys(part)])
      .toSorted((a, b) => (a[0] < b[0] ? -1 : 1)),
  );
}

void t.test('integers of 64 and 128 bits are bare digits', (t) => {
  const line = lineOf(sourceFixture('shapes'));
  t.match(line, /"u64":18446744073709551615,/);
  t.match(line, /"s64":-9223372036854775808,/);
  t.match(line, /"large":\[9007199254740993,9223372036854775808\]/);
  t.match(line, /"s128":-85070591730234615865843651857942052864,/);
  t.match(line, /"u128":1512366075204170947332355369683137040,/);
  t.match(lineOf(sourceFixture('event')), /"timestamp_raw":1700123456789012345,/);
  t.end();
});

void t.test('decimal digits of any number', (t) => {
  const out = new ByteWriter();
  const values = [
    0n,
    9n,
    10n,
    99n,
    100n,
    999_999_999n,
    1_000_000_000n,
    2n ** 31n,
    2n ** 32n - 1n,
    2n ** 53n,
    2n ** 53n + 1n,
    10n ** 18n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  for (let i = 1n; i < 3000n; i++) values.push(BigInt.asUintN(64, i * 0x9e3779b97f4a7c15n) >> (i % 64n));
  for (let power = 0n; power < 20n; power++) values.push(10n ** power, 10n ** power - 1n);
  const wrong: bigint[] = [];
  for (const value of values) {
    out.ensure(64);
    out.uint64(Number(value >> 32n), Number(value & 0xffffffffn));
    if (out.take().toString() !== value.toString()) wrong.push(value);
    const signed = BigInt.asIntN(64, value);
    out.int64(Number(value >> 32n), Number(value & 0xffffffffn));
    if (out.take().toString() !== signed.toString()) wrong.push(signed);
  }
  for (const value of [0, -1, -128, 2147483647, -2147483648, 4294967295]) {
    out.ensure(64);
    out.int(value);
    if (out.take().toString() !== String(value)) wrong.push(BigInt(value));
  }
  t.same(wrong, []);
  t.end();
});

void t.test('floats that JSON has no number for are null', (t) => {
  const fixture = sourceFixture('shapes');
  const view = new DataView(fixture.bytes.buffer, fixture.bytes.byteOffset);
  const f64 = fixture.source.field('f64').offset;
  const f32 = fixture.source.field('f32').offset;
  for (const [value, text] of [
    [Number.NaN, 'null'],
    [Number.POSITIVE_INFINITY, 'null'],
    [-0.5, '-0.5'],
    [1e300, '1e+300'],
    [5e-324, '5e-324'],
  ] as const) {
    view.setFloat64(f64, value, true);
    t.match(lineOf(fixture), `"f64":${text},`);
  }
  view.setFloat32(f32, Number.NaN, true);
  t.match(lineOf(fixture), '"f32":null,');
  view.setFloat32(f32, 16777216, true);
  t.match(lineOf(fixture), '"f32":16777216,');
  t.end();
});

void t.test('any bytes in any field give one line of valid JSON, and the text that TextDecoder gives', (t) => {
  const fixture = sourceFixture('event', annotationsOf({ args: { 'strings.array': 'argv' } }));
  const { source, record, bytes } = fixture;
  const comm = source.field('proc.comm');
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const writer = new JsonWriter(source);
  const out = new ByteWriter();
  let state = 1;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
  // Bytes that start, continue and break sequences of UTF-8 come more often than by chance.
  const hard = [0, 1, 9, 10, 13, 27, 34, 47, 92, 127, 128, 133, 159, 160, 191, 192, 193, 194, 223, 224, 226, 237, 239, 240, 244, 245, 255];
  let bad = 0;
  for (let round = 0; round < 3000; round++) {
    for (let i = 0; i < bytes.length; i++) bytes[i] = round % 3 === 0 ? random() : (hard[random() % hard.length] as number);
    writer.write(out, record);
    const line = out.take();
    const text = line.toString('utf8');
    if (Buffer.compare(Buffer.from(text), line) !== 0) bad++;
    // oxlint-disable-next-line no-control-regex
    if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/.test(text) || text.indexOf('\n') !== text.length - 1) bad++;
    const parsed = JSON.parse(text) as { proc: { comm: string }; args: string; argv: string[] };
    const raw = bytes.subarray(comm.offset, comm.offset + 16);
    const nul = raw.indexOf(0);
    if (parsed.proc.comm !== decoder.decode(raw.subarray(0, nul < 0 ? 16 : nul))) bad++;
    if (parsed.args !== parsed.argv.join(' ')) bad++;
    if (parsed.args !== source.field('args').text(record)) bad++;
    if (JSON.stringify(parsed.argv) !== JSON.stringify(source.field('argv').value(record))) bad++;
  }
  t.equal(bad, 0);
  t.end();
});

void t.test('control characters of C1 and DEL are escaped too', (t) => {
  t.equal(jsonText('a\u007fb\u009b31m\u0001"\\\n\u00a0\u2028'), '"a\\u007fb\\u009b31m\\u0001\\"\\\\\\n\u00a0\u2028"');
  const fixture = sourceFixture('event');
  fixture.bytes.set(Buffer.from('\u009b31m\u007f\u0001\0'), fixture.source.field('proc.comm').offset);
  t.match(lineOf(fixture), '"comm":"\\u009b31m\\u007f\\u0001"');
  t.end();
});

void t.test('hostile names are keys like any other', (t) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const names = ['constructor', '"', '\\', '\n', '\u001b[2J', '\u009b', '\u{1f600}', '\uffee', 'z', ''];
  const typeId = builder.add({
    kind: 'STRUCT',
    name: 'e',
    size: 4,
    members: names.map((name) => ({ name, typeId: int, bitOffset: 0, bitSize: 0 })),
  });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const out = new ByteWriter();
  new JsonWriter(source).write(out, source.makeRecord().point(new DataView(new ArrayBuffer(4)), 0, 4));
  const text = out.take().toString();
  // By bytes: U+FFEE comes before U+1F600, by UTF-16 units it would not.
  t.same(Object.keys(JSON.parse(text) as object), ['\n', '\u001b[2J', '"', '\\', 'constructor', 'z', '\u009b', '\uffee', '\u{1f600}']);
  t.notMatch(text, /[^\P{Cc}\n]/u);
  t.end();
});

void t.test('json.skip, and structs that have nothing left', (t) => {
  const fixture = sourceFixture(
    'event',
    annotationsOf({
      error_raw: { 'json.skip': 'true' },
      'proc.creds': { 'json.skip': 'true' },
      'from.addr': { 'json.skip': 'true' },
      'from.version': { 'json.skip': 'true' },
    }),
  );
  const parsed = JSON.parse(lineOf(fixture)) as Record<string, Record<string, unknown>>;
  t.equal('error_raw' in parsed, false);
  t.equal('creds' in (parsed['proc'] ?? {}), false);
  t.equal('from' in parsed, false);
  t.equal('endpoint' in (parsed['to'] ?? {}), false);
  t.end();
});

void t.test('indented JSON keeps every digit and every string', (t) => {
  const line = lineOf(sourceFixture('shapes')).trim();
  const pretty = indentJson(line);
  t.strictSame(JSON.parse(pretty), JSON.parse(line));
  t.match(pretty, '  "u64": 18446744073709551615,');
  // jq -n '{a: [1, {}], b: [], c: {d: "{:,"}}'
  t.equal(
    indentJson('{"a":[1,{}],"b":[],"c":{"d":"{:,\\""}}'),
    '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": [],\n  "c": {\n    "d": "{:,\\""\n  }\n}',
  );
  t.end();
});

void t.test('lines written by generated code are those of the loop, for every kind of number', (t) => {
  const builder = new BtfBuilder();
  const kinds = [1, 2, 4, 8].flatMap((size) => [
    { name: `u${size}`, size, encoding: 0 },
    { name: `s${size}`, size, encoding: 1 },
  ]);
  let size = 0;
  const members = kinds.map(({ name, size: bytes, encoding }) => {
    const typeId = builder.add({ kind: 'INT', name: `t${name}`, size: bytes, encoding, bitOffset: 0, bits: bytes * 8 });
    const member = { name, typeId, bitOffset: size * 8, bitSize: 0 };
    size += 8;
    return member;
  });
  const typeId = builder.add({ kind: 'STRUCT', name: 'numbers', size, members });
  const source = buildDataSource({ name: 'n', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const values: bigint[] = [];
  for (let power = 0n; power < 20n; power++) values.push(10n ** power, 10n ** power - 1n, -(10n ** power));
  for (let bit = 0n; bit < 64n; bit++) values.push(2n ** bit, 2n ** bit - 1n, -(2n ** bit));
  for (let i = 1n; i < 1000n; i++)
    values.push(BigInt.asUintN(64, i * 0x9e3779b97f4a7c15n) >> (i % 64n), 26_345_678_901_234n + i * 99_999_999n);
  const view = new DataView(new ArrayBuffer(size));
  const record = source.makeRecord();
  const out = new ByteWriter();
  const writer = new JsonWriter(source);
  const wrong: string[] = [];
  // The first lines are the loop's.
  for (const value of [...values, ...values]) {
    for (let at = 0; at < size; at += 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
    writer.write(out, record.point(view, 0, size));
    const line = out.take().toString();
    const wanted = kinds
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(
        ({ name, size: bytes, encoding }) =>
          `"${name}":${encoding === 1 ? BigInt.asIntN(bytes * 8, value) : BigInt.asUintN(bytes * 8, value)}`,
      );
    if (line !== `{${wanted.join(',')}}\n`) wrong.push(`${value}: ${line}`);
  }
  t.ok(values.length > 1000, 'code is generated after some hundreds of lines');
  t.same(wrong.slice(0, 5), []);
  t.end();
});

void t.test('what an event is told of its container follows the container, though it is copied whole', (t) => {
  const builder = new BtfBuilder();
  const u64 = builder.add({ kind: 'INT', name: 'u64', size: 8, encoding: 0, bitOffset: 0, bits: 64 });
  const mntns = builder.add({ kind: 'TYPEDEF', name: 'gadget_mntns_id', typeId: u64, attribute: false });
  const typeId = builder.add({
    kind: 'STRUCT',
    name: 'e',
    size: 8,
    members: [{ name: 'mntns_id', typeId: mntns, bitOffset: 0, bitSize: 0 }],
  });
  const named = (serial: number, name: string): ContainerFields => ({
    serial,
    runtime: {
      runtimeName: 'docker',
      containerName: name,
      containerId: 'f00d',
      containerPid: serial,
      containerImageName: 'é"\u0001',
      containerImageDigest: '',
      containerStartedAt: '',
      innerContainerId: '',
    },
    k8s: {
      node: '',
      namespace: name,
      podName: '',
      containerName: '',
      podLabels: 'a=b',
      hostnetwork: serial === 2,
      owner: { kind: '', name },
    },
  });
  const known = new Map([
    [1, named(1, 'one')],
    [2, named(2, 'two')],
  ]);
  const containers = { columns: 'runtime', version: 0, byMntns: (inode: number) => known.get(inode) ?? null, byNetns: () => null } as const;
  const context = { ...fixedContext, containers };
  const source = buildDataSource({ name: 'e', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context });
  const view = new DataView(new ArrayBuffer(8));
  const record = source.makeRecord();
  const out = new ByteWriter();
  const writer = new JsonWriter(source);
  for (let i = 0; i < 600; i++) {
    const inode = i % 3;
    view.setUint32(0, inode, true);
    writer.write(out, record.point(view, 0, 8));
    const line = JSON.parse(out.take().toString()) as { k8s: object; runtime: object };
    if (i < 3 || i > 590) {
      const wanted = known.get(inode) ?? null;
      t.match(line.runtime, wanted?.runtime ?? { containerName: '', containerPid: 0 });
      t.match(line.k8s, wanted?.k8s ?? { namespace: '', hostnetwork: false, owner: { name: '' } });
    }
  }
  t.end();
});
