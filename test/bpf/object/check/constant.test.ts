import t from 'tap';
import { BPF_ALU_OP } from '../../../../src/bpf/insn/opcodes.ts';
import { aluResult } from '../../../../src/bpf/object/check/constant.ts';

t.test('movsx extends the sign of 8, 16 and 32 bits; no other widths exist, and what is no instruction says nothing', async (t) => {
  const movsx = (off: number): unknown => aluResult(BPF_ALU_OP.MOV, true, off, null, 0x80808080n);
  t.equal(movsx(8), 0xffffffffffffff80n);
  t.equal(movsx(16), 0xffffffffffff8080n);
  t.equal(movsx(32), 0xffffffff80808080n);
  for (const off of [-1, -32768, 1, 64]) t.equal(movsx(off), null, String(off));
});
