import { readFileSync } from 'node:fs';
import t from 'tap';
import { asm, disassemble, encodeInsns } from '../../../src/bpf/insn/index.ts';

const listing = readFileSync(new URL('../../../../fixtures/object/isa.objdump.txt', import.meta.url), 'utf8');

t.test("every instruction that LLVM 19 knows reads as llvm-objdump's listing", async (t) => {
  const lines = [...listing.matchAll(/^\s+\d+:\t((?:[0-9a-f]{2} )*[0-9a-f]{2})\t(.*)$/gm)];
  t.equal(lines.length, 106, 'the whole listing is compared');
  for (const [, hex = '', text = ''] of lines) {
    const bytes = Uint8Array.from(hex.split(' '), (byte) => Number.parseInt(byte, 16));
    // objdump adds the target's symbol.
    t.equal(disassemble(bytes)[0]?.text, text.replace(/ <f\+0x[0-9a-f]+>$/, ''), hex);
  }
});

t.test('instructions newer than LLVM 19, and the pseudo loads of linked programs', async (t) => {
  const rows: [Parameters<typeof encodeInsns>[0], string][] = [
    [asm.atomic('DW', 0x110, 1, 8, 2), 'store_release((u64 *)(r1 + 0x8), r2)'],
    [asm.atomic('W', 0x100, 1, -4, 2), 'w1 = load_acquire((u32 *)(r2 - 0x4))'],
    [[{ code: 0xd3, dst: 1, src: 2, off: 0, imm: 0x110 }], 'store_release((u8 *)(r1 + 0x0), w2)'],
    [[{ code: 0x0d, dst: 3, src: 0, off: 0, imm: 0 }], 'gotox r3'],
    [asm.ldMapFd(1, 5), 'r1 = map_fd(0x5) ll'],
    [asm.ldMapValue(2, 5, 24), 'r2 = map_value(0x5, 0x18) ll'],
    [asm.ldBtfId(3, 77), 'r3 = btf_id(0x4d, 0x0) ll'],
    [
      [
        { code: 0x18, dst: 1, src: 4, off: 0, imm: -3 },
        { code: 0, dst: 0, src: 0, off: 0, imm: 0 },
      ],
      'r1 = func(-0x3) ll',
    ],
    [[{ code: 0xff, dst: 0, src: 0, off: 0, imm: 0 }], '<unknown>'],
    [[{ code: 0xbf, dst: 0, src: 12, off: 0, imm: 0 }], '<unknown>'],
    [[{ code: 0x18, dst: 1, src: 0, off: 0, imm: 0 }], '<unknown>'],
  ];
  for (const [insns, text] of rows) t.equal(disassemble(encodeInsns(insns))[0]?.text, text);
});

t.test('comments: helpers, targets of jumps and calls, given symbols and lines', async (t) => {
  const code = encodeInsns([
    ...asm.ldMapFd(1, 0),
    ...asm.call(1),
    ...asm.jumpImm('JEQ', 0, 0, 1),
    ...asm.callSubprogram(1),
    ...asm.exit(),
    ...asm.movImm(0, 1),
    ...asm.exit(),
  ]);
  const listed = disassemble(code, {
    symbols: new Map([[0, 'map events']]),
    lines: new Map([[2, 'file.c:5']]),
    functions: new Map([[6, 'helper']]),
  });
  t.same(
    listed.map(({ slot, slots, comment }) => [slot, slots, comment]),
    [
      [0, 2, 'map events'],
      [2, 1, 'bpf_map_lookup_elem'],
      [3, 1, 'slot 5'],
      [4, 1, 'helper'],
      [5, 1, null],
      [6, 1, null],
      [7, 1, null],
    ],
  );
  t.equal(listed[1]?.line, 'file.c:5');
  t.equal(listed[5]?.label, 'helper');
});
