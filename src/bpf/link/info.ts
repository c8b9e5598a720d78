import { cString } from '../../bytes/text.ts';
import { bpf, bpfError } from '../../sys/bpf.ts';
import { linkInfo as layout } from '../../sys/bpf-attr/index.ts';
import type { Sys } from '../../sys/sys.ts';
import { keepAlive } from '../kernel/keep-alive.ts';
import { BPF_LINK_TYPE, BPF_PERF_EVENT_TYPE } from '../uapi/link-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { linkTypes } from './link-types.ts';

/** struct bpf_link_info: what every link has, and the fields of its type under the kernel's names. */
export interface LinkInfo {
  readonly id: number;
  /** BPF_LINK_TYPE_* number. */
  readonly type: number;
  readonly typeName: string;
  readonly programId: number;
  /** The arm of the union that belongs to the type: `tp_name`, `attach_type`, `cgroup_id`... */
  readonly details: Readonly<Record<string, number | bigint | string>>;
}

/** The arms of `perf_event`, by its own type. */
const perfArms: Readonly<Record<number, string>> = {
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_UPROBE]: 'uprobe',
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_URETPROBE]: 'uprobe',
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_KPROBE]: 'kprobe',
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_KRETPROBE]: 'kprobe',
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_TRACEPOINT]: 'tracepoint',
  [BPF_PERF_EVENT_TYPE.BPF_PERF_EVENT_EVENT]: 'event',
};

/** Fields that point to a name, with the field that tells its buffer's length. */
const textFields: Readonly<Record<string, readonly (readonly [pointer: string, length: string])[]>> = {
  raw_tracepoint: [['raw_tracepoint.tp_name', 'raw_tracepoint.tp_name_len']],
  iter: [['iter.target_name', 'iter.target_name_len']],
  uprobe_multi: [['uprobe_multi.path', 'uprobe_multi.path_size']],
  'perf_event.uprobe': [['perf_event.uprobe.file_name', 'perf_event.uprobe.name_len']],
  'perf_event.kprobe': [['perf_event.kprobe.func_name', 'perf_event.kprobe.name_len']],
  'perf_event.tracepoint': [['perf_event.tracepoint.tp_name', 'perf_event.tracepoint.name_len']],
};

/** Asks the kernel about a link. */
export function linkInfo(sys: Sys, fd: number): LinkInfo {
  const first = ask(sys, fd, new Uint8Array(layout.size));
  let arm = linkTypes[Number(first['type'])]?.arm ?? '';
  if (arm === 'perf_event') {
    const perfArm = perfArms[Number(first['perf_event.type'])];
    if (perfArm !== undefined) arm = `perf_event.${perfArm}`;
  }
  const texts = new Map<string, Uint8Array>();
  const request: Record<string, Uint8Array | number> = {};
  for (const [pointer, length] of textFields[arm] ?? []) {
    const buffer = new Uint8Array(4096);
    texts.set(pointer, buffer);
    request[pointer] = buffer;
    request[length] = buffer.length;
  }
  const raw =
    texts.size === 0
      ? first
      : ask(
          sys,
          fd,
          layout.encode(request, (bytes) => sys.addressOf(bytes)),
        );
  keepAlive(texts);
  const type = Number(raw['type']);
  return {
    id: Number(raw['id']),
    type,
    typeName: nameOf(BPF_LINK_TYPE, type) ?? `BPF_LINK_TYPE_${type}`,
    programId: Number(raw['prog_id']),
    details: details(raw, arm, texts),
  };
}

type Raw = Record<string, bigint | number | Uint8Array | number[]>;

function ask(sys: Sys, fd: number, info: Uint8Array): Raw {
  const result = bpf(sys, 'BPF_OBJ_GET_INFO_BY_FD', { bpf_fd: fd, info, info_len: info.length });
  if (result < 0) throw bpfError(sys, 'BPF_OBJ_GET_INFO_BY_FD', result, { where: { fd } });
  return layout.decode(info);
}

function details(raw: Raw, arm: string, texts: ReadonlyMap<string, Uint8Array>): LinkInfo['details'] {
  const fields: Record<string, number | bigint | string> = Object.create(null);
  for (const { name, type } of layout.fields) {
    // `perf_event.type` belongs to every arm of perf_event.
    const inArm = name.startsWith(`${arm}.`) || (arm.startsWith('perf_event.') && name === 'perf_event.type');
    if (!inArm) continue;
    const short = name.slice(name.startsWith(`${arm}.`) ? arm.length + 1 : 'perf_event.'.length);
    const text = texts.get(name);
    if (text !== undefined) fields[short] = cString(text);
    else if (type !== 'ptr' && !short.endsWith('_len')) fields[short] = raw[name] as number | bigint;
  }
  return fields;
}
