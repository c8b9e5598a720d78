import { STB, STV } from '../../elf/constants.ts';
import { asm } from '../insn/asm.ts';
import { encodeInsns, InsnSlots, type Insn } from '../insn/insn.ts';
import { BPF_OPCODE } from '../insn/opcodes.ts';
import { BPF_FUNC, BPF_MAP_TYPE } from '../uapi/index.ts';
import type { CodeSection, FunctionSymbol, InsnRelocation, MapSpec, ObjectSpec } from './spec.ts';
import { freeSectionIndex, withCode } from './with-code.ts';

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
  const index = freeSectionIndex(spec);
  const counting = countingSection(index);
  const code = new Map<number, CodeSection>();
  let calls = 0;
  for (const [key, section] of spec.code) {
    const rewritten = redirectCalls(section, counting);
    if (rewritten !== section) calls++;
    code.set(key, rewritten);
  }
  if (calls === 0) return spec;
  code.set(index, counting);
  return { ...withCode(spec, code), maps: [...spec.maps, lostEventsMap()] };
}

/** The section with its calls of counted helpers turned into calls of the counting functions; itself where it has none. */
function redirectCalls(section: CodeSection, counting: CodeSection): CodeSection {
  const slots = new InsnSlots(section.insns.slice());
  const added: InsnRelocation[] = [];
  for (let insn = 0; insn < slots.count; insn++) {
    const code = slots.code(insn);
    // The second half of a wide load holds data.
    if (code === BPF_OPCODE.LDIMM64) insn++;
    if (code !== BPF_OPCODE.CALL || slots.src(insn) !== 0) continue;
    const which = counted.findIndex(({ helper }) => helper === slots.imm(insn));
    const fn = counting.functions[which];
    if (fn === undefined) continue;
    slots.setSrc(insn, 1);
    slots.setImm(insn, -1);
    added.push({ insn, target: { kind: 'call', sectionIndex: counting.index, offset: fn.insn * 8, symbol: fn.name } });
  }
  if (added.length === 0) return section;
  const relocations = [...section.relocations, ...added].toSorted((a, b) => a.insn - b.insn);
  return { ...section, insns: slots.bytes, relocations };
}

function countingSection(index: number): CodeSection {
  const insns: Insn[] = [];
  const functions: FunctionSymbol[] = [];
  const relocations: InsnRelocation[] = [];
  for (const { helper, name, fails } of counted) {
    const start = insns.length;
    const add = [...asm.ldMapValue(1, 0, 0), ...asm.movImm(2, 1), ...asm.atomic('DW', 0, 1, 0, 2)];
    insns.push(...asm.call(helper));
    // What was reserved goes to the caller as it is; where nothing was, the verifier has to see a zero.
    if (fails === 'null') insns.push(...asm.jumpImm('JNE', 0, 0, add.length + 1), ...add, ...asm.movImm(0, 0));
    else insns.push(...asm.jumpImm('JEQ', 0, 0, add.length), ...add);
    insns.push(...asm.exit());
    relocations.push({ insn: start + 2, target: { kind: 'map_value', map: LOST_EVENTS_MAP, offset: 0 } });
    functions.push({ name, insn: start, insnCount: insns.length - start, binding: STB.LOCAL, visibility: STV.DEFAULT });
  }
  return { index, name: sectionName, insns: encodeInsns(insns), relocations, functions };
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
