import { bpfCall, bpfError } from '../sys/bpf.ts';
import { isErrno } from '../sys/errno.ts';
import type { Sys } from '../sys/sys.ts';

const commands = {
  prog: 'BPF_PROG_GET_NEXT_ID',
  map: 'BPF_MAP_GET_NEXT_ID',
  btf: 'BPF_BTF_GET_NEXT_ID',
  link: 'BPF_LINK_GET_NEXT_ID',
} as const;

/** A kind of object that the kernel numbers. */
export type IdKind = keyof typeof commands;

/** The ids of every program, map, BTF object or link in the kernel, ascending. */
export function* ids(sys: Sys, kind: IdKind): Generator<number> {
  for (let id = 0; ;) {
    const { result, attr } = bpfCall(sys, commands[kind], { start_id: id });
    if (isErrno(result, 'ENOENT')) return;
    if (result < 0) throw bpfError(sys, commands[kind], result);
    // next_id is the second u32 of the attribute.
    id = new DataView(attr.buffer, attr.byteOffset).getUint32(4, true);
    yield id;
  }
}
