import t from 'tap';
import { hintFor } from '../../../src/bpf/verifier/hint.ts';
import { VerifierError } from '../../../src/bpf/verifier/error.ts';

t.test('names program, instruction, C line and registers', async (t) => {
  const log = '0: R1=ctx() R10=fp0\n0: (61) r0 = *(u32 *)(r1 +400)\ninvalid bpf_context access off=400 size=4\n';
  const error = new VerifierError({
    program: 'main',
    section: 'xdp',
    errno: 13,
    log,
    sourceLine: (insn) => ({ file: 'a.bpf.c', line: 7 + insn, column: 3, text: 'return ctx->x;' }),
  });
  t.equal(error.code, 'E_VERIFIER');
  t.equal(error.log, log);
  t.equal(error.insn, 0);
  t.match(error.message, 'a.bpf.c:7');
  t.match(error.message, 'R1=ctx()');
  t.match(error.message, 'invalid bpf_context access off=400 size=4');
  t.match(error.next, 'no such field in its context');
});

t.test('names the CO-RE relocation behind a poisoned call', async (t) => {
  const error = new VerifierError({
    program: 'main',
    section: 'kprobe/x',
    errno: 22,
    log: '0: R1=ctx() R10=fp0\n0: (85) call unknown#195896080\ninvalid func unknown#195896080\n',
    coreRelocations: [
      {
        insn: 0,
        kind: 'byte_off',
        local: 'struct task_struct.gone (0:3 @ offset 8)',
        target: null,
        poisoned: true,
        value: null,
        reason: 'struct task_struct has no member gone',
      },
    ],
  });
  t.equal(error.code, 'E_CORE_POISONED');
  t.match(error.why, 'struct task_struct.gone');
  t.match(error.why, 'byte_off');
  t.match(error.why, 'struct task_struct has no member gone');
});

t.test('hints', async (t) => {
  const rows: readonly [reason: string, hint: RegExp | null][] = [
    ["R0 invalid mem access 'map_value_or_null'", /against NULL/],
    ["R6 invalid mem access 'scalar'", /bpf_probe_read_kernel/],
    ["R6 invalid mem access 'inv'", /bpf_probe_read_kernel/],
    ['invalid indirect read from stack R2 off -16+4 size 16', /never written/],
    ['combined stack size of 2 calls is 544. Too large', /512 bytes/],
    ['BPF program is too large. Processed 1000001 insn', /number of paths/],
    ['back-edge from insn 4 to 2', /end to this loop/],
    ["R2 unbounded memory access, use 'var &= const' or 'if (var < const)'", /bound right before/],
    ['invalid access to packet, off=14 size=1, R1(id=0,off=14,r=0)', /data_end/],
    ['program of this type cannot use helper bpf_probe_read_user#112', /not allowed in this program type/],
    ['cannot call GPL-restricted function from non-GPL compatible program', /licence/],
    ['Unreleased reference id=2 alloc_insn=4', /released on every path/],
    ['misaligned stack access off (0x0; 0x0)+0+-3 size 8', /multiple of the access size/],
    ['something new', null],
  ];
  for (const [reason, hint] of rows) {
    if (hint === null) t.equal(hintFor(reason), null, reason);
    else t.match(hintFor(reason), hint, reason);
  }
});
