import type { Btf } from '../btf/btf.ts';
import type { EventContext } from './context.ts';
import { Field, type FieldParts } from './field.ts';
import type { KernelStacks } from './kernel-stacks.ts';
import type { UserStacks } from './user-stacks.ts';
import type { TextSlot } from './slot.ts';

/** What gadget.yaml says of one data source. */
export interface SourceAnnotations {
  readonly annotations: ReadonlyMap<string, string>;
  /** Annotations by whole field name. */
  readonly fields: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** What the data sources of one gadget share. */
export interface SourceWorld {
  readonly btf: Btf;
  readonly context: EventContext;
  readonly stacks: KernelStacks | null;
  readonly userStacks: UserStacks | null;
  readonly notice: (message: string) => void;
  /** Fields that may still be made, within arrays too: hostile types could make millions out of a few lines. */
  readonly budget: { fields: number };
}

/** Most fields one event may have. */
export const maxFields = 8192;
/** Texts kept for each field. */
const maxTexts = 4096;

/** A data source being made: the fields of the struct first, then what is added for people. */
export class SourceBuilder {
  readonly btf: Btf;
  /** Where kernel stacks are looked up once the gadget runs; null where they are not. */
  readonly stacks: KernelStacks | null;
  /** Likewise those of user space. */
  readonly userStacks: UserStacks | null;
  readonly context: EventContext;
  readonly annotations: SourceAnnotations | null;
  /** Tells the user about something left out. */
  readonly notice: (message: string) => void;
  /** Bytes of the struct. */
  readonly size: number;
  readonly budget: { fields: number };
  readonly #fields: Field[] = [];
  readonly #byName = new Map<string, Field>();

  constructor(world: SourceWorld, size: number, annotations: SourceAnnotations | null) {
    this.btf = world.btf;
    this.size = size;
    this.context = world.context;
    this.annotations = annotations;
    this.notice = world.notice;
    this.stacks = world.stacks;
    this.userStacks = world.userStacks;
    this.budget = world.budget;
  }

  get fields(): readonly Field[] {
    return this.#fields;
  }

  find(name: string): Field | null {
    return this.#byName.get(name) ?? null;
  }

  /** Takes the place of one more member of the event's struct; false, with a notice once, where there are too many. */
  reserve(): boolean {
    if (this.budget.fields > 0) {
      this.budget.fields--;
      return true;
    }
    if (this.budget.fields === 0) this.notice(`fields after the first ${maxFields} are left out`);
    this.budget.fields = -1;
    return false;
  }

  /** The field of this name in the same struct as another field. */
  sibling(field: Field, leaf: string): Field | null {
    return this.find(field.parent === null ? leaf : `${field.parent.name}.${leaf}`);
  }

  /** Adds a field, after another one or at the end; null, with a notice, where the name is taken. */
  add(parts: FieldParts, after: Field | null = null): Field | null {
    const field = new Field(parts);
    if (this.#byName.has(field.name)) {
      this.notice(`field ${field.name} is left out: another field has this name`);
      return null;
    }
    const at = after === null ? -1 : this.#fields.indexOf(after);
    if (at < 0) this.#fields.push(field);
    else this.#fields.splice(at + 1, 0, field);
    this.#byName.set(field.name, field);
    for (const [key, value] of this.annotations?.fields.get(field.name) ?? []) field.annotate(key, value);
    return field;
  }

  /** Adds a text field beside another, which columns then hide. */
  addText(beside: Field, leaf: string, slot: Omit<TextSlot, 'shape'>): Field | null {
    beside.suggest('columns.hidden', 'true');
    return this.add({ leaf, parent: beside.parent, slot: { shape: 'text', ...slot }, tags: [`name:${leaf}`] }, beside);
  }

  /** Adds a text field that depends on another's number alone: texts of numbers that were there before are kept. */
  addNumberText(beside: Field, leaf: string, format: (value: number) => string): Field | null {
    const texts = new Map<number, string>();
    return this.addText(beside, leaf, {
      repeats: true,
      key: (record, at) => beside.number(record, at),
      text(record, at) {
        const value = beside.number(record, at);
        let text = texts.get(value);
        if (text !== undefined) return text;
        if (texts.size >= maxTexts) texts.clear();
        text = format(value);
        texts.set(value, text);
        return text;
      },
    });
  }

  /** Replaces a field by another slot under the same name, keeping its annotations. */
  replace(field: Field, slot: FieldParts['slot']): Field {
    const tags = [...field.tags];
    const { leaf, parent, typeId, offset, size } = field;
    const made = new Field({ leaf, parent, slot, tags, typeId, offset, size });
    for (const [key, value] of field.annotations) made.suggest(key, value);
    for (const [key, value] of this.annotations?.fields.get(field.name) ?? []) made.annotate(key, value);
    this.#fields[this.#fields.indexOf(field)] = made;
    this.#byName.set(made.name, made);
    return made;
  }

  /** Puts the fields from this index on before all others. */
  lead(from: number): void {
    this.#fields.unshift(...this.#fields.splice(from));
  }

  /** Takes a field and everything in it away. */
  remove(field: Field): void {
    const inside = (candidate: Field | null): boolean => candidate !== null && (candidate === field || inside(candidate.parent));
    for (let i = this.#fields.length - 1; i >= 0; i--) {
      const candidate = this.#fields[i] as Field;
      if (!inside(candidate)) continue;
      this.#fields.splice(i, 1);
      this.#byName.delete(candidate.name);
    }
  }
}

/**
 * The name that a field made from `field` gets: what the annotation says, else the name without `_raw`, else `fallback`;
 * null where there is none of these, and then none is made.
 */
export function targetName(field: Field, annotation: string, fallback: string | null = null): string | null {
  const named = field.annotation(annotation);
  if (named !== null && named !== '') return named;
  if (field.leaf.endsWith('_raw') && field.leaf.length > 4) return field.leaf.slice(0, -4);
  return fallback;
}
