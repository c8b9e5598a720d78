import { cString, toHex } from '../../bytes/text.ts';
import type { FieldValue } from '../../bytes/struct.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { progInfo as layout } from '../../sys/bpf-attr/index.ts';
import type { Sys } from '../../sys/sys.ts';
import { keepAlive } from '../kernel/keep-alive.ts';

/** struct bpf_prog_info, in JavaScript's spelling. */
export interface ProgramInfo {
  readonly id: number;
  /** The kernel's name, at most 15 bytes. */
  readonly name: string;
  /** BPF_PROG_TYPE_* number. */
  readonly type: number;
  /** The kernel's hash over the instructions, as 16 hex digits. */
  readonly tag: string;
  /** Nanoseconds since boot. */
  readonly loadTime: bigint;
  readonly createdByUid: number;
  readonly gplCompatible: boolean;
  readonly mapIds: readonly number[];
  readonly btfId: number;
  /** Bytes of the instructions after the verifier's rewriting. */
  readonly xlatedLength: number;
  readonly jitedLength: number;
  /** Instructions the verifier walked through. */
  readonly verifiedInsns: number;
  /** Only counted while statistics are on ({@link enableStats}). */
  readonly runTimeNs: bigint;
  readonly runCount: bigint;
  readonly recursionMisses: bigint;
  readonly attachBtfObjId: number;
  readonly attachBtfId: number;
}

type Raw = Record<string, bigint | number | Uint8Array | number[]>;

function ask(sys: Sys, fd: number, values: Readonly<Record<string, FieldValue>> = {}): Raw {
  const info = layout.encode(values, (bytes) => sys.addressOf(bytes));
  const result = bpf(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length });
  keepAlive(values);
  if (result < 0) throw bpfError(sys, 'BPF_OBJ_GET_INFO_BY_FD', result, { where: { fd } });
  return layout.decode(info);
}

/** The kernel's hash over a program's instructions, as 16 hex digits: one call, and nothing else of what it tells is looked at. */
export function programTag(sys: Sys, fd: number): string {
  const info = new Uint8Array(layout.size);
  const result = bpf(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length });
  if (result < 0) throw bpfError(sys, 'BPF_OBJ_GET_INFO_BY_FD', result, { where: { fd } });
  const { offset, size } = layout.field('tag');
  return toHex(info.subarray(offset, offset + size));
}

/** Asks the kernel about a program. */
export function programInfo(sys: Sys, fd: number): ProgramInfo {
  let raw = ask(sys, fd);
  const mapIds = new Uint8Array(Number(raw['nr_map_ids']) * 4);
  // The first answer tells how many maps there are, the second names them.
  if (mapIds.length > 0) raw = ask(sys, fd, { map_ids: mapIds, nr_map_ids: mapIds.length / 4 });
  const number = (field: string): number => Number(raw[field]);
  const big = (field: string): bigint => raw[field] as bigint;
  return {
    id: number('id'),
    name: cString(raw['name'] as Uint8Array),
    type: number('type'),
    tag: toHex(raw['tag'] as Uint8Array),
    loadTime: big('load_time'),
    createdByUid: number('created_by_uid'),
    gplCompatible: (number('gpl_flags') & 1) === 1,
    mapIds: Array.from(new Uint32Array(mapIds.buffer, 0, Math.min(number('nr_map_ids'), mapIds.length / 4))),
    btfId: number('btf_id'),
    xlatedLength: number('xlated_prog_len'),
    jitedLength: number('jited_prog_len'),
    verifiedInsns: number('verified_insns'),
    runTimeNs: big('run_time_ns'),
    runCount: big('run_cnt'),
    recursionMisses: big('recursion_misses'),
    attachBtfObjId: number('attach_btf_obj_id'),
    attachBtfId: number('attach_btf_id'),
  };
}

/** The instructions as the verifier left them, 8 bytes each; empty where the kernel does not show them. */
export function translatedInsns(sys: Sys, fd: number): Uint8Array {
  const length = Number(ask(sys, fd)['xlated_prog_len']);
  if (length === 0) return new Uint8Array(0);
  const insns = new Uint8Array(length);
  const raw = ask(sys, fd, { xlated_prog_insns: insns, xlated_prog_len: length });
  return raw['xlated_prog_insns'] === 0n ? new Uint8Array(0) : insns.subarray(0, Number(raw['xlated_prog_len']));
}
