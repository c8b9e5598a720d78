import type { DataSource } from '../gadget/data-source.ts';
import type { EpochTime } from '../gadget/context.ts';
import type { Field } from '../gadget/field.ts';
import type { EventRecord } from '../gadget/record.ts';
import { float32Text, placedLength, placedStart, readTime, restLength, stringsLength } from '../gadget/read.ts';
import type { ArraySlot, ScalarKind, Slot, StringsSlot, StructSlot } from '../gadget/slot.ts';
import { epochStart, epochZone } from '../gadget/special/epoch.ts';
import { fieldTree, type FieldNode } from '../gadget/tree.ts';
import { ByteWriter, pack, putInt, putInt64, putPacked, putUint, putUint64, type Packed } from './byte-writer.ts';
import { sortedNodes } from './json-layout.ts';
import { compileLine } from './json-code.ts';
import { fixedCharsPut, jsonBytes, maxEscape, putJsonBytes, putJsonChars, putJsonText } from './json-string.ts';

/** Writes one value. */
type Put = (out: ByteWriter, record: EventRecord, at: number) => void;

/** One value of a record, and the JSON text between it and the value before. */
interface Step {
  readonly literal: Packed;
  /** Index in {@link fastKinds}; -1 where `put` has to be called. */
  readonly fast: number;
  readonly offset: number;
  readonly put: Put;
}

interface Steps {
  readonly steps: readonly Step[];
  readonly end: Packed;
  /** Most bytes that everything with a known limit takes. */
  readonly most: number;
}

/** What {@link JsonWriter} writes. */
export interface JsonOptions {
  /** Written after each record; a line feed unless given. */
  readonly end?: string;
  /** The fields to write; all without `json.skip` unless given. */
  readonly fields?: readonly Field[];
}

/**
 * Writes events of one data source as JSON, one object a line: keys sorted by their bytes at every level, integers of any
 * size as bare digits, floats that JSON has no number for as null, binary data as hex. The layout of the line is worked out
 * once; an event's bytes then go straight from the ring buffer into the output.
 */
export class JsonWriter {
  readonly #steps: Steps;
  #line: Put;
  /** Lines until code is generated for them. */
  #untilCompiled = 256;

  constructor(source: DataSource, options: JsonOptions = {}) {
    this.#steps = compile(fieldTree(options.fields ?? source.fields), options.end ?? '\n');
    const steps = this.#steps;
    this.#line = (out, record, at) => {
      if (--this.#untilCompiled === 0) this.#line = compileLine(steps, trueBytes, falseBytes) ?? this.#line;
      run(steps, out, record, at);
    };
  }

  write(out: ByteWriter, record: EventRecord): void {
    const steps = this.#steps;
    out.reserve = 0;
    out.ensure(steps.most);
    // Values without a limit ensure their own room; the rest of the line still has to fit after them.
    out.reserve = steps.most;
    this.#line(out, record, record.offset);
  }
}

const fastKinds: readonly ScalarKind[] = ['bool', 'int8', 'int16', 'int32', 'int64', 'uint8', 'uint16', 'uint32', 'uint64'];
const [trueBytes, falseBytes, nullBytes, noBytes] = ['true', 'false', 'null', ''].map((text) => pack(Buffer.from(text))) as [
  Packed,
  Packed,
  Packed,
  Packed,
];

function run({ steps, end }: Steps, out: ByteWriter, record: EventRecord, start: number): void {
  const { view } = record;
  let into = out.view;
  let at = out.length;
  for (let i = 0; i < steps.length; i++) {
    const step = steps[i] as Step;
    at = putPacked(into, at, step.literal);
    const place = start + step.offset;
    switch (step.fast) {
      case 0:
        at = putPacked(into, at, view.getUint8(place) === 0 ? falseBytes : trueBytes);
        break;
      case 1:
        at = putInt(into, at, view.getInt8(place));
        break;
      case 2:
        at = putInt(into, at, view.getInt16(place, true));
        break;
      case 3:
        at = putInt(into, at, view.getInt32(place, true));
        break;
      case 4:
        at = putInt64(into, at, view.getUint32(place + 4, true), view.getUint32(place, true));
        break;
      case 5:
        at = putUint(into, at, view.getUint8(place));
        break;
      case 6:
        at = putUint(into, at, view.getUint16(place, true));
        break;
      case 7:
        at = putUint(into, at, view.getUint32(place, true));
        break;
      case 8:
        at = putUint64(into, at, view.getUint32(place + 4, true), view.getUint32(place, true));
        break;
      default:
        out.length = at;
        step.put(out, record, start);
        at = out.length;
        // It may have grown.
        into = out.view;
    }
  }
  out.length = putPacked(into, at, end);
}

/** Works out the steps of nested objects: braces, keys and commas become part of the text between values. */
function compile(nodes: readonly FieldNode[], after: string): Steps {
  const steps: Step[] = [];
  const slots: Slot[] = [];
  let pending = '';
  let most = 0;
  const emit = (children: readonly FieldNode[]): void => {
    pending += '{';
    let separator = '';
    for (const { field, children: inner } of sortedNodes(children)) {
      pending += `${separator}${JSON.stringify(field.leaf)}:`;
      separator = ',';
      if (field.slot === null) {
        emit(inner);
        continue;
      }
      const { slot } = field;
      const literal = jsonLiteral(pending);
      pending = '';
      most += literal.length + limitOf(slot);
      const fast = slot.shape === 'scalar' ? fastKinds.indexOf(slot.kind) : -1;
      steps.push({ literal, fast, offset: slot.shape === 'scalar' ? slot.offset : 0, put: putOf(slot) });
      slots.push(slot);
    }
    pending += '}';
  };
  emit(nodes);
  const end = jsonLiteral(pending + after);
  return { steps: mergeKeyed(steps, slots), end, most: most + end.length };
}

/** Neighbours that follow from the same number become one step: what a container is called fills half a line, and is copied whole. */
function mergeKeyed(steps: readonly Step[], slots: readonly Slot[]): readonly Step[] {
  const merged: Step[] = [];
  for (let from = 0; from < steps.length;) {
    const key = keyOf(slots[from]);
    let to = from + 1;
    while (key !== null && to < steps.length && keyOf(slots[to]) === key) to++;
    const [first, ...rest] = steps.slice(from, to) as [Step, ...Step[]];
    merged.push(rest.length === 0 || key === null ? first : { ...first, put: keptPut(key, partsOf([first, ...rest])) });
    from = to;
  }
  return merged;
}

function keyOf(slot: Slot | undefined): Key | null {
  return slot !== undefined && (slot.shape === 'text' || slot.shape === 'bits') ? (slot.key ?? null) : null;
}

/** The text of some values and of what stands between them. */
function partsOf(steps: readonly Step[]): (record: EventRecord, at: number) => Uint8Array {
  return (record, at) => {
    const out = new ByteWriter();
    for (const [i, { literal, put }] of steps.entries()) {
      out.ensure(literal.length + scalarLimit);
      if (i > 0) out.packed(literal);
      put(out, record, at);
    }
    return out.take();
  };
}

function jsonLiteral(text: string): Packed {
  return pack(Buffer.from(text.replace(/[\u007f-\u009f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`)));
}

/** Most bytes of a number. */
const scalarLimit = 48;

/** Most bytes that a value takes; 0 for one without a limit, which ensures its own room. */
function limitOf(slot: Slot): number {
  switch (slot.shape) {
    case 'scalar':
    case 'bits':
      return scalarLimit;
    case 'chars':
      return slot.length * maxEscape + 2;
    case 'blob':
      return slot.length * 2 + 2;
    case 'array':
      return slot.count * (limitOf(slot.element) + 1) + 2;
    case 'struct':
      return structSteps(slot).most;
    case 'time':
      return 40;
    default:
      return 0;
  }
}

function putOf(slot: Slot): Put {
  switch (slot.shape) {
    case 'scalar':
      return scalarPut(slot.kind, slot.offset);
    case 'bits': {
      const { reader } = slot;
      return (out, record, at) => putValue(out, reader.read(record.view, at));
    }
    case 'chars': {
      const { offset, length } = slot;
      if (length === 16) return fixedCharsPut(offset);
      return (out, record, at) => {
        out.byte(0x22);
        putJsonChars(out, record.view, record.bytes, at + offset, at + offset + length);
        out.byte(0x22);
      };
    }
    case 'placed':
      return (out, record, at) => {
        const start = placedStart(slot, record, at);
        const length = placedLength(slot, record, at);
        out.ensure(length * maxEscape + 2);
        out.byte(0x22);
        putJsonChars(out, record.view, record.bytes, start, start + length);
        out.byte(0x22);
      };
    case 'blob': {
      const { offset, length } = slot;
      return (out, record, at) => {
        out.byte(0x22);
        out.hex(record.bytes, at + offset, length);
        out.byte(0x22);
      };
    }
    case 'rest':
      return (out, record, at) => {
        const length = restLength(slot, record, at);
        out.ensure(length * 2 + 2);
        out.byte(0x22);
        out.hex(record.bytes, at + slot.offset, length);
        out.byte(0x22);
      };
    case 'array':
      return arrayPut(slot);
    case 'struct':
      return structPut(slot);
    case 'strings':
      return slot.joined ? joinedPut(slot) : stringsPut(slot);
    case 'time':
      return slot.as === 'number' ? timeNumberPut(slot) : timeTextPut(slot);
    default:
      return textPut(slot);
  }
}

function scalarPut(kind: ScalarKind, offset: number): Put {
  const fast = fastKinds.indexOf(kind);
  if (fast >= 0) {
    const steps: Steps = { steps: [{ literal: noBytes, fast, offset, put: () => {} }], end: noBytes, most: 0 };
    return (out, record, at) => run(steps, out, record, at);
  }
  switch (kind) {
    case 'float32':
      return (out, { view }, at) => {
        const value = view.getFloat32(at + offset, true);
        if (Number.isFinite(value)) out.ascii(float32Text(value));
        else out.packed(nullBytes);
      };
    case 'float64':
      return (out, { view }, at) => putValue(out, view.getFloat64(at + offset, true));
    case 'int128':
      return (out, { view }, at) =>
        out.ascii(((view.getBigInt64(at + offset + 8, true) << 64n) | view.getBigUint64(at + offset, true)).toString());
    default:
      return (out, { view }, at) =>
        out.ascii(((view.getBigUint64(at + offset + 8, true) << 64n) | view.getBigUint64(at + offset, true)).toString());
  }
}

function putValue(out: ByteWriter, value: unknown): void {
  if (typeof value === 'number' && Number.isFinite(value)) out.ascii(String(value));
  else if (typeof value === 'bigint' || typeof value === 'boolean') out.ascii(String(value));
  else out.packed(nullBytes);
}

function arrayPut({ offset, count, stride, element }: ArraySlot): Put {
  const put = putOf(element);
  return (out, record, at) => {
    out.byte(0x5b);
    for (let i = 0, place = at + offset; i < count; i++, place += stride) {
      if (i > 0) out.byte(0x2c);
      put(out, record, place);
    }
    out.byte(0x5d);
  };
}

const stepsOfStructs = new WeakMap<StructSlot, Steps>();

/** Worked out once: its size is asked for apart from its writer, and structs may be nested deep. */
function structSteps(slot: StructSlot): Steps {
  let steps = stepsOfStructs.get(slot);
  if (steps === undefined) {
    steps = compile(fieldTree(slot.fields), '');
    stepsOfStructs.set(slot, steps);
  }
  return steps;
}

function structPut(slot: StructSlot): Put {
  const steps = structSteps(slot);
  return (out, record, at) => run(steps, out, record, at + slot.offset);
}

/** All strings as one, with a space for each NUL between them. */
function joinedPut(slot: StringsSlot): Put {
  return (out, record, at) => {
    let length = stringsLength(slot, record, at);
    const start = at + slot.offset;
    const limit = slot.count === null ? Number.POSITIVE_INFINITY : slot.count(record, at);
    if (limit !== Number.POSITIVE_INFINITY) length = lengthOfStrings(record.bytes, start, length, limit);
    // The NUL that ends the last string separates nothing.
    if (length > 0 && record.bytes[start + length - 1] === 0) length--;
    out.ensure(length * maxEscape + 2);
    out.byte(0x22);
    putJsonBytes(out, record.bytes, start, start + length, 0x20);
    out.byte(0x22);
  };
}

function lengthOfStrings(bytes: Buffer, start: number, length: number, count: number): number {
  let at = start;
  for (let i = 0; i < count && at < start + length; i++) {
    const nul = bytes.indexOf(0, at);
    if (nul < 0 || nul >= start + length) return length;
    at = nul + 1;
  }
  return at - start;
}

function stringsPut(slot: StringsSlot): Put {
  return (out, record, at) => {
    const length = stringsLength(slot, record, at);
    const limit = slot.count === null ? Number.POSITIVE_INFINITY : slot.count(record, at);
    // An empty string is one byte here and three in JSON.
    out.ensure(length * maxEscape + 4);
    let place = at + slot.offset;
    const end = place + length;
    out.byte(0x5b);
    for (let i = 0; i < limit && place < end; i++) {
      if (i > 0) out.byte(0x2c);
      out.byte(0x22);
      place = putJsonBytes(out, record.bytes, place, end) + 1;
      out.byte(0x22);
    }
    out.byte(0x5d);
  };
}

const moment: EpochTime = { seconds: 0, nanoseconds: 0 };

function timeNumberPut(slot: Extract<Slot, { shape: 'time' }>): Put {
  return (out, record, at) => {
    readTime(slot, record, at, moment);
    if (moment.seconds < 0) {
      // Before 1970: a clock that was never set.
      out.ascii((BigInt(moment.seconds) * 1_000_000_000n + BigInt(moment.nanoseconds)).toString());
      return;
    }
    if (moment.seconds === 0) {
      out.uint(moment.nanoseconds);
      return;
    }
    out.uint(moment.seconds);
    out.nine(moment.nanoseconds);
  };
}

function timeTextPut(slot: Extract<Slot, { shape: 'time' }>): Put {
  let second = Number.NaN;
  let start = noBytes;
  let zone = noBytes;
  return (out, record, at) => {
    readTime(slot, record, at, moment);
    if (moment.seconds !== second) {
      second = moment.seconds;
      start = pack(Buffer.from(`"${epochStart(second)}`));
      zone = pack(Buffer.from(`${epochZone(second)}"`));
    }
    out.packed(start);
    out.nine(moment.nanoseconds);
    out.packed(zone);
  };
}

/** Different texts whose JSON form is kept for each field. */
const maxKept = 4096;

function textPut(slot: Extract<Slot, { shape: 'text' }>): Put {
  if (!slot.repeats) {
    return (out, record, at) => putJsonText(out, slot.text(record, at));
  }
  const { key } = slot;
  if (key !== undefined) return keptPut(key, (record, at) => jsonBytes(slot.text(record, at)));
  const kept = new Map<string, Packed>();
  let last: string | null = null;
  let lastBytes = noBytes;
  return (out, record, at) => {
    const text = slot.text(record, at);
    if (text !== last) {
      let bytes = kept.get(text);
      if (bytes === undefined) {
        if (kept.size >= maxKept) kept.clear();
        bytes = pack(jsonBytes(text));
        kept.set(text, bytes);
      }
      last = text;
      lastBytes = bytes;
    }
    out.ensure(lastBytes.length);
    out.packed(lastBytes);
  };
}

type Key = (record: EventRecord, at: number) => number;

/** Text that follows from a number: neither the text nor its hash is made for one that was there before. */
function keptPut(key: Key, make: (record: EventRecord, at: number) => Uint8Array): Put {
  const kept = new Map<number, Packed>();
  let last = Number.NaN;
  let lastBytes = noBytes;
  return (out, record, at) => {
    const number = key(record, at);
    if (number !== last) {
      let bytes = kept.get(number);
      if (bytes === undefined) {
        if (kept.size >= maxKept) kept.clear();
        bytes = pack(make(record, at));
        kept.set(number, bytes);
      }
      last = number;
      lastBytes = bytes;
    }
    out.ensure(lastBytes.length);
    out.packed(lastBytes);
  };
}
