import t from 'tap';
import { Btf, BtfBuilder, dumpJson, dumpRaw } from '../../../src/btf/index.ts';
import { expectedText } from '../../fixture.ts';
import { checkSurvey, flips, mutations, survey } from '../../hostile.ts';
import { parseBpftool } from '../bpftool.ts';
import { tour } from '../tour.ts';

const text = (chunks: Iterable<string>): string => [...chunks].join('');

t.test('raw and JSON of every kind, of both byte orders, as bpftool has them', (t) => {
  for (const file of ['tour.bpf.o', 'tour.bpfeb.o']) {
    const { btf } = tour(file);
    t.equal(text(dumpRaw(btf)), expectedText('tour.btf.raw.txt'), file);
    t.same(parseBpftool(text(dumpJson(btf))), parseBpftool(expectedText('tour.btf.json')), file);
  }
  t.end();
});

t.test('chosen types', (t) => {
  const { btf } = tour();
  const [line = ''] = expectedText('tour.btf.raw.txt').split('\n').slice(1, 2);
  t.equal(text(dumpRaw(btf, { types: [2] })), `${line}\n`);
  t.equal((JSON.parse(text(dumpJson(btf, { types: [2, 1] }))) as { types: unknown[] }).types.length, 2);
  t.throws(() => text(dumpRaw(btf, { types: [btf.typeCount] })), { code: 'E_BTF_TYPE_ID' });
  t.end();
});

t.test('split BTF: own types, with names of the base', (t) => {
  const base = Btf.parse(baseBytes());
  const builder = new BtfBuilder({ base });
  builder.add({ kind: 'PTR', name: '', typeId: 1, attribute: false });
  builder.add({ kind: 'TYPEDEF', name: 'own', typeId: 2, attribute: false });
  const split = Btf.parse(builder.encode(), { base });
  t.equal(text(dumpRaw(split)), "[2] PTR '(anon)' type_id=1\n[3] TYPEDEF 'own' type_id=2\n");
  t.end();
});

t.test('names cannot act on a terminal, nor break JSON', (t) => {
  const builder = new BtfBuilder();
  builder.add({ kind: 'FWD', name: '\u001b[2Jé"\\\n', target: 'STRUCT' });
  const btf = Btf.parse(builder.encode());
  t.equal(text(dumpRaw(btf)), "[1] FWD '\\x1b[2Jé\"\\\\x0a' fwd_kind=struct\n");
  t.same(JSON.parse(text(dumpJson(btf))), { types: [{ id: 1, kind: 'FWD', name: '\u001b[2Jé"\\\n', fwd_kind: 'struct' }] });
  t.end();
});

t.test('damaged BTF gives text or typed errors', (t) => {
  const { raw } = tour();
  checkSurvey(t, 'flips', survey(flips(raw, 24, raw.length, 71), dump));
  checkSurvey(t, 'mutations', survey(mutations(raw, 60, 4), dump));
  t.end();
});

function dump(bytes: Uint8Array): void {
  const btf = Btf.parse(bytes);
  text(dumpRaw(btf));
  JSON.parse(text(dumpJson(btf)));
}

function baseBytes(): Uint8Array {
  const builder = new BtfBuilder();
  builder.add({ kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 });
  return builder.encode();
}
