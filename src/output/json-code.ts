import type { EventRecord } from '../gadget/record.ts';
import { putInt, putInt64, putPacked, putUint, putUint64, type ByteWriter, type Packed } from './byte-writer.ts';

/** What the generated code is made of. */
export interface JsonParts {
  /** For each value: the text before it, the index of its kind (as in {@link kindCode}; -1 for `put`), its offset, its writer. */
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

/** By kind: how a value is written; `@` stands for its place, `+4` for that of its high half. */
const kindCode: readonly string[] = [
  'putPacked(into, at, view.getUint8(@) === 0 ? no : yes)',
  'putInt(into, at, view.getInt8(@))',
  'putInt(into, at, view.getInt16(@, true))',
  'putInt(into, at, view.getInt32(@, true))',
  'putInt64(into, at, view.getUint32(@ + 4, true), view.getUint32(@, true))',
  'putUint(into, at, view.getUint8(@))',
  'putUint(into, at, view.getUint16(@, true))',
  'putUint(into, at, view.getUint32(@, true))',
  'putUint64(into, at, view.getUint32(@ + 4, true), view.getUint32(@, true))',
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
    const code = kindCode[step.fast];
    if (code !== undefined) return `${literal(step.literal)}  at = ${code.replaceAll('@', `start + ${Math.trunc(step.offset)}`)};\n`;
    return `${literal(step.literal)}  out.length = at;\n  put${i}(out, record, start);\n  at = out.length;\n  into = out.view;\n`;
  });
  const code = `'use strict';
const { putInt, putInt64, putPacked, putUint, putUint64, yes, no, texts } = tools;
const [${steps.map((_, i) => `put${i}`).join(', ')}] = puts;
return (out, record, start) => {
  const view = record.view;
  let into = out.view;
  let at = out.length;
${body.join('')}${literal(end)}  out.length = at;
};`;
  const tools = { putInt, putInt64, putPacked, putUint, putUint64, yes, no, texts: Float64Array.from(texts) };
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
