import { asm } from '../insn/asm.ts';
import { BPF_FUNC, BPF_MAP_TYPE } from '../uapi/index.ts';
import type { InsnRelocation, MapSpec, ObjectSpec } from './spec.ts';
import { wrapHelpers, type HelperWrapper } from './wrapped-helpers.ts';

/** The map of {@link countLosses}: an array of one u64, the events that found no room. */
export const LOST_EVENTS_MAP = 'rawbpf_lost';

const sectionName = '.rawbpf.losses';

/** What a helper returns when it could not do what it was called for. */
const counted: readonly { readonly helper: number; readonly name: string; readonly fails: 'null' | 'nonzero' }[] = [
  { helper: BPF_FUNC.BPF_FUNC_ringbuf_reserve, name: 'rawbpf_count_reserve', fails: 'null' },
  { helper: BPF_FUNC.BPF_FUNC_ringbuf_output, name: 'rawbpf_count_output', fails: 'nonzero' },
  { helper: BPF_FUNC.BPF_FUNC_perf_event_output, name: 'rawbpf_count_perf_output', fails: 'nonzero' },
];

/**
 * Makes an object count the events it could not send: each call of bpf_ringbuf_reserve, bpf_ringbuf_output and
 * bpf_perf_event_output goes to a subprogram that makes the call and, where it fails, adds one to {@link LOST_EVENTS_MAP}
 * (BPF-to-BPF calls: Linux 4.16). For objects that have no counter of their own. The programs lose their func_info and
 * line_info: the kernel wants them of all functions, and these have no C. An object without such calls stays as it is.
 *
 * @example
 * import { countLosses, openObject, type ObjectSpec } from 'rawbpf/object';
 * function counting(object: Uint8Array): ObjectSpec {
 *   return countLosses(openObject(object));
 * }
 */
export function countLosses(spec: ObjectSpec): ObjectSpec {
  return wrapHelpers(spec, { name: sectionName, wrappers: counted.map(counting), maps: [lostEventsMap()] });
}

/** Makes the call, and adds one where it fails. */
function counting({ helper, name, fails }: (typeof counted)[number]): HelperWrapper {
  const add = [...asm.ldMapValue(1, 0, 0), ...asm.movImm(2, 1), ...asm.atomic('DW', 0, 1, 0, 2)];
  const relocations: InsnRelocation[] = [{ insn: 2, target: { kind: 'map_value', map: LOST_EVENTS_MAP, offset: 0 } }];
  // What was reserved goes to the caller as it is; where nothing was, the verifier has to see a zero.
  const rest =
    fails === 'null'
      ? [...asm.jumpImm('JNE', 0, 0, add.length + 1), ...add, ...asm.movImm(0, 0)]
      : [...asm.jumpImm('JEQ', 0, 0, add.length), ...add];
  return { helper, name, insns: [...asm.call(helper), ...rest, ...asm.exit()], relocations };
}

function lostEventsMap(): MapSpec {
  return {
    name: LOST_EVENTS_MAP,
    libbpfName: LOST_EVENTS_MAP,
    origin: 'bss',
    sectionName,
    sectionIndex: 0,
    sectionOffset: 0,
    type: BPF_MAP_TYPE.BPF_MAP_TYPE_ARRAY,
    keySize: 4,
    valueSize: 8,
    maxEntries: 1,
    flags: 0,
    numaNode: 0,
    mapExtra: 0n,
    pinning: 0,
    keyTypeId: 0,
    valueTypeId: 0,
    inner: null,
    slots: [],
    data: new Uint8Array(8),
    structOps: null,
    autocreate: true,
    tags: [],
  };
}
