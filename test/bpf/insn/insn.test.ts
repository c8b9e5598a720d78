import t from 'tap';
import { fromHex, toHex } from '../../../src/bytes/index.ts';
import { asm, decodeInsns, encodeInsns, InsnSlots, swapInsns, withoutFds } from '../../../src/bpf/insn/index.ts';
import { FormatError } from '../../../src/error.ts';

t.test('encoding agrees with what llvm-mc-19 writes', async (t) => {
  // echo 'r3 = 7; ...' | llvm-mc-19 -triple bpfel -show-encoding
  const rows: [Parameters<typeof encodeInsns>[0], string][] = [
    [asm.movImm(3, 7), 'b703000007000000'],
    [asm.movReg(6, 1), 'bf16000000000000'],
    [asm.aluImm('ADD', 2, -8), '07020000f8ffffff'],
    [asm.alu32Reg('XOR', 2, 2), 'ac22000000000000'],
    [asm.load('W', 1, 10, -4), '61a1fcff00000000'],
    [asm.store('DW', 10, -8, 1), '7b1af8ff00000000'],
    [asm.storeImm('B', 10, -1, 7), '720affff07000000'],
    [asm.atomic('DW', 0, 1, 0, 2), 'db21000000000000'],
    [asm.ldimm64(1, 0x1122334455667788n), '18010000887766550000000044332211'],
    [asm.ldimm64(1, -1n), '18010000ffffffff00000000ffffffff'],
    [asm.jump(-1), '0500ffff00000000'],
    [asm.jumpImm('JSGT', 1, -5, 3), '65010300fbffffff'],
    [asm.jumpReg('JNE', 1, 2, 3), '5d21030000000000'],
    [asm.call(5), '8500000005000000'],
    [asm.exit(), '9500000000000000'],
  ];
  for (const [insns, hex] of rows) t.equal(toHex(encodeInsns(insns)), hex);
});

t.test('what is decoded encodes to the same bytes, in both byte orders', async (t) => {
  const bytes = fromHex('61a1fcff00000000 18210000ffffff7f 0000000001000080 8510000003000000');
  t.same(encodeInsns(decodeInsns(bytes)), bytes);
  const big = fromHex('611afffc00000000 181200007fffffff 0000000080000001 8501000000000003');
  t.same(swapInsns(big), bytes);
  t.same(swapInsns(bytes), big);
  t.same(decodeInsns(big, false), decodeInsns(bytes));
  t.same(encodeInsns(decodeInsns(big, false), false), big);
});

t.test('slots are patched in place', async (t) => {
  const bytes = encodeInsns([...asm.movImm(1, 5), ...asm.exit()]);
  const slots = new InsnSlots(bytes.subarray(0, 8));
  slots.setSrc(0, 3);
  slots.setDst(0, 9);
  slots.setOff(0, -2);
  slots.setImm(0, -1);
  t.same(slots.get(0), { code: 0xb7, dst: 9, src: 3, off: -2, imm: -1 });
  t.equal(toHex(bytes), 'b739feffffffffff9500000000000000');
});

t.test('bytes that are no whole slots are refused', async (t) => {
  t.throws(() => decodeInsns(new Uint8Array(9)), { code: 'E_INSN_LENGTH' });
  t.throws(() => swapInsns(new Uint8Array(7)), FormatError);
});

t.test('file descriptors are left out, numbers and offsets kept', async (t) => {
  const loaded = encodeInsns([
    ...asm.ldMapFd(1, 7),
    ...asm.ldMapValue(2, 8, 24),
    ...asm.ldBtfId(3, 99, 9),
    ...asm.ldimm64(4, 7n),
    ...asm.callKfunc(5, 2),
  ]);
  const plain = encodeInsns([
    ...asm.ldMapFd(1, 0),
    ...asm.ldMapValue(2, 0, 24),
    ...asm.ldBtfId(3, 99, 0),
    ...asm.ldimm64(4, 7n),
    ...asm.callKfunc(5, 2),
  ]);
  t.same(withoutFds(loaded), plain);
  t.equal(loaded[4], 7, 'the original stays');
});
