import { readFileSync } from 'node:fs';
import { cString } from '../../bytes/text.ts';
import { bpfCall, bpfError } from '../../sys/bpf.ts';
import { mapInfo as layout } from '../../sys/bpf-attr/index.ts';
import { isErrno } from '../../sys/errno.ts';
import type { Sys } from '../../sys/sys.ts';
import type { MapShape } from './shape.ts';

/** struct bpf_map_info, in JavaScript's spelling; the name is the kernel's, at most 15 bytes. */
export interface MapInfo extends MapShape {
  readonly id: number;
  /** Id of the BTF object that the type ids are of, 0 where there is none. */
  readonly btfId: number;
  readonly keyTypeId: number;
  readonly valueTypeId: number;
  /** For struct_ops: the value's type in the kernel's BTF. */
  readonly vmlinuxValueTypeId: number;
  readonly ifindex: number;
}

/** Asks the kernel about a map; kernels that do not answer (before 4.13) are asked through fdinfo. */
export function mapInfo(sys: Sys, fd: number): MapInfo {
  const info = new Uint8Array(layout.size);
  const { result } = bpfCall(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length });
  if (isErrno(result, 'EINVAL')) return infoFromFdinfo(fd);
  if (result < 0) throw bpfError(sys, 'BPF_OBJ_GET_INFO_BY_FD', result, { where: { fd } });
  const raw = layout.decode(info);
  const number = (field: string): number => Number(raw[field]);
  return {
    id: number('id'),
    name: cString(raw['name'] as Uint8Array),
    type: number('type'),
    keySize: number('key_size'),
    valueSize: number('value_size'),
    maxEntries: number('max_entries'),
    flags: number('map_flags'),
    mapExtra: raw['map_extra'] as bigint,
    btfId: number('btf_id'),
    keyTypeId: number('btf_key_type_id'),
    valueTypeId: number('btf_value_type_id'),
    vmlinuxValueTypeId: number('btf_vmlinux_value_type_id'),
    ifindex: number('ifindex'),
  };
}

function infoFromFdinfo(fd: number): MapInfo {
  const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? 0);
  return {
    id: field('map_id'),
    name: '',
    type: field('map_type'),
    keySize: field('key_size'),
    valueSize: field('value_size'),
    maxEntries: field('max_entries'),
    flags: field('map_flags'),
    mapExtra: BigInt(field('map_extra')),
    btfId: 0,
    keyTypeId: 0,
    valueTypeId: 0,
    vmlinuxValueTypeId: 0,
    ifindex: 0,
  };
}
