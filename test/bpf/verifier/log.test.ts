import t from 'tap';
import { expectedText } from '../../fixture.ts';
import { parseVerifierLog } from '../../../src/bpf/verifier/log.ts';

t.test('format up to 7.2', async (t) => {
  const failure = parseVerifierLog(
    [
      'func#0 @0',
      '0: R1=ctx() R10=fp0',
      '; int x = *p; @ prog.bpf.c:12',
      '0: (b7) r2 = 0                        ; R2_w=0',
      '1: (79) r6 = *(u64 *)(r1 +8)          ; R1=ctx() R6_w=scalar(smin=0,var_off=(0x0; 0xff))',
      '; return *q; @ prog.bpf.c:14',
      '2: (61) r0 = *(u32 *)(r6 +0)',
      "R6 invalid mem access 'scalar'",
      'processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
      '',
    ].join('\n'),
  );
  t.equal(failure.reason, "R6 invalid mem access 'scalar'");
  t.equal(failure.insn, 2);
  t.equal(failure.insnText, '(61) r0 = *(u32 *)(r6 +0)');
  t.same(failure.source, { text: 'return *q;', file: 'prog.bpf.c', line: 14 });
  t.equal(failure.registers.get('R6'), 'scalar(smin=0,var_off=(0x0; 0xff))');
  t.equal(failure.registers.get('R2'), '0');
  t.same(failure.involved, ['R0', 'R6']);
  t.equal(failure.processed, 3);
});

t.test('format from 7.3 on', async (t) => {
  const failure = parseVerifierLog(
    [
      '0: R1=ctx() R10=fp0',
      '0: (95) exit',
      'R0 !read_ok',
      '',
      'Verification failed: Register Type Safety: Unreadable register',
      '',
      'Reason:',
      '  R0 has never been initialized on this path, so the verifier cannot use it as an input.',
      '',
      'At:',
      '  insn 0',
      '        | ^-- error: R0 is not readable',
      '  Instruction context:',
      '  >>> 0 | (95) exit',
      '',
      'Causal path:',
      '  no retained diagnostic events on this path',
      '',
      'Suggestion:',
      '  Initialize R0 on every path before this instruction.',
      '',
      'processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0',
      '',
    ].join('\n'),
  );
  t.equal(failure.reason, 'R0 !read_ok');
  t.equal(failure.headline, 'Register Type Safety: Unreadable register');
  t.match(failure.explanation, /^R0 has never been initialized/);
  t.equal(failure.suggestion, 'Initialize R0 on every path before this instruction.');
  t.equal(failure.insn, 0);
  t.equal(failure.insnText, '(95) exit');
});

t.test('other shapes', async (t) => {
  const rows: readonly [name: string, log: string, reason: string, insn: number | null][] = [
    ['empty', '', '', null],
    ['refused before the walk', 'unreachable insn 68\nprocessed 0 insns (limit 1000000)\n', 'unreachable insn 68', 68],
    ['JIT', "JIT doesn't support bpf-to-bpf calls\nprocessed 39 insns (limit 1000000)\n", "JIT doesn't support bpf-to-bpf calls", null],
    [
      'a second line of the message',
      '5: (bf) r1 = r0\ninvalid access to map value, value_size=8 off=8 size=8\nR0 min value is outside of the allowed memory range\n',
      'invalid access to map value, value_size=8 off=8 size=8; R0 min value is outside of the allowed memory range',
      5,
    ],
    [
      'precision tracking is not the message',
      '7: (0f) r1 += r2\nmark_precise: frame0: last_idx 7 first_idx 0\nmark_precise: frame0: regs=r2 stack= before 6: (bf) r1 = r0\nmath between map_value pointer and 4294967295 is not allowed\n',
      'math between map_value pointer and 4294967295 is not allowed',
      7,
    ],
    [
      'a register type list',
      '3: (85) call bpf_map_lookup_elem#1\nR2 type=scalar expected=fp, pkt, map_key\n',
      'R2 type=scalar expected=fp, pkt, map_key',
      3,
    ],
    [
      'a message of the kernel without its newline',
      '5: (85) call bpf_tail_call#12\nexpected prog array map for tail callprocessed 6 insns (limit 1000000) max_states_per_insn 0\n',
      'expected prog array map for tail call',
      5,
    ],
    ['trailing NULs', '0: (95) exit\nR0 !read_ok\n\0\0\0', 'R0 !read_ok', 0],
    [
      'complexity',
      '2192: (56) if w0 != 0x0 goto pc+373\nThe sequence of 8193 jumps is too complex.\nverification time 850563 usec\nstack depth 64+8\nprocessed 336006 insns (limit 1000000)\n',
      'The sequence of 8193 jumps is too complex.',
      2192,
    ],
  ];
  for (const [name, log, reason, insn] of rows) {
    t.test(name, async (t) => {
      const failure = parseVerifierLog(log);
      t.equal(failure.reason, reason);
      t.equal(failure.insn, insn);
    });
  }
});

t.test('state before the instruction, older kernels: states on lines of their own', async (t) => {
  const failure = parseVerifierLog(
    [
      '0: (bf) r6 = r1',
      ' R1=ctx(id=0,off=0,imm=0) R6=ctx(id=0,off=0,imm=0) R10=fp0',
      '1: (61) r0 = *(u32 *)(r6 +400)',
      'invalid bpf_context access off=400 size=4',
    ].join('\n'),
  );
  t.equal(failure.reason, 'invalid bpf_context access off=400 size=4');
  t.equal(failure.registers.get('R6'), 'ctx(id=0,off=0,imm=0)');
});

t.test('what two real kernels say of the same program', async (t) => {
  const old = parseVerifierLog(expectedText('runtime.refused.verifier-5.10.txt'));
  const young = parseVerifierLog(expectedText('runtime.refused.verifier-7.3.txt'));
  for (const failure of [old, young]) {
    t.equal(failure.reason, "R0 invalid mem access 'map_value_or_null'");
    t.equal(failure.insn, 7);
    t.equal(failure.insnText, '(79) r0 = *(u64 *)(r0 +0)');
    t.equal(failure.source?.text, 'return found->count;');
    t.equal(failure.processed, 7);
  }
  t.equal(young.headline, 'Register Type Safety: Invalid dereference');
  t.equal(young.source?.line, 259);
  t.match(young.explanation, /^R0 may be NULL here .* path, so the verifier cannot prove this access is safe\.$/);
  t.match(young.suggestion, /^Add a NULL check/);
  t.match(young.causalPath, /update: R0 changed from uninitialized value to nullable map value/);
  t.same(young.registers.get('R0'), 'map_value_or_null(id=1,map=by_pid,ks=4,vs=24)');
  t.equal(old.causalPath, null);
});
