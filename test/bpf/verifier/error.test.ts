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

t.test('names the weak function that is missing, and the map that was not made', async (t) => {
  const failed = (call: number): VerifierError =>
    new VerifierError({
      program: 'main',
      section: 'tc',
      errno: 22,
      log: `4: R10=fp0\n4: (85) call unknown#${call}\ninvalid func unknown#${call}\n`,
      externs: ['CONFIG_HZ', 'bpf_new_kfunc'],
      maps: ['first', 'optional'],
    });
  t.match(failed(2_002_000_001), { code: 'E_EXTERN_MISSING', why: /no function bpf_new_kfunc/, next: /bpf_ksym_exists\(bpf_new_kfunc\)/ });
  t.match(failed(2_001_000_001), { code: 'E_MAP_NOT_CREATED', why: /map optional was not created/ });
  t.match(failed(2_002_000_009), { code: 'E_VERIFIER', why: 'invalid func unknown#2002000009' });
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

t.test('what a message means, of every sort that the kernel’s own tests provoke', async (t) => {
  // One row a sort, from `rawbpf check` over the kernel's selftests (7.3) on Linux 6.18: 738 refused programs, each with a hint.
  const rows: readonly (readonly [reason: string, hint: RegExp])[] = [
    ['Possibly NULL pointer passed to trusted arg0', /against NULL/],
    ["R1 invalid mem access 'trusted_ptr_or_null_'", /against NULL/],
    ['arg#0 pointer type STRUCT cgroup must point to scalar, or struct with scalar', /the kernel vouches for/],
    ['R1 must be referenced or trusted', /the kernel vouches for/],
    ['R1 must be referenced when passed to release function', /acquired itself/],
    ['arg 1 is an unacquired reference', /acquired itself/],
    ['release kernel function bpf_cgroup_release expects refcounted PTR_TO_BTF_ID', /acquired itself/],
    ['Unreleased reference id=2 alloc_insn=10; BPF_EXIT instruction in main prog would lead to reference leak', /on every path/],
    ['Expected an initialized dynptr as arg #2', /dynptr/],
    ['cannot overwrite referenced dynptr', /dynptr/],
    ['expected an initialized iter_num as arg #0', /_next\(\)/],
    ['kptr access size must be BPF_DW', /bpf_kptr_xchg/],
    ['bpf_spin_unlock of different lock', /same lock/],
    ['BPF_EXIT instruction in main prog cannot be used inside bpf_preempt_disable-ed region', /end on every path/],
    ['invalid write to stack R10 off=-516 size=8', /512 bytes of stack/],
    ['invalid variable-offset write to stack R2 var_off=(0x0; 0xff) off=-256 size=1', /not known/],
    ['R3 offset is outside of the packet', /data_end/],
    ['div by zero', /divisor/],
    ['R2 invalid zero-sized read: u64=[0,16]', /may be 0/],
    ['R4 must be a known constant', /when the program is compiled/],
    ['dereference of modified ctx ptr R1 off=8 disallowed', /as it was given/],
    ['R1 invalid sock access off=40 size=8', /no such field/],
    ['BPF_ATOMIC stores into R2 ctx is not allowed', /atomic/],
    ['same insn cannot be used with different pointers', /each branch/],
    ['cannot pass map_type 6 into func bpf_map_lookup_elem#1', /map of this type/],
    ['R6 invalid tracepoint buffer access: off=-8, size=8', /outside of the buffer/],
    ['the call stack of 9 frames is too deep !', /8 deep/],
    ['unexpected __bpf_trap() due to uninitialized variable?', /never set/],
    ['only read from bpf_array is supported', /may not be written/],
    ['the prog does not allow writes to packet data', /bpf_skb_store_bytes/],
    ['verifier bug: backtracking misuse', /report it/],
    ['Tracing programs must provide btf_id', /section name/],
    ['jump out of range from insn 1 to 9', /-mcpu/],
    ["arg#0 reference type('FWD S') size cannot be determined: -22", /full declaration/],
  ];
  for (const [reason, hint] of rows) t.match(hintFor(reason), hint, reason);
});

t.test('a line of a macro is shown on one line, and arguments by number are registers', async (t) => {
  const error = new VerifierError({
    program: 'main',
    section: 'tc',
    errno: 22,
    log: '3: R1=ctx() R2=scalar() R10=fp0\n3: (85) call bpf_cgroup_release#63570\nPossibly NULL pointer passed to trusted arg1\n',
    sourceLine: () => ({ file: 'a.c', line: 7, column: 1, text: 'asm volatile ("\t\t\t\t\t\\' }),
  });
  t.match(error.message, 'source asm volatile (" \\,');
  t.match(error.message, 'registers R2=scalar()');
});
