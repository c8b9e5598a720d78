import t from 'tap';
import { EventRecord } from '../../src/gadget/record.ts';
import { ByteWriter, pack } from '../../src/output/byte-writer.ts';
import { fixedCharsPut, jsonBytes, putJsonBytes, putJsonChars } from '../../src/output/json-string.ts';

const shared = new ByteWriter();

function written(put: (out: ByteWriter) => void): string {
  const out = shared;
  put(out);
  return out.take().toString();
}

void t.test('whole numbers to the last digit', (test) => {
  const numbers = [0, 1, 9, 10, 99, 100, 999, 1000, 999_999, 1e6, 999_999_999, 1e9, 1e9 + 1, 4294967295, 2 ** 53];
  for (let exponent = 1; exponent <= 15; exponent++) numbers.push(10 ** exponent - 1, 10 ** exponent, 10 ** exponent + 1);
  for (let k = 8_000_000; k < 9_007_000; k += 1007) numbers.push(k * 1e9 - 1, k * 1e9);
  for (let i = 0, state = 1; i < 3000; i++) {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    numbers.push(Math.floor((state / 2 ** 32) * 2 ** (1 + (i % 53))));
  }
  for (const number of numbers) {
    const got = written((out) => out.uint(number));
    if (got !== String(number)) test.fail(`${number}: ${got}`);
  }
  test.equal(
    written((out) => out.nine(7)),
    '000000007',
  );
  for (let i = 0, state = 7n; i < 3000; i++) {
    state = BigInt.asUintN(64, state * 6364136223846793005n + 1442695040888963407n);
    const [high, low] = [Number(state >> 32n), Number(state & 0xffffffffn)];
    const got = written((out) => out.uint64(high, low));
    if (got !== String(state)) test.fail(`${state}: ${got}`);
    const signed = written((out) => out.int64(high, low));
    if (signed !== String(BigInt.asIntN(64, state))) test.fail(`${state}: ${signed}`);
  }
  test.end();
});

void t.test('packed bytes of any length, one after the other, through a growing buffer', (test) => {
  const out = new ByteWriter();
  let expected = '';
  for (let i = 0; i < 20_000; i++) {
    const text = 'héllo \u{1f600} "quoted" text of some length'.slice(0, i % 37);
    const bytes = Buffer.from(text);
    out.ensure(bytes.length);
    out.packed(pack(bytes));
    expected += bytes.toString();
  }
  test.equal(out.take().toString(), expected);
  test.end();
});

void t.test('text in words says what text in bytes says', (test) => {
  const bytes = Buffer.alloc(64);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const put16 = fixedCharsPut(0);
  const record = new EventRecord(16);
  let state = 1;
  const random = (below: number): number => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 20_000; round++) {
    // Mostly plain text, with every byte there is in between.
    for (let i = 0; i < bytes.length; i++) bytes[i] = random(12) === 0 ? random(256) : 0x20 + random(95);
    const start = random(8);
    const end = start + random(48);
    const slow = written((out) => putJsonBytes(out, bytes, start, end));
    const fast = written((out) => putJsonChars(out, view, bytes, start, end));
    if (slow !== fast) test.fail(`${bytes.toString('hex', start, end)}: ${fast}`);
    const text = written((out) => putJsonBytes(out, bytes, start, start + 16));
    for (let again = 0; again < 2; again++) {
      const kept = written((out) => put16(out, record.point(view, start, 16), start));
      if (kept !== `"${text}"`) test.fail(`${bytes.toString('hex', start, start + 16)}: ${kept}`);
    }
  }
  test.equal(jsonBytes('a').toString(), '"a"');
  test.end();
});
