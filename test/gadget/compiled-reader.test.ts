import t from 'tap';
import { fixedTextReader, readText } from '../../src/btf/value/text.ts';
import { Btf, BtfBuilder } from '../../src/btf/index.ts';
import { buildDataSource } from '../../src/gadget/data-source.ts';
import { fixedContext } from './fixture.ts';

void t.test('text of a fixed length is what the reader of any length says, whatever was there before', (test) => {
  const view = new DataView(new ArrayBuffer(80));
  const bytes = new Uint8Array(view.buffer);
  const texts = ['', 'a', 'worker-1', 'sixteen bytes!!!', '0123456789abcdef0123456789abcdef', 'héllo', '\u{1f600}', 'x\ufffd'];
  for (const size of [4, 8, 12, 16, 20, 32, 7, 33]) {
    const read = fixedTextReader(size);
    let state = 1;
    for (let round = 0; round < 3000; round++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      const at = state % 9;
      bytes.fill(round % 3 === 0 ? 0x41 : 0);
      const text = new TextEncoder().encode((texts[(state >>> 8) % texts.length] ?? '') + String((state >>> 16) % 700));
      bytes.set(text.subarray(0, size), at);
      // What stands behind the NUL is no part of the text.
      if (text.length < size) bytes[at + text.length] = 0;
      if (read(view, at) !== readText(view, at, size)) test.fail(`${size} bytes: ${read(view, at)}`);
    }
  }
  test.end();
});

void t.test('names are data: none becomes code, none is special', (test) => {
  const names = ['toString', 'constructor', '];process.exit(1);//', 'a', '0', "'", '`${1}`', 'name0', 'read'];
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const members = names.map((name, i) => ({ name, typeId: int, bitOffset: i * 32, bitSize: 0 }));
  const typeId = builder.add({ kind: 'STRUCT', name: 'event', size: names.length * 4, members });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const values = Int32Array.from(names, (_, i) => i + 1);
  const event = source.decode(source.makeRecord().point(new DataView(values.buffer), 0, values.byteLength));
  test.same(new Map(Object.entries(event)), new Map(names.map((name, i) => [name, i + 1])));
  test.equal(Object.getPrototypeOf(Object.getPrototypeOf(event)), null);
  test.end();
});

void t.test('64 bits of any value, cold and compiled, are what getBigInt64() and getBigUint64() read', (test) => {
  const builder = new BtfBuilder();
  const signed = builder.add({ kind: 'INT', name: 'long long', size: 8, encoding: 1, bitOffset: 0, bits: 64 });
  const unsigned = builder.add({ kind: 'INT', name: 'unsigned long long', size: 8, encoding: 0, bitOffset: 0, bits: 64 });
  const members = [signed, unsigned].map((typeId, i) => ({ name: `m${i}`, typeId, bitOffset: i * 64, bitSize: 0 }));
  const typeId = builder.add({ kind: 'STRUCT', name: 'event', size: 16, members });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const view = new DataView(new ArrayBuffer(16));
  const record = source.makeRecord();
  const edges = [0, 1, 0x7fffffff, 0x80000000, 0xffffffff];
  let state = 1;
  const word = (): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state % 3 === 0 ? (edges[(state >>> 8) % edges.length] ?? 0) : state;
  };
  let wrong = 0;
  for (let round = 0; round < 30_000; round++) {
    for (let at = 0; at < 16; at += 4) view.setUint32(at, word(), true);
    const event = source.decode(record.point(view, 0, 16));
    if (event['m0'] !== view.getBigInt64(0, true) || event['m1'] !== view.getBigUint64(8, true)) wrong++;
  }
  test.equal(wrong, 0);
  test.end();
});

void t.test('structs with more members than a generated reader takes', (test) => {
  const builder = new BtfBuilder();
  const int = builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  const count = 200;
  const members = Array.from({ length: count }, (_, i) => ({ name: `m${i}`, typeId: int, bitOffset: i * 32, bitSize: 0 }));
  const typeId = builder.add({ kind: 'STRUCT', name: 'event', size: count * 4, members });
  const source = buildDataSource({ name: 'x', kind: 'tracer', btf: Btf.parse(builder.encode()), typeId, context: fixedContext });
  const values = Int32Array.from({ length: count }, (_, i) => -i);
  const event = source.decode(source.makeRecord().point(new DataView(values.buffer), 0, values.byteLength));
  test.same(
    Object.values(event),
    members.map((_, i) => -i),
  );
  test.end();
});
