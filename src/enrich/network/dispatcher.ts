import { asm } from '../../bpf/insn/asm.ts';
import { encodeInsns } from '../../bpf/insn/insn.ts';
import { createMap } from '../../bpf/map/create.ts';
import type { BpfMap } from '../../bpf/map/map.ts';
import { BpfProgram } from '../../bpf/program/program.ts';
import { BPF_PROG_TYPE } from '../../bpf/uapi/prog-type.gen.ts';
import { BPF_FUNC } from '../../bpf/uapi/func.gen.ts';
import { toCString } from '../../bytes/text.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';

/** Offset of cb[0] in struct __sk_buff (linux/bpf.h). */
const callerWords = 48;
const TC_ACT_UNSPEC = -1;

/** A map through which dispatchers call a program that is loaded once, however many they are. */
export function callMap(program: BpfProgram): BpfMap {
  const map = createMap(program.kernel, { name: 'dispatch', type: 'BPF_MAP_TYPE_PROG_ARRAY', keySize: 4, valueSize: 4, maxEntries: 1 });
  map.update(new Uint8Array(4), new Uint8Array(Uint32Array.of(program.fd).buffer));
  return map;
}

/**
 * Loads the few instructions that run before a gadget's program in one network namespace: they tell it the namespace, in
 * cb[0], and hand the packet on.
 */
export function loadDispatcher(program: BpfProgram, calls: BpfMap, netns: number): BpfProgram {
  const { kernel, type } = program;
  const isSocketFilter = type === BPF_PROG_TYPE.BPF_PROG_TYPE_SOCKET_FILTER;
  const insns = encodeInsns([
    ...asm.alu32Imm('MOV', 2, netns | 0),
    ...asm.store('W', 1, callerWords, 2),
    ...asm.ldMapFd(2, calls.fd),
    ...asm.movImm(3, 0),
    ...asm.call(BPF_FUNC.BPF_FUNC_tail_call),
    // Where the call fails: the packet goes on as if nobody had looked.
    ...asm.movImm(0, isSocketFilter ? 0 : TC_ACT_UNSPEC),
    ...asm.exit(),
  ]);
  const name = 'dispatcher';
  const fd = bpf(kernel.sys, 'BPF_PROG_LOAD', {
    prog_type: type,
    insns,
    insn_cnt: insns.length / 8,
    license: toCString('GPL'),
    expected_attach_type: program.expectedAttachType,
  });
  if (fd < 0)
    throw bpfError(kernel.sys, 'BPF_PROG_LOAD', fd, { what: 'cannot load the dispatcher of a network namespace', where: { netns } });
  return new BpfProgram(kernel, fd, { name, type, expectedAttachType: program.expectedAttachType, spec: null, linked: null, log: '' });
}
