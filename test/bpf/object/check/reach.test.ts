import t from 'tap';
import { asm, encodeInsns, type Insn, InsnSlots } from '../../../../src/bpf/insn/index.ts';
import { reachableInsns } from '../../../../src/bpf/object/check/reach.ts';
import { fromHex } from '../../../../src/bytes/text.ts';

function reached(bytes: Uint8Array, jumpTargets: readonly number[] = []): string {
  const slots = new InsnSlots(bytes);
  const questions = {
    mapAt: (insn: number) => (slots.src(insn) === 2 ? 'config' : null),
    constant: (_map: string, offset: number, size: number) => (offset === 4 && size === 4 ? 0x060100n : null),
    jumpTargets,
  };
  return [...reachableInsns(slots, [0], questions)].join('');
}

const insn = (code: number, dst = 0, src = 0, off = 0, imm = 0): Insn => ({ code, dst, src, off, imm });
const run = (...insns: Insn[]): string => reached(encodeInsns(insns));
const exit = insn(0x95);
const nop = insn(0xb7, 9, 0, 0, 0);

t.test('branches on constants go one way', async (t) => {
  const rows: readonly [what: string, value: number, jump: Insn, taken: boolean][] = [
    ['jeq', 0, insn(0x15, 1, 0, 1, 0), true],
    ['jeq not', 1, insn(0x15, 1, 0, 1, 0), false],
    ['jne', 1, insn(0x55, 1, 0, 1, 0), true],
    ['jset', 6, insn(0x45, 1, 0, 1, 2), true],
    ['jset not', 5, insn(0x45, 1, 0, 1, 2), false],
    ['jgt unsigned', -1, insn(0x25, 1, 0, 1, 5), true],
    ['jsgt signed', -1, insn(0x65, 1, 0, 1, 5), false],
    ['jlt', 4, insn(0xa5, 1, 0, 1, 5), true],
    ['jle', 5, insn(0xb5, 1, 0, 1, 5), true],
    ['jge', 5, insn(0x35, 1, 0, 1, 5), true],
    ['jsge', -5, insn(0x75, 1, 0, 1, -5), true],
    ['jslt', -6, insn(0xc5, 1, 0, 1, -5), true],
    ['jsle', -4, insn(0xd5, 1, 0, 1, -5), false],
    ['jeq32', -1, insn(0x16, 1, 0, 1, -1), true],
  ];
  for (const [what, value, jump, taken] of rows) t.equal(run(insn(0xb7, 1, 0, 0, value), jump, nop, exit), taken ? '1101' : '1111', what);
  // Not taken: the jump's target is also the next but one, so the dead end has to be elsewhere.
  t.equal(run(insn(0xb7, 1, 0, 0, 1), insn(0x15, 1, 0, 1, 0), exit, nop, exit), '11100');
});

t.test('registers that no kernel has, in a damaged instruction, end nothing', async (t) => {
  for (const register of [11, 12, 15]) {
    t.equal(run(insn(0x15, register, 0, 1, 0), nop, exit), '111');
    t.equal(run(insn(0x55, register, 0, 1, 5), insn(0xbf, register, 15), exit), '111');
  }
});

t.test('arithmetic is followed', async (t) => {
  const rows: readonly [what: string, insns: readonly Insn[]][] = [
    ['add', [insn(0xb7, 1, 0, 0, 40), insn(0x07, 1, 0, 0, 2)]],
    ['sub', [insn(0xb7, 1, 0, 0, 44), insn(0x17, 1, 0, 0, 2)]],
    ['and', [insn(0xb7, 1, 0, 0, 0xea), insn(0x57, 1, 0, 0, 0x3f)]],
    ['or', [insn(0xb7, 1, 0, 0, 40), insn(0x47, 1, 0, 0, 2)]],
    ['xor', [insn(0xb7, 1, 0, 0, 43), insn(0xa7, 1, 0, 0, 1)]],
    ['lsh', [insn(0xb7, 1, 0, 0, 21), insn(0x67, 1, 0, 0, 1)]],
    ['rsh32', [insn(0xb4, 1, 0, 0, -1), insn(0x74, 1, 0, 0, 26), insn(0x14, 1, 0, 0, 21)]],
    ['arsh', [insn(0xb7, 1, 0, 0, -84), insn(0xc7, 1, 0, 0, 1), insn(0x87, 1)]],
    ['mul', [insn(0xb7, 1, 0, 0, 21), insn(0x27, 1, 0, 0, 2)]],
    ['register', [insn(0xb7, 2, 0, 0, 42), insn(0xbf, 1, 2)]],
    ['sign extension', [insn(0xb7, 2, 0, 0, 0xd6), insn(0xbf, 1, 2, 8), insn(0x87, 1)]],
    ['ldimm64', asm.ldimm64(1, 42n)],
  ];
  for (const [what, insns] of rows) {
    const bits = run(...insns, insn(0x15, 1, 0, 1, 42), nop, exit);
    const wide = what === 'ldimm64' ? '10' : '1'.repeat(insns.length);
    t.equal(bits, `${wide}101`, what);
  }
  t.equal(run(insn(0xb7, 1, 0, 0, 7), insn(0x37, 1, 0, 0, 2), insn(0x15, 1, 0, 1, 3), nop, exit), '11111', 'division is left alone');
});

t.test('what is unknown goes both ways', async (t) => {
  t.equal(run(insn(0x15, 1, 0, 1, 0), nop, exit), '111', 'an argument');
  t.equal(run(insn(0xb7, 0, 0, 0, 1), insn(0x85, 0, 0, 0, 5), insn(0x15, 0, 0, 1, 1), nop, exit), '11111', 'the result of a call');
  t.equal(run(insn(0xb7, 1, 0, 0, 1), insn(0x79, 1, 10, -8), insn(0x15, 1, 0, 1, 1), nop, exit), '11111', 'a load');
  t.equal(run(insn(0xb7, 0, 0, 0, 1), insn(0xdb, 10, 2, -8, 0xf1), insn(0x15, 0, 0, 1, 1), nop, exit), '11111', 'cmpxchg');
  const joined = [insn(0xb7, 2, 0, 0, 1), insn(0x15, 1, 0, 1, 0), insn(0xb7, 2, 0, 0, 2), insn(0x15, 2, 0, 1, 1), nop, exit];
  t.equal(run(...joined), '111111', 'two ways that differ');
  t.equal(run(insn(0x15, 1, 0, 1, 3), exit, insn(0x15, 1, 0, 1, 3), nop, exit), '11101', 'what a branch has taught');
});

t.test('subprograms, callbacks, far and indirect jumps', async (t) => {
  t.equal(run(insn(0x85, 0, 1, 0, 1), exit, insn(0xb7, 0, 0, 0, 0), exit), '1111', 'a call');
  t.equal(run(insn(0xb7, 1, 0, 0, 0), insn(0x85, 0, 1, 0, 1), exit, insn(0x15, 1, 0, 1, 0), nop, exit), '111101', 'its arguments');
  t.equal(run(insn(0x18, 2, 4, 0, 2), insn(0), exit, nop, exit), '10111', 'a callback');
  t.equal(run(insn(0x06, 0, 0, 0, 1), nop, exit), '101', 'gotol');
  t.equal(run(insn(0xe5, 0, 0, 1), nop, exit), '111', 'may_goto');
  t.equal(reached(encodeInsns([insn(0x0d, 1), nop, exit, nop, exit]), [2, 3]), '10111', 'gotox');
  t.equal(run(insn(0x05, 0, 0, 100), exit), '10', 'out of the program');
  t.equal(run(insn(0x05, 0, 0, -1)), '1', 'for ever');
});

t.test('read-only maps', async (t) => {
  const load = fromHex('1821000000000000'.concat('0000000004000000'));
  const program = (compared: number) => encodeInsns([insn(0x61, 1, 1, 0), insn(0x15, 1, 0, 1, compared), nop, exit]);
  t.equal(reached(Uint8Array.of(...load, ...program(0x060100))), '101101');
  t.equal(reached(Uint8Array.of(...load, ...encodeInsns([insn(0x71, 1, 1, 0), insn(0x15, 1, 0, 1, 0), nop, exit]))), '101111');
});
