import t from 'tap';
import { ProtoMessage, ProtoWriter } from '../../../src/enrich/runtimes/protobuf.ts';

t.test("the examples of the format's documentation", async (t) => {
  // protobuf.dev/programming-guides/encoding: field 1 = 150; field 2 = "testing"; field 3 = a message with field 1 = 150.
  t.equal(new ProtoMessage(Uint8Array.of(0x08, 0x96, 0x01)).number(1), 150);
  t.equal(new ProtoMessage(Uint8Array.of(0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67)).text(2), 'testing');
  t.equal(new ProtoMessage(Uint8Array.of(0x1a, 0x03, 0x08, 0x96, 0x01)).message(3).number(1), 150);
  t.same([...new ProtoWriter().number(1, 150).finish()], [0x08, 0x96, 0x01]);
  t.same([...new ProtoWriter().text(2, 'testing').finish()], [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
  // -2 as int64
  t.equal(BigInt.asIntN(64, new ProtoMessage(Uint8Array.of(0x08, 0xfe, ...Array.from({ length: 8 }, () => 0xff), 0x01)).bigint(1)), -2n);
});

t.test('absent fields are empty, of several the last counts', async (t) => {
  const message = new ProtoMessage(new ProtoWriter().text(1, 'a').text(1, 'b').finish());
  t.equal(message.text(1), 'b');
  t.same(message.texts(1), ['a', 'b']);
  t.equal(message.number(1), 0);
  t.equal(message.text(9), '');
  t.equal(message.message(9).message(9).text(9), '');
  t.equal(message.map(9).size, 0);
});

t.test('what is no message', async (t) => {
  const cases: readonly (readonly number[])[] = [
    [0x08],
    [0x12, 0x05, 0x61],
    [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    [0x0b],
    [0x0f],
    [0x09, 1, 2, 3],
    [0x0d, 1],
    [0x08, ...Array.from({ length: 11 }, () => 0x80)],
  ];
  for (const bytes of cases) t.throws(() => new ProtoMessage(Uint8Array.from(bytes)), { code: 'E_PROTOBUF' }, bytes.join(' '));
});
