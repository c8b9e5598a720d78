import type { Btf } from '../btf/btf.ts';
import { resolveType, sizeOfType } from '../btf/value/resolve.ts';
import { didYouMean } from '../bytes/suggest.ts';
import { FormatError, UsageError } from '../error.ts';
import { addContainerFields } from './container-fields.ts';
import type { EventContext } from './context.ts';
import type { Field } from './field.ts';
import { flattenStruct } from './flatten.ts';
import { leastEventSize } from './misfits.ts';
import type { KernelStacks } from './kernel-stacks.ts';
import type { UserStacks } from './user-stacks.ts';
import { EventRecord } from './record.ts';
import { printable } from '../bytes/printable.ts';
import { maxFields, SourceBuilder, type SourceAnnotations } from './source-builder.ts';
import { applySpecials } from './special/registry.ts';
import { objectReader, type EventObject } from './tree.ts';

/** Longest event: a value of the largest map element that kmalloc gives. */
const maxEventSize = 4 << 20;

/** Where a data source's events come from: written one by one, read by an iterator, or collected in a map. */
export type SourceKind = 'tracer' | 'iterator' | 'mapiter';

/** What {@link buildDataSource} makes a data source of. */
export interface SourceParts {
  readonly name: string;
  readonly kind: SourceKind;
  readonly btf: Btf;
  /** The struct of its events; of a map iterator, of the values. */
  readonly typeId: number;
  /** Of a map iterator: the struct of the keys. */
  readonly keyTypeId?: number;
  /** Of a map iterator: whether the map has values for each CPU. */
  readonly perCpu?: boolean;
  readonly context: EventContext;
  /** Where kernel stacks are looked up once the gadget runs. */
  readonly stacks?: KernelStacks;
  readonly userStacks?: UserStacks;
  readonly annotations?: SourceAnnotations | null;
  /** Told about fields that are left out and annotations that fit nothing. */
  readonly notice?: (message: string) => void;
}

/** One kind of event of a gadget: its fields, and how to read them. */
export class DataSource {
  readonly name: string;
  readonly kind: SourceKind;
  /** Name of the events' struct. */
  readonly structName: string;
  /** Bytes of the struct. */
  readonly size: number;
  /** Fewest bytes of a whole event: less than the struct where arrays of bytes end it, of which only what is used comes. */
  readonly leastSize: number;
  /** All fields, those of nested structs after the struct itself. */
  readonly fields: readonly Field[];
  readonly annotations: ReadonlyMap<string, string>;
  readonly #byName = new Map<string, Field>();
  readonly #read: (record: EventRecord, at: number) => EventObject;

  constructor(parts: Pick<DataSource, 'name' | 'kind' | 'structName' | 'size' | 'leastSize' | 'fields' | 'annotations'>) {
    this.name = parts.name;
    this.kind = parts.kind;
    this.structName = parts.structName;
    this.size = parts.size;
    this.leastSize = parts.leastSize;
    this.fields = parts.fields;
    this.annotations = parts.annotations;
    this.#read = objectReader(parts.fields);
    const add = (name: string, field: Field): void => {
      if (!this.#byName.has(name)) this.#byName.set(name, field);
    };
    for (const field of this.fields) add(field.name, field);
    for (const field of this.fields) add(field.name.toLowerCase(), field);
    for (const field of this.fields)
      if (field.annotation('columns.alias') !== null) add((field.annotation('columns.alias') ?? '').toLowerCase(), field);
  }

  /** The field of this name: whole name first, then in any case, then a column's short name; null where there is none. */
  find(name: string): Field | null {
    return this.#byName.get(name) ?? this.#byName.get(name.toLowerCase()) ?? null;
  }

  /** As {@link find}; throws UsageError `E_FIELD` that names similar fields. */
  field(name: string): Field {
    const field = this.find(name);
    if (field !== null) return field;
    const hint = printable(
      didYouMean(
        name,
        this.fields.map((candidate) => candidate.name),
      ),
    );
    throw new UsageError({
      code: 'E_FIELD',
      what: `there is no field ${printable(name)}`,
      where: { 'data source': this.name },
      next:
        hint === ''
          ? `fields are ${this.fields
              .filter((candidate) => candidate.slot !== null)
              .map((candidate) => candidate.name)
              .join(', ')}`
          : hint,
    });
  }

  /** A reusable place for this source's events. */
  makeRecord(): EventRecord {
    return new EventRecord(this.size);
  }

  /** Decodes all fields into nested objects, which stay valid. */
  decode(record: EventRecord): EventObject {
    return this.#read(record, record.offset);
  }
}

/**
 * Builds the data source of an event struct: every member a field with a dotted name, and beside the special types
 * (`gadget_errno`, `gadget_timestamp`, ...) the fields that people read.
 *
 * Throws FormatError `E_GADGET_EVENT` for a type that is no struct or has no field to show.
 */
export function buildDataSource(parts: SourceParts): DataSource {
  const { btf, typeId, name } = parts;
  const struct = resolveType(btf, typeId);
  const where = { 'data source': name, struct: struct.name };
  if (struct.kind !== 'STRUCT' && struct.kind !== 'UNION') {
    throw new FormatError({ code: 'E_GADGET_EVENT', what: 'the type of an event is not a struct', where: { ...where, kind: struct.kind } });
  }
  if (struct.size > maxEventSize) {
    throw new FormatError({
      code: 'E_GADGET_EVENT',
      what: 'the struct of an event is too large',
      where,
      why: `it has ${struct.size} bytes, events have at most ${maxEventSize}`,
    });
  }
  const keySize = parts.keyTypeId === undefined ? 0 : sizeOfType(btf, parts.keyTypeId);
  const valueAt = valueOffset(keySize);
  const cpuAt = cpuOffset(valueAt, sizeOfType(btf, typeId));
  const size = parts.perCpu === true ? cpuAt + 8 : valueAt + sizeOfType(btf, typeId);
  const builder = new SourceBuilder(
    {
      btf,
      context: parts.context,
      stacks: parts.stacks ?? null,
      userStacks: parts.userStacks ?? null,
      notice: parts.notice ?? (() => {}),
      budget: { fields: maxFields },
    },
    size,
    parts.annotations ?? null,
  );
  if (parts.keyTypeId !== undefined) flattenStruct(builder, parts.keyTypeId);
  for (const field of builder.fields) field.tag('role:key');
  flattenStruct(builder, typeId, valueAt);
  if (parts.perCpu === true)
    builder.add({ leaf: 'cpu', parent: null, slot: { shape: 'scalar', kind: 'uint32', offset: cpuAt }, tags: ['name:cpu'] });
  if (builder.fields.length === 0) throw new FormatError({ code: 'E_GADGET_EVENT', what: 'the struct of an event has no fields', where });
  addRest(builder);
  applySpecials(builder);
  addContainerFields(builder);
  const annotations = new Map(parts.annotations?.annotations);
  checkAnnotatedFields(builder);
  const leastSize = parts.kind === 'tracer' ? leastEventSize(btf, typeId) : size;
  return new DataSource({ name, kind: parts.kind, structName: struct.name, size, leastSize, fields: [...builder.fields], annotations });
}

/** Where the value starts in a record of a map iterator: after the key, aligned as any C type may want. */
export function valueOffset(keySize: number): number {
  return Math.ceil(keySize / 16) * 16;
}

/** Where the number of the CPU is in a record of a map iterator whose map has values for each. */
export function cpuOffset(valueAt: number, valueSize: number): number {
  return Math.ceil((valueAt + valueSize) / 8) * 8;
}

/** The annotation `ebpf.rest.name` makes a field of what follows the struct, `ebpf.rest.len` names the field with its length. */
function addRest(builder: SourceBuilder): void {
  const leaf = builder.annotations?.annotations.get('ebpf.rest.name') ?? '';
  if (leaf === '') return;
  const lengthName = builder.annotations?.annotations.get('ebpf.rest.len') ?? '';
  const length = lengthName === '' ? null : builder.find(lengthName);
  if (lengthName !== '' && length === null) builder.notice(`annotation ebpf.rest.len names no field: ${lengthName}`);
  const used = length === null ? null : (record: EventRecord, at: number): number => length.number(record, at);
  builder.add({ leaf, parent: null, slot: { shape: 'rest', offset: builder.size, used }, tags: [`name:${leaf}`] });
}

/** Names in gadget.yaml that fit no field are mistakes, except those of fields that enrichment adds. */
function checkAnnotatedFields(builder: SourceBuilder): void {
  const names = [...(builder.annotations?.fields.keys() ?? [])];
  const unknown = names.filter((name) => builder.find(name) === null && !/^(?:k8s|runtime)(?:\.|$)/.test(name));
  if (unknown.length > 0) builder.notice(`gadget.yaml describes fields that the event does not have: ${unknown.join(', ')}`);
}
