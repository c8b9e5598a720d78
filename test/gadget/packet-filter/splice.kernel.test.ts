import { readFileSync } from 'node:fs';
import t from 'tap';
import { loadCollection } from '../../../src/bpf/collection/load.ts';
import { Kernel } from '../../../src/bpf/kernel/kernel.ts';
import { openObject, type ObjectSpec } from '../../../src/bpf/object/index.ts';
import { packetFilterFunctions, splicePacketFilters } from '../../../src/gadget/packet-filter/splice.ts';

t.setTimeout(110_000);

interface Golden {
  /** In hexadecimal. */
  readonly packets: readonly string[];
  /** By expression: a bit for each packet, the lowest of each byte first. */
  readonly matches: Readonly<Record<string, string>>;
}

const folder = new URL('../../../../fixtures/packet-filter/', import.meta.url);
const golden = JSON.parse(readFileSync(new URL('expected.json', folder), 'utf8')) as Golden;
const spec = openObject(readFileSync(new URL('filters.bpf.o', folder)), { name: 'filters' });
const packets = golden.packets.map((packet) => new Uint8Array(Buffer.from(packet, 'hex')));
const kernel = new Kernel();
t.teardown(() => kernel.close());

/** What each packet comes to. */
function answers(object: ObjectSpec, program: string): readonly number[] {
  const collection = loadCollection(kernel, object);
  const loaded = collection.program(program);
  const found = packets.map((data) => loaded.testRun({ data }).returnValue);
  collection.close();
  return found;
}

const bits = (hex: string): readonly number[] => packets.map((_, i) => ((Buffer.from(hex, 'hex')[i >> 3] ?? 0) >> (i & 7)) & 1);

void t.test('each expression takes the packets that tcpdump takes', (test) => {
  for (const [expression, hex] of Object.entries(golden.matches)) {
    const wanted = bits(hex);
    const got = answers(splicePacketFilters(spec, new Map([['gadget_pf_', expression]])), 'classify');
    const wrong = wanted.flatMap((want, i) => (want === got[i] ? [] : [`${i}: ${want} ${golden.packets[i]}`]));
    test.same(wrong.slice(0, 5), [], expression);
  }
  test.end();
});

void t.test('without an expression every packet passes', (test) => {
  test.same([...new Set(answers(spec, 'classify'))], [1]);
  test.same([...new Set(answers(splicePacketFilters(spec, new Map([['gadget_pf_', ' ']])), 'classify'))], [1]);
  test.end();
});

void t.test('each filter has its own expression', (test) => {
  test.same(
    [...packetFilterFunctions(spec)],
    [
      ['pf', 'gadget_pf_'],
      ['pf-other', 'gadget_pf_other'],
    ],
  );
  const filters = new Map([
    ['gadget_pf_', 'tcp'],
    ['gadget_pf_other', '__reject_all__'],
  ]);
  test.same(answers(splicePacketFilters(spec, filters), 'classify'), bits(golden.matches['tcp'] ?? ''));
  test.same([...new Set(answers(splicePacketFilters(spec, filters), 'other'))], [0]);
  test.same([...new Set(answers(splicePacketFilters(spec, new Map([['gadget_pf_', 'tcp']])), 'other'))], [1]);
  test.end();
});
