import t from 'tap';
import { CORE_POISON, patchInsn } from '../../../src/bpf/insn/core-patch.ts';
import { CORE_KIND } from '../../../src/btf/core/kinds.ts';
import type { CoreResolution } from '../../../src/btf/core/resolution.ts';
import { CoreResolver } from '../../../src/btf/core/resolver.ts';
import { fromHex, toHex } from '../../../src/bytes/text.ts';
import { btfOf, INT, kernel, structOf } from '../../btf/core/support.ts';
import type { BtfNewType } from '../../../src/btf/index.ts';

const long: BtfNewType = { kind: 'INT', name: 'long', size: 8, encoding: 1, bitOffset: 0, bits: 64 };
const u32: BtfNewType = { kind: 'INT', name: 'u32', size: 4, encoding: 0, bitOffset: 0, bits: 32 };
const u64: BtfNewType = { kind: 'INT', name: 'u64', size: 8, encoding: 0, bitOffset: 0, bits: 64 };
const u128: BtfNewType = { kind: 'INT', name: 'u128', size: 16, encoding: 0, bitOffset: 0, bits: 128 };
const place = (typeId: number, bytes: number) => ({ name: 'b', typeId, bitOffset: bytes * 8, bitSize: 0 });
const wide: BtfNewType = { kind: 'ENUM64', name: 'wide', size: 8, signed: false, values: [{ name: 'BIG', value: 5n }] };

const local = btfOf([
  INT,
  structOf('thing', { a: 0, b: 4 }),
  wide,
  u32,
  { kind: 'STRUCT', name: 'sized', size: 8, members: [place(4, 4)] },
]);

function resolution(target: readonly BtfNewType[], relo: { typeId: number; access: string; kind?: number }): CoreResolution {
  const resolver = new CoreResolver(local, kernel(btfOf([INT, ...target])));
  return resolver.resolve({ insnOffset: 0, kind: CORE_KIND.FIELD_BYTE_OFFSET, ...relo });
}

const moved = resolution([structOf('thing', { b: 40 })], { typeId: 2, access: '0:1' });
const far = resolution([structOf('thing', { b: 40_000 })], { typeId: 2, access: '0:1' });
const missing = resolution([structOf('thing', { a: 0 })], { typeId: 2, access: '0:1' });
const longer = resolution([long, { kind: 'STRUCT', name: 'thing', size: 24, members: [place(2, 16)] }], { typeId: 2, access: '0:1' });
const wider = resolution([u64, { kind: 'STRUCT', name: 'sized', size: 24, members: [place(2, 16)] }], { typeId: 5, access: '0:0' });
const widest = resolution([u128, { kind: 'STRUCT', name: 'sized', size: 32, members: [place(2, 16)] }], { typeId: 5, access: '0:0' });
const bigger = resolution([{ ...wide, values: [{ name: 'BIG', value: 0x1234_5678_9abc_def0n }] }], {
  typeId: 3,
  access: '0',
  kind: CORE_KIND.ENUMVAL_VALUE,
});
const poison = toHex(Uint8Array.of(0x85, 0, 0, 0, ...new Uint8Array(Uint32Array.of(CORE_POISON).buffer)));

interface Row {
  readonly what: string;
  readonly before: string;
  readonly found: CoreResolution;
  readonly after: string;
}

const rows: readonly Row[] = [
  { what: 'r1 = 4', before: 'b701000004000000', found: moved, after: 'b701000028000000' },
  { what: 'w1 += 4', before: '0401000004000000', found: moved, after: '0401000028000000' },
  { what: 'r1 = 4, an offset past 16 bits', before: 'b701000004000000', found: far, after: 'b7010000409c0000' },
  { what: 'r1 = *(u32 *)(r2 + 4)', before: '6121040000000000', found: moved, after: '6121280000000000' },
  { what: '*(u32 *)(r1 + 4) = r2', before: '6321040000000000', found: moved, after: '6321280000000000' },
  { what: '*(u32 *)(r1 + 4) = 7', before: '6201040007000000', found: moved, after: '6201280007000000' },
  { what: 'a load that grows', before: '6121040000000000', found: wider, after: '7921100000000000' },
  { what: 'a signed load that would have to grow', before: '6121040000000000', found: longer, after: poison },
  { what: 'an immediate of a field that grows', before: 'b701000004000000', found: longer, after: 'b701000010000000' },
  { what: 'a missing field', before: '6121040000000000', found: missing, after: poison },
  { what: 'r1 = 5 ll', before: '18010000050000000000000000000000', found: bigger, after: '18010000f0debc9a0000000078563412' },
  { what: 'a missing field in an ldimm64', before: '18010000040000000000000000000000', found: missing, after: poison + poison },
];

t.test('every instruction that CO-RE can relocate', async (t) => {
  for (const { what, before, found, after } of rows) {
    const insns = fromHex(`9500000000000000${before}9500000000000000`);
    patchInsn(insns, 1, found);
    t.equal(toHex(insns), `9500000000000000${after}9500000000000000`, what);
  }
});

t.test('big-endian instructions', async (t) => {
  const swapped: readonly [string, CoreResolution, string][] = [
    ['b710000000000004', moved, 'b710000000000028'],
    ['6112000400000000', moved, '6112002800000000'],
    ['18100000000000050000000000000000', bigger, '181000009abcdef00000000012345678'],
    ['6112000400000000', missing, '850000000bad2310'],
  ];
  for (const [before, found, after] of swapped) {
    const insns = fromHex(before);
    patchInsn(insns, 0, found, { littleEndian: false });
    t.equal(toHex(insns), after);
  }
});

t.test('what was done is told', async (t) => {
  t.same(patchInsn(fromHex('6121040000000000'), 0, moved), { field: 'off', before: 4n, after: 40n });
  t.same(patchInsn(fromHex('6121040000000000'), 0, missing), { field: 'poison', before: 4n, after: BigInt(CORE_POISON) });
});

t.test('instructions that cannot be relocated', async (t) => {
  const bad: readonly [what: string, before: string, found: CoreResolution][] = [
    ['another immediate than the compiler’s', 'b701000005000000', moved],
    ['another offset than the compiler’s', '6121080000000000', moved],
    ['another 64-bit immediate', '18010000060000000000000000000000', bigger],
    ['an offset past 16 bits', '6121040000000000', far],
    ['a register operand', 'bf21000000000000', moved],
    ['a jump', '0500040000000000', moved],
    ['a map', '18110000050000000000000000000000', bigger],
    ['half an ldimm64', '1801000005000000', bigger],
    ['a load of another width than the field', '7121040000000000', wider],
    ['a field that no load holds', '6121040000000000', widest],
  ];
  for (const [what, before, found] of bad) {
    const insns = fromHex(before);
    t.throws(
      () => patchInsn(insns, 0, found, { where: { program: 'p' } }),
      { code: 'E_CORE_INSN', where: { program: 'p', insn: 0 } },
      what,
    );
    t.equal(toHex(insns), before, `${what}: left as it was`);
  }
  t.throws(() => patchInsn(new Uint8Array(8), 1, moved), { code: 'E_CORE_INSN' });
  t.throws(() => patchInsn(new Uint8Array(8), -1, moved), { code: 'E_CORE_INSN' });
});
