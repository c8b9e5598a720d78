import { readFileSync } from 'node:fs';
import t from 'tap';
import { openObject } from '../../src/bpf/object/index.ts';
import { buildDataSource } from '../../src/gadget/data-source.ts';
import { discoverGadget } from '../../src/gadget/contract.ts';
import { ByteWriter } from '../../src/output/byte-writer.ts';
import { JsonWriter } from '../../src/output/json.ts';
import { fixedContext } from './fixture.ts';

const object = readFileSync(new URL('../../../gadgets/trace_open/program.bpf.o', import.meta.url));

/** Bytes that an event of trace_open has before its strings. */
const fixed = 112;

/** An event with strings behind its members, and `fname` saying where one is. */
function openEvent(offset: number, length: number, behind: Uint8Array | string) {
  const contract = discoverGadget(openObject(object, { name: 'trace_open' }));
  const [tracer] = contract.tracers;
  if (tracer === undefined) throw new Error('no tracer');
  const source = buildDataSource({ name: 'open', kind: 'tracer', btf: contract.btf, typeId: tracer.typeId, context: fixedContext });
  const field = source.field('fname');
  // Not at offset 0, as in a ring buffer, and with bytes of the next event after it.
  const bytes = Buffer.concat([Buffer.alloc(24 + fixed), Buffer.from(behind), Buffer.from('next event')]);
  bytes.writeUInt16LE(offset, 24 + field.offset);
  bytes.writeUInt16LE(length, 24 + field.offset + 2);
  const size = bytes.length - 24 - 'next event'.length;
  const record = source.makeRecord().point(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 24, size);
  return { source, field, record };
}

const pathname = '/etc/passwd\0';

const cases: readonly (readonly [what: string, offset: number, length: number, behind: Uint8Array | string, text: string])[] = [
  ['a path', fixed, 11, pathname, '/etc/passwd'],
  ['a part of what is there', fixed + 4, 4, pathname, '/pas'],
  ['bytes that are no UTF-8', fixed, 3, Uint8Array.of(0x61, 0xff, 0x62, 0), 'a\ufffdb'],
  ['control characters', fixed, 4, 'a\n\u001b"\0', 'a\n\u001b"'],
  ['no string', 0, 0, '', ''],
  ['a length past the end of the event', fixed, 0xffff, pathname, '/etc/passwd'],
  ['an offset past the end of the event', 0xffff, 0xffff, pathname, ''],
];

void t.test('a gadget_string is the text that it points at', (t) => {
  for (const [what, offset, length, behind, text] of cases) {
    const { source, field, record } = openEvent(offset, length, behind);
    const out = new ByteWriter();
    new JsonWriter(source).write(out, record);
    t.equal(field.kind, 'string', what);
    t.equal(field.value(record), text, what);
    t.equal(field.text(record), text, what);
    t.equal(source.decode(record)['fname'], text, what);
    t.equal((JSON.parse(Buffer.from(out.bytes.subarray(0, out.length)).toString()) as Record<string, unknown>)['fname'], text, what);
  }
  t.end();
});
