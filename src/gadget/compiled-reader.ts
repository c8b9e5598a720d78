import { fixedTextReader } from '../btf/value/text.ts';
import type { EventRecord } from './record.ts';
import type { EventValue } from './read.ts';
import type { EventObject, FieldNode } from './tree.ts';

type ReadObject = (record: EventRecord, at: number) => EventObject;

/** More members than this are read by a loop: what a generated constructor of that length gains is nothing. */
const maxMembers = 128;

// Before Node 24 (V8 13) getBigUint64() is a call, and so is its bigint's making; arithmetic on bigints of 32 bits that is cut to 64 is done in registers.
const byArithmetic = Number.parseInt(process.versions.node, 10) < 24;
const wide = '(BigInt(view.getUint32(@ + 4, true)) * 0x100000000n) + BigInt(view.getUint32(@, true))';

/** How a scalar is read, by its kind; `@` stands for its place. Others are read by a function. */
const expressions: ReadonlyMap<string, string> = new Map([
  ['bool', 'view.getUint8(@) !== 0'],
  ['int8', 'view.getInt8(@)'],
  ['int16', 'view.getInt16(@, true)'],
  ['int32', 'view.getInt32(@, true)'],
  ['int64', byArithmetic ? `BigInt.asIntN(64, ${wide})` : 'view.getBigInt64(@, true)'],
  ['uint8', 'view.getUint8(@)'],
  ['uint16', 'view.getUint16(@, true)'],
  ['uint32', 'view.getUint32(@, true)'],
  ['uint64', byArithmetic ? `BigInt.asUintN(64, ${wide})` : 'view.getBigUint64(@, true)'],
  ['float32', 'view.getFloat32(@, true)'],
  ['float64', 'view.getFloat64(@, true)'],
]);

/** The same text as V8 keeps it for keys of objects: a store by any other has to look that up each time. */
function internalized(name: string): string {
  return Object.keys({ [name]: 0 })[0] ?? name;
}

/**
 * Generates the reader of a struct's members: a class of its own for each struct, so that all its objects share one hidden
 * class and the JIT reads every member in line. The code consists of the text above and of numbers; names and functions are
 * passed to it as values. Returns null where code cannot be generated (--disallow-code-generation-from-strings).
 *
 * @param dress gives the class's prototype, which inherits nothing, what all of them have
 * @param nested reads a member that is a struct
 */
export function compileReader(
  nodes: readonly FieldNode[],
  dress: (prototype: object) => void,
  nested: (children: readonly FieldNode[]) => ReadObject,
): ReadObject | null {
  if (nodes.length === 0 || nodes.length > maxMembers) return null;
  const names = nodes.map((node) => internalized(node.field.leaf));
  const functions: ((...args: never[]) => EventValue)[] = [];
  const call = (read: (...args: never[]) => EventValue, args: string): string => `read[${functions.push(read) - 1}](${args})`;
  const values = nodes.map((node) => {
    const { slot } = node.field;
    if (slot === null) return call(nested(node.children), 'record, at');
    const expression = slot.shape === 'scalar' ? expressions.get(slot.kind) : undefined;
    if (slot.shape === 'scalar' && expression !== undefined) return expression.replaceAll('@', `at + ${Math.trunc(slot.offset)}`);
    if (slot.shape === 'chars') return call(fixedTextReader(slot.length), `view, at + ${Math.trunc(slot.offset)}`);
    return call((record: EventRecord, at: number) => node.field.value(record, at), 'record, at');
  });
  const code = `'use strict';
const [${names.map((_, i) => `name${i}`).join(', ')}] = names;
const [${functions.map((_, i) => `read${i}`).join(', ')}] = read;
class Values {
${names.map((_, i) => `  [name${i}];\n`).join('')}  constructor(record, at) {
    const view = record.view;
${values.map((value, i) => `    this[name${i}] = ${value.replace(/^read\[(\d+)\]/, 'read$1')};\n`).join('')}  }
}
delete Values.prototype.constructor;
dress(Object.setPrototypeOf(Values.prototype, null));
return (record, at) => new Values(record, at);`;
  try {
    // oxlint-disable-next-line typescript/no-implied-eval
    const make = new Function('names', 'read', 'dress', code) as (
      names: unknown,
      read: unknown,
      dress: (prototype: object) => void,
    ) => ReadObject;
    return make(names, functions, dress);
  } catch (error) {
    if (error instanceof EvalError) return null;
    throw error;
  }
}
