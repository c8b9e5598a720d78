import t from 'tap';
import { Btf, BtfBuilder, buildDecoder, encodeValue, enumNames, fieldsOf, type BtfNewType } from '../../../src/btf/index.ts';
import { FormatError } from '../../../src/error.ts';
import { parseElf, sectionNamed } from '../../../src/elf/index.ts';
import { fixture } from '../../fixture.ts';
import { checkSurvey, flips, mutations, survey } from '../../hostile.ts';

const raw = sectionNamed(parseElf(fixture('btf/values.bpf.o')), '.BTF')?.data ?? new Uint8Array();
const record = new DataView(new ArrayBuffer(512));

/** Decodes, flattens and encodes with every type; what can't be read does not keep the others from it. */
function useAll(bytes: Uint8Array): void {
  const btf = Btf.parse(bytes);
  let failed: unknown = null;
  for (let id = 0; id < btf.typeCount; id++) {
    try {
      const decoder = buildDecoder(btf, id);
      // Building may throw, reading never does.
      if (decoder.size < 1 << 20) {
        for (const length of [512, 7, 0]) decoder.read(record, 0, length);
      }
      for (const { reader, offset, size } of fieldsOf(btf, id)) if (offset + size <= 512) reader.read(record, 0);
      enumNames(btf, id);
      const kind = btf.type(id).kind;
      if ((kind === 'STRUCT' || kind === 'UNION') && decoder.size < 1 << 20) encodeValue(btf, id, {});
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      failed ??= error;
    }
  }
  if (failed !== null) throw failed;
}

t.test('damaged BTF gives values or typed errors', (t) => {
  useAll(raw);
  checkSurvey(t, 'flips', survey(flips(raw, 24, raw.length, 89), useAll));
  checkSurvey(t, 'mutations', survey(mutations(raw, 30, 6), useAll));
  t.end();
});

const int: BtfNewType = { kind: 'INT', name: 'int', size: 4, encoding: 1, bitOffset: 0, bits: 32 };

function build(...types: readonly BtfNewType[]): Btf {
  const builder = new BtfBuilder();
  for (const type of types) builder.add(type);
  return Btf.parse(builder.encode());
}

const struct = (
  name: string,
  size: number,
  ...members: readonly (readonly [name: string, typeId: number, bitOffset: number])[]
): BtfNewType => ({
  kind: 'STRUCT',
  name,
  size,
  members: members.map(([member, typeId, bitOffset]) => ({ name: member, typeId, bitOffset, bitSize: 0 })),
});

t.test('types that would take for ever, or memory without end', (t) => {
  // Each struct holds the next twice at one place: two to the power of forty values.
  const named = build(
    int,
    ...Array.from({ length: 40 }, (_, i) => struct('s', 4, ['a', i + 3, 0], ['b', i + 3, 0])),
    struct('', 4, ['x', 1, 0]),
  );
  const unnamed = build(int, ...Array.from({ length: 40 }, (_, i) => struct('s', 4, ['', i + 3, 0], ['', i + 3, 0])), struct('', 4));
  const itself = build(int, struct('s', 4, ['self', 2, 0]));
  const rows: [Btf, RegExp][] = [
    [named, /^E_BTF_(SIZE|DEPTH)$/],
    [unnamed, /^E_BTF_(SIZE|DEPTH)$/],
    [itself, /^E_BTF_DEPTH$/],
  ];
  for (const [btf, code] of rows) {
    t.throws(() => buildDecoder(btf, 2), { code });
    t.throws(() => fieldsOf(btf, 2), { code });
  }
  t.throws(() => buildDecoder(build({ kind: 'CONST', name: '', typeId: 1, attribute: false }), 1), { code: 'E_BTF_LOOP' });
  t.throws(() => buildDecoder(build(int, struct('s', 4, ['x', 1, 8])), 2), { code: 'E_BTF_MEMBER' });
  const empties = build(int, struct('empty', 0), { kind: 'ARRAY', name: '', typeId: 2, indexTypeId: 1, count: 0xffffffff });
  t.strictSame(buildDecoder(empties, 3).read(record, 0, 4), []);
  t.throws(() => buildDecoder(build(int, { kind: 'ARRAY', name: '', typeId: 1, indexTypeId: 1, count: 0x3fffffff }), 2), {
    code: 'E_BTF_SIZE',
  });
  t.end();
});

t.test('a flexible array called __proto__ is a member like any other', (t) => {
  const char: BtfNewType = { kind: 'INT', name: 'char', size: 1, encoding: 1, bitOffset: 0, bits: 8 };
  const btf = build(char, { kind: 'ARRAY', name: '', typeId: 1, indexTypeId: 1, count: 0 }, struct('s', 0, ['__proto__', 2, 0]));
  const view = new DataView(Uint8Array.of(97, 98).buffer);
  const value = buildDecoder(btf, 3).read(view, 0, 2) as object;
  t.equal(Object.getOwnPropertyDescriptor(value, '__proto__')?.value, 'ab');
  t.equal(Object.getPrototypeOf(value), Object.prototype);
  t.end();
});
