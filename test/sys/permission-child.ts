// Run by permission.kernel.test.ts with something taken away: tries to load a tracing program and prints what it is told.
import { fromHex, toCString } from '../../src/bytes/text.ts';
import { BPF_PROG_TYPE } from '../../src/bpf/uapi/index.ts';
import { bpfOrThrow } from '../../src/sys/bpf.ts';
import { defaultSys } from '../../src/sys/default-sys.ts';
import { check } from '../../src/sys/errno.ts';
import { perfEventOpenOrThrow } from '../../src/sys/perf-event.ts';
import { syscallNumber } from '../../src/sys/syscall-table.ts';

const sys = defaultSys();

/** Refuses a call to this process (seccomp(2), a filter of classic BPF). */
function refuse(name: 'bpf' | 'perf_event_open'): void {
  const filter = new Uint8Array(4 * 8);
  const view = new DataView(filter.buffer);
  const insn = (i: number, code: number, jt: number, jf: number, k: number): void => {
    view.setUint16(i * 8, code, true);
    view.setUint8(i * 8 + 2, jt);
    view.setUint8(i * 8 + 3, jf);
    view.setUint32(i * 8 + 4, k, true);
  };
  insn(0, 0x20, 0, 0, 0); // the number
  insn(1, 0x15, 0, 1, syscallNumber(sys.arch, name));
  insn(2, 0x06, 0, 0, 0x00050001); // SECCOMP_RET_ERRNO | EPERM
  insn(3, 0x06, 0, 0, 0x7fff0000); // SECCOMP_RET_ALLOW
  const program = new Uint8Array(16);
  new DataView(program.buffer).setUint16(0, 4, true);
  new DataView(program.buffer).setBigUint64(8, sys.addressOf(filter), true);
  check(sys.call('prctl', 38, 1, 0, 0, 0), 'PR_SET_NO_NEW_PRIVS');
  check(sys.call('prctl', 22, 2, program), 'PR_SET_SECCOMP');
  // Still needed up to here: the program holds its address only.
  filter.fill(0);
}

const refused = process.argv[2];
if (refused === 'bpf' || refused === 'perf_event_open') refuse(refused);
try {
  if (refused === 'perf_event_open') perfEventOpenOrThrow(sys, { attr: { type: 1, config: 0n } });
  // r0 = 0; exit
  const insns = fromHex('b700000000000000 9500000000000000');
  const prog_type = BPF_PROG_TYPE.BPF_PROG_TYPE_TRACEPOINT;
  bpfOrThrow(sys, 'BPF_PROG_LOAD', { prog_type, insns, insn_cnt: 2, license: toCString('GPL') }, { what: 'cannot load' });
  console.log('loaded');
} catch (error) {
  console.log(error instanceof Error ? error.message : error);
}
