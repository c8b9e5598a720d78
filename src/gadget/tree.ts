import { compileReader } from './compiled-reader.ts';
import type { Field } from './field.ts';
import type { EventRecord } from './record.ts';
import type { EventValue } from './read.ts';

/** A decoded struct. It inherits nothing, so a field may have any name. */
export interface EventObject {
  readonly [name: string]: EventValue;
}

/** A field with the fields inside it, for whoever writes nested output. */
export interface FieldNode {
  readonly field: Field;
  readonly children: readonly FieldNode[];
}

/** Arranges a flat list of fields as the nested structs they come from. */
export function fieldTree(fields: readonly Field[]): readonly FieldNode[] {
  const nodes = new Map<Field, { field: Field; children: FieldNode[] }>();
  const top: FieldNode[] = [];
  for (const field of fields) nodes.set(field, { field, children: [] });
  for (const node of nodes.values()) {
    const parent = node.field.parent === null ? undefined : nodes.get(node.field.parent);
    (parent === undefined ? top : parent.children).push(node);
  }
  return top;
}

/** Makes the function that decodes all fields of an event into nested objects. */
export function objectReader(fields: readonly Field[]): (record: EventRecord, at: number) => EventObject {
  return nodesReader(fieldTree(fields));
}

function nodesReader(nodes: readonly FieldNode[]): (record: EventRecord, at: number) => EventObject {
  return compileReader(nodes, dress, nodesReader) ?? loopReader(nodes);
}

/** The same without generated code, several times slower. */
function loopReader(nodes: readonly FieldNode[]): (record: EventRecord, at: number) => EventObject {
  const names = nodes.map((node) => node.field.leaf);
  const readers = nodes.map((node) => {
    if (node.field.slot === null) return nodesReader(node.children);
    return (record: EventRecord, at: number): EventValue => node.field.value(record, at);
  });
  const Values = plainConstructor();
  return (record, at) => {
    const object = new Values();
    for (let i = 0; i < names.length; i++) {
      object[names[i] as string] = (readers[i] as (record: EventRecord, at: number) => EventValue)(record, at);
    }
    return object;
  };
}

const inspectCustom = Symbol.for('nodejs.util.inspect.custom');

/** Gives a prototype all that decoded structs inherit: how console.log shows them, as the plain objects they look like. */
function dress(prototype: object): void {
  Object.defineProperty(prototype, inspectCustom, {
    value(this: object): object {
      return Object.fromEntries(Object.entries(this));
    },
  });
  Object.freeze(prototype);
}

const valuesPrototype: object = Object.create(null) as object;
dress(valuesPrototype);

/** Instances share one hidden class, which objects of Object.create(null) never have, and inherit nothing: `__proto__` is a name like any other. */
function plainConstructor(): new () => Record<string, EventValue> {
  const Values = function (): void {} as unknown as { new (): Record<string, EventValue>; prototype: object };
  Values.prototype = valuesPrototype;
  return Values;
}
