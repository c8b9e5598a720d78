import type { BtfExtSection } from '../../../btf/ext.ts';
import type { InfoRecords } from '../linked.ts';
import type { ObjectSpec, ProgramSpec } from '../spec.ts';
import { LinkError, placeOf } from './error.ts';
import type { JoinedFunction } from './join.ts';

const none: InfoRecords = { recordSize: 0, count: 0, bytes: new Uint8Array(0) };

/** The func_info and line_info of a joined program, offsets in slots from its start. */
export function joinExtInfo(
  spec: ObjectSpec,
  program: ProgramSpec,
  functions: readonly JoinedFunction[],
): { funcInfo: InfoRecords; lineInfo: InfoRecords } {
  if (spec.btfExt === null || spec.btf === null) return { funcInfo: none, lineInfo: none };
  return {
    funcInfo: join(spec, program, functions, spec.btfExt.funcInfo, 'function'),
    lineInfo: join(spec, program, functions, spec.btfExt.lineInfo, 'line'),
  };
}

/**
 * A program without records gets none for its subprograms either. One whose subprogram lacks them cannot be loaded with any (the kernel wants
 * func_info of all functions or none): libbpf gives up, without strict the records are left out.
 */
function join(
  spec: ObjectSpec,
  program: ProgramSpec,
  functions: readonly JoinedFunction[],
  sections: readonly BtfExtSection[],
  what: string,
): InfoRecords {
  const parts: Uint8Array[] = [];
  let recordSize = 0;
  for (const joined of functions) {
    const part = recordsOf(joined, sections, spec.littleEndian);
    if (part === null) {
      if (parts.length === 0 || !spec.strict) return none;
      const why = `subprogram ${joined.fn.name} has no ${what} info, the program has`;
      throw new LinkError({ code: 'E_LINK_INFO', what: 'incomplete .BTF.ext', where: placeOf(program), why });
    }
    parts.push(part.bytes);
    recordSize = part.recordSize;
  }
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { recordSize, count: bytes.length / recordSize, bytes };
}

/** A function's records as little-endian words, their offsets turned from bytes in the section to slots in the program. */
function recordsOf(
  { section, fn, at }: JoinedFunction,
  sections: readonly BtfExtSection[],
  littleEndian: boolean,
): { recordSize: number; bytes: Uint8Array } | null {
  for (const info of sections) {
    if (info.sectionName !== section.name) continue;
    const { recordSize } = info;
    const slots = slotsOf(info, littleEndian);
    const first = slots.findFrom(fn.insn, 0);
    const end = slots.findFrom(fn.insn + fn.insnCount, first);
    if (first === end) return null;
    const bytes = info.bytes.slice(first * recordSize, end * recordSize);
    if (!littleEndian) {
      const view = new DataView(bytes.buffer);
      for (let word = 0; word < bytes.length; word += 4) view.setUint32(word, view.getUint32(word, false), true);
    }
    // Words of this machine, whose byte order is the records' now: a DataView takes several times as long in code that runs once.
    const words = new Uint32Array(bytes.buffer);
    const step = recordSize / 4;
    const moved = at - fn.insn;
    for (let word = 0; word < words.length; word += step) words[word] = ((words[word] as number) >>> 3) + moved;
    return { recordSize, bytes };
  }
  return null;
}

const slotCache = new WeakMap<BtfExtSection, RecordSlots>();

function slotsOf(info: BtfExtSection, littleEndian: boolean): RecordSlots {
  let slots = slotCache.get(info);
  if (slots === undefined) slotCache.set(info, (slots = new RecordSlots(info, littleEndian)));
  return slots;
}

/** The slots that the records of a section are about; asked for once a function, so they are looked up by halves where they ascend. */
class RecordSlots {
  readonly #slots: Uint32Array;
  readonly #ascending: boolean;

  constructor(info: BtfExtSection, littleEndian: boolean) {
    const view = new DataView(info.bytes.buffer, info.bytes.byteOffset, info.bytes.byteLength);
    const slots = new Uint32Array(info.count);
    let ascending = true;
    let before = 0;
    for (let i = 0; i < info.count; i++) {
      const slot = view.getUint32(i * info.recordSize, littleEndian) >>> 3;
      if (slot < before) ascending = false;
      before = slots[i] = slot;
    }
    this.#slots = slots;
    this.#ascending = ascending;
  }

  /** The first record from `from` on that is about `slot` or a later one. */
  findFrom(slot: number, from: number): number {
    const slots = this.#slots;
    if (!this.#ascending) {
      let at = from;
      while (at < slots.length && (slots[at] as number) < slot) at++;
      return at;
    }
    let low = from;
    let high = slots.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((slots[middle] as number) < slot) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
