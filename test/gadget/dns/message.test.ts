import t from 'tap';
import { parseDns } from '../../../src/gadget/dns/message.ts';

const write = {
  ip4: (bytes: Uint8Array, at: number): string => bytes.subarray(at, at + 4).join('.'),
  ip6: (bytes: Uint8Array, at: number): string => Buffer.from(bytes.subarray(at, at + 16)).toString('hex'),
};
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
const parse = (bytes: Uint8Array): ReturnType<typeof parseDns> => parseDns(bytes, 0, bytes.length, write);

// Header: id, flags, counts of questions, answers, authorities, additions (RFC 1035, section 4.1.1).
const query = '1234 0100 0001 0000 0000 0000';
const answer = '1234 8180 0001 0002 0000 0000';
// www.example.com, type A, class IN.
const question = '03777777 076578616d706c65 03636f6d 00 0001 0001';

void t.test('a question and its answer', (t) => {
  t.match(parse(hex(query + question)), {
    id: 0x1234,
    isResponse: false,
    recursionDesired: true,
    name: 'www.example.com.',
    qtype: 1,
    malformed: false,
    addresses: [],
  });
  const records = 'c00c 0001 0001 0000003c 0004 5db8d822 c00c 001c 0001 0000003c 0010 20010db8000000000000000000000001';
  t.match(parse(hex(answer + question + records)), {
    isResponse: true,
    recursionAvailable: true,
    rcode: 0,
    answers: 2,
    name: 'www.example.com.',
    addresses: ['93.184.216.34', '20010db8000000000000000000000001'],
    malformed: false,
  });
  t.end();
});

void t.test('names that lead nowhere', (t) => {
  const malformed = (name: string, what: string): void => {
    const message = parse(hex(`${query}${name} 0001 0001`));
    t.equal(message?.malformed, true, what);
    t.equal(message?.name, '', what);
  };
  malformed('c00c', 'a pointer to itself');
  malformed('03777777 c00c', 'a pointer back to its own beginning');
  malformed('c0ff', 'a pointer behind the end');
  malformed('40', 'a kind of label that is not defined');
  malformed('3f61', 'a label behind the end');
  // Two pointers to each other, the first of them in front of the question.
  t.equal(parse(hex('c00c 0100 0001 0000 0000 0000 c000 0001 0001'))?.malformed, true, 'pointers in a circle');
  const long = Array.from({ length: 5 }, () => `3f${'61'.repeat(63)}`).join('');
  malformed(`${long}00`, 'more than 255 bytes');
  t.end();
});

void t.test('bytes that mean something in text are escaped', (t) => {
  t.equal(parse(hex(`${query} 04 2e5c1b20 00 0001 0001`))?.name, String.raw`\.\\\027\032.`);
  t.equal(parse(hex(`${query} 00 0002 0001`))?.name, '.');
  t.end();
});

void t.test('messages that end early, and counts that lie', (t) => {
  const whole = hex(`${answer}${question} c00c 0001 0001 0000003c 0004 5db8d822 c00c 0001 0001 0000003c 0004 5db8d823`);
  t.equal(parse(whole)?.malformed, false);
  t.equal(parse(whole.subarray(0, 11)), null);
  for (let length = 12; length < whole.length; length++) t.equal(parse(whole.subarray(0, length))?.malformed, true, `${length} bytes`);
  t.equal(parse(hex(`1234 8180 ffff ffff ffff ffff ${question}`))?.malformed, true);
  t.equal(parse(hex(`1234 8180 ffff ffff ffff ffff ${question}`))?.name, 'www.example.com.');
  t.end();
});

void t.test('no message takes long or throws', (t) => {
  // Every byte of a message, changed in every way that one bit can.
  const whole = hex(`${answer}${question} c00c 0001 0001 0000003c 0004 5db8d822`);
  for (let bit = 0; bit < whole.length * 8; bit++) {
    const changed = Buffer.from(whole);
    changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    if (parse(changed) === null) t.fail(`bit ${bit}`);
  }
  const pointers = Buffer.concat([hex('1234 8180 0001 ffff 0000 0000'), Buffer.alloc(65000, hex('c00c'))]);
  t.equal(parse(pointers)?.malformed, true);
  t.end();
});

void t.test('20,000 messages with bytes of chance give what the fields can hold', (t) => {
  const whole = hex(`${answer}${question} c00c 0001 0001 0000003c 0004 5db8d822 c00c 0005 0001 0000003c 0002 c00c`);
  // xorshift32, the same numbers each time.
  let state = 0x9e3779b9;
  const next = (below: number): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
  const wrong: string[] = [];
  for (let i = 0; i < 20_000; i++) {
    const changed = Buffer.from(whole.subarray(0, 12 + next(whole.length - 11)));
    // Pointers and lengths beyond 63 more often than chance has them.
    for (let n = next(8); n >= 0; n--) changed[next(changed.length)] = next(3) === 0 ? 0xc0 + next(2) : next(256);
    const message = parse(changed);
    // Each of at most 254 bytes of a name is written as four characters at most.
    if (message === null || message.name.length > 4 * 255 || message.addresses.length > message.answers)
      wrong.push(changed.toString('hex'));
  }
  t.same(wrong, []);
  t.end();
});
