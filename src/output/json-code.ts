import type { EventRecord } from '../gadget/record.ts';
import { putInt64, putPacked, putUint, putUint64, type ByteWriter, type Packed } from './byte-writer.ts';

/** What the generated code is made of. */
export interface JsonParts {
  /** For each value: the text before it, the index of its kind (as in {@link kinds}; -1 for `put`), its offset, its writer. */
  readonly steps: readonly {
    readonly literal: Packed;
    readonly fast: number;
    readonly offset: number;
    readonly put: (out: ByteWriter, record: EventRecord, at: number) => void;
  }[];
  readonly end: Packed;
}

type WriteLine = (out: ByteWriter, record: EventRecord, start: number) => void;

/** More values than this are written by a loop. */
const maxSteps = 128;

interface DigitTables {
  /** Four decimal digits in the bytes of each word. */
  readonly fours: Int32Array;
  /** The same without leading zeros, and how many digits are left. */
  readonly heads: Int32Array;
  readonly lengths: Uint8Array;
}

let tables: DigitTables | null = null;

/** Made when the first line is compiled: a short run does without. */
function digitTables(): DigitTables {
  if (tables !== null) return tables;
  const made = { fours: new Int32Array(10_000), heads: new Int32Array(10_000), lengths: new Uint8Array(10_000) };
  for (let i = 0; i < 10_000; i++) {
    const word = ((i / 1000) | 0) + (((i / 100) | 0) % 10) * 0x100 + (((i / 10) | 0) % 10) * 0x10000 + (i % 10) * 0x1000000;
    const length = i < 10 ? 1 : i < 100 ? 2 : i < 1000 ? 3 : 4;
    made.fours[i] = 0x30303030 + word;
    made.heads[i] = (0x30303030 + word) >>> (8 * (4 - length));
    made.lengths[i] = length;
  }
  tables = made;
  return made;
}

/** Digits of `low`, a whole number up to `most`: no function is called, for the JIT stops to inline in a long line. */
function digits(most: number): string {
  const head = (value: string): string => `into.setInt32(at, heads[${value}], true); at += lengths[${value}];`;
  const one = `{ ${head('low')} }`;
  if (most < 1e4) return one;
  const two = `{
    high = (low / 10000) >>> 0;
    ${head('high')}
    into.setInt32(at, fours[low - high * 10000], true); at += 4;
  }`;
  if (most < 1e8) return `if (low < 10000) ${one} else ${two}`;
  return `if (low < 10000) ${one} else if (low < 100000000) ${two} else {
    high = (low / 100000000) >>> 0;
    ${head('high')}
    low -= high * 100000000;
    ${eight}
  }`;
}

/** Exactly eight digits of `low`. */
const eight = `high = (low / 10000) >>> 0;
    into.setInt32(at, fours[high], true); into.setInt32(at + 4, fours[low - high * 10000], true); at += 8;`;

function unsigned(read: string, most: number): string {
  return `low = view.${read};\n  ${digits(most)}\n`;
}

function signed(read: string, most: number): string {
  return `value = view.${read};
  if (value < 0) { into.setUint8(at++, 45); value = -value; }
  low = value >>> 0;
  ${digits(most)}\n`;
}

/**
 * Sixty-four bits, `kept` being the number of this value: what stands above the last eight digits changes seldom in times and
 * identifiers, so its digits are kept. Numbers past 2^53 and negative ones go the long way.
 */
function wide(other: string, kept: number): string {
  const at = kept * 2;
  return `low = view.getUint32(@, true);
  high = view.getUint32(@ + 4, true);
  if (high === 0) ${digits(0xffffffff)} else if (high < 0x200000) {
    value = high * 4294967296 + low;
    above = Math.floor(value / 100000000);
    if (above !== aboves[${kept}]) {
      aboves[${kept}] = above;
      from = putUint(into, at, above);
      sizes[${kept}] = from - at;
      texts32[${at}] = into.getInt32(at, true); texts32[${at + 1}] = into.getInt32(at + 4, true);
    }
    into.setInt32(at, texts32[${at}], true); into.setInt32(at + 4, texts32[${at + 1}], true); at += sizes[${kept}];
    low = (value - above * 100000000) >>> 0;
    ${eight}
  } else at = ${other}(into, at, high, low);\n`;
}

/** By kind: the code that writes a value; `@` stands for its place, `kept` numbers the values. */
const kinds: readonly ((kept: number) => string)[] = [
  () => 'at = putPacked(into, at, view.getUint8(@) === 0 ? no : yes);\n',
  () => signed('getInt8(@)', 128),
  () => signed('getInt16(@, true)', 32768),
  () => signed('getInt32(@, true)', 0x80000000),
  (kept) => wide('putInt64', kept),
  () => unsigned('getUint8(@)', 255),
  () => unsigned('getUint16(@, true)', 65535),
  () => unsigned('getUint32(@, true)', 0xffffffff),
  (kept) => wide('putUint64', kept),
];

/**
 * Generates the function that writes a line: no table to follow and no kind to ask for. The code consists of the text above
 * and of numbers; the line's own text, with the names of fields, is passed to it as data. Null where code cannot be generated.
 */
export function compileLine({ steps, end }: JsonParts, yes: Packed, no: Packed): WriteLine | null {
  if (steps.length === 0 || steps.length > maxSteps) return null;
  const texts: number[] = [];
  const literal = ({ words, length }: Packed): string => {
    const lines = Array.from(words, (word, i) => `  into.setFloat64(at + ${i * 8}, texts[${texts.push(word) - 1}], true);\n`);
    return `${lines.join('')}  at += ${length};\n`;
  };
  const body = steps.map((step, i) => {
    const code = kinds[step.fast]?.(i);
    if (code !== undefined) return `${literal(step.literal)}  ${code.replaceAll('@', `start + ${Math.trunc(step.offset)}`)}`;
    return `${literal(step.literal)}  out.length = at;\n  put${i}(out, record, start);\n  at = out.length;\n  into = out.view;\n`;
  });
  const code = `'use strict';
const { putInt64, putPacked, putUint, putUint64, yes, no, texts, texts32, sizes, aboves, fours, heads, lengths } = tools;
const [${steps.map((_, i) => `put${i}`).join(', ')}] = puts;
return (out, record, start) => {
  const view = record.view;
  let into = out.view;
  let at = out.length;
  let low = 0, high = 0, value = 0, above = 0, from = 0;
${body.join('')}${literal(end)}  out.length = at;
};`;
  const count = steps.length;
  const kept = { aboves: new Float64Array(count).fill(-1), texts32: new Int32Array(count * 2), sizes: new Uint8Array(count) };
  const tools = { putInt64, putPacked, putUint, putUint64, yes, no, texts: Float64Array.from(texts), ...kept, ...digitTables() };
  try {
    // oxlint-disable-next-line typescript/no-implied-eval
    const make = new Function('tools', 'puts', code) as (tools: unknown, puts: unknown) => WriteLine;
    return make(
      tools,
      steps.map(({ put }) => put),
    );
  } catch (error) {
    if (error instanceof EvalError) return null;
    throw error;
  }
}
