import type { ScalarKind, Slot } from './slot.ts';
import type { EventRecord } from './record.ts';
import { numberOf, textOf, valueOf, wideOf, type EventValue } from './read.ts';
import { templateOf } from './templates.ts';

/** What a field holds: a scalar, text, bytes, a list, or further fields. */
export type FieldKind = ScalarKind | 'string' | 'bytes' | 'array' | 'struct';

/** What {@link Field} is made of. */
export interface FieldParts {
  /** Name within its struct. */
  readonly leaf: string;
  /** The nested struct it lies in, null at the top. */
  readonly parent: Field | null;
  /** Null for a nested struct, whose fields are fields of their own. */
  readonly slot: Slot | null;
  /** `type:NAME` for every type name between the declaration and what is behind it, `name:NAME`, `src:ebpf`. */
  readonly tags: readonly string[];
  /** BTF type id as declared, 0 for an added field. */
  readonly typeId?: number;
  /** First byte within the event, or within the array element it lies in; 0 for an added field. */
  readonly offset?: number;
  /** Bytes it takes there; 0 for an added field. */
  readonly size?: number;
}

/** One field of a data source: where its value lies and how to show it. */
export class Field {
  /** The whole name, `proc.parent.comm`. */
  readonly name: string;
  readonly leaf: string;
  readonly parent: Field | null;
  readonly slot: Slot | null;
  readonly kind: FieldKind;
  readonly #tags: Set<string>;
  readonly typeId: number;
  readonly offset: number;
  readonly size: number;
  readonly #defaults = new Map<string, string>();
  readonly #explicit = new Map<string, string>();
  #value: ((record: EventRecord, at: number) => EventValue) | null = null;
  #text: ((record: EventRecord, at: number) => string) | null = null;
  #number: ((record: EventRecord, at: number) => number) | null = null;
  #wide: ((record: EventRecord, at: number) => bigint) | null = null;

  constructor(parts: FieldParts) {
    this.leaf = parts.leaf;
    this.parent = parts.parent;
    this.name = parts.parent === null ? parts.leaf : `${parts.parent.name}.${parts.leaf}`;
    this.slot = parts.slot;
    this.kind = parts.slot === null ? 'struct' : kindOfSlot(parts.slot);
    this.#tags = new Set(parts.tags);
    this.typeId = parts.typeId ?? 0;
    this.offset = parts.offset ?? 0;
    this.size = parts.size ?? 0;
  }

  get tags(): ReadonlySet<string> {
    return this.#tags;
  }

  tag(tag: string): this {
    this.#tags.add(tag);
    return this;
  }

  /** What gadget.yaml, or else the field's type, says of it. */
  annotation(key: string): string | null {
    return this.#explicit.get(key) ?? this.#defaults.get(key) ?? null;
  }

  /** All annotations, those of gadget.yaml first. */
  get annotations(): ReadonlyMap<string, string> {
    return new Map([...this.#defaults, ...this.#explicit]);
  }

  /** Sets what the gadget's author wrote; a `template` brings its annotations along. */
  annotate(key: string, value: string): this {
    if (key === 'template') this.suggestTemplate(value);
    this.#explicit.set(key, value);
    return this;
  }

  /** Sets an annotation that the author's words override. */
  suggest(key: string, value: string): this {
    this.#defaults.set(key, value);
    return this;
  }

  /** Sets the annotations of a template, see {@link templateOf}; unknown ones are ignored. */
  suggestTemplate(name: string): this {
    for (const [key, value] of templateOf(name)) this.#defaults.set(key, value);
    return this;
  }

  /** Whether columns leave it out unless asked. */
  get hidden(): boolean {
    return this.annotation('columns.hidden') === 'true';
  }

  /** Whether JSON leaves it out. */
  get skippedInJson(): boolean {
    return this.annotation('json.skip') === 'true';
  }

  get isInteger(): boolean {
    return /^u?int/.test(this.kind);
  }

  /** Whether its value is a bigint: integers of 64 bits and more. */
  get isWide(): boolean {
    return this.isInteger && /(?:64|128)$/.test(this.kind);
  }

  get isFloat(): boolean {
    return this.kind === 'float32' || this.kind === 'float64';
  }

  /** Its value: bigint for 64 bits and more, else number; boolean, string, Uint8Array, array or object. */
  value(record: EventRecord, at: number = record.offset): EventValue {
    this.#value ??= valueOf(this.slot);
    return this.#value(record, at);
  }

  /** Its value as people read it. */
  text(record: EventRecord, at: number = record.offset): string {
    this.#text ??= textOf(this.slot);
    return this.#text(record, at);
  }

  /** Its value as a number: exact up to 2^53; NaN where it has none. */
  number(record: EventRecord, at: number = record.offset): number {
    this.#number ??= numberOf(this.slot);
    return this.#number(record, at);
  }

  /** Its value as a bigint; 0 where it is no integer. */
  wide(record: EventRecord, at: number = record.offset): bigint {
    this.#wide ??= wideOf(this.slot);
    return this.#wide(record, at);
  }
}

function kindOfSlot(slot: Slot): FieldKind {
  switch (slot.shape) {
    case 'scalar':
    case 'bits':
      return slot.kind;
    case 'chars':
    case 'placed':
    case 'text':
      return 'string';
    case 'blob':
    case 'rest':
      return 'bytes';
    case 'array':
      return 'array';
    case 'struct':
      return 'struct';
    case 'strings':
      return slot.joined ? 'string' : 'array';
    default:
      return slot.as === 'number' ? 'uint64' : 'string';
  }
}
