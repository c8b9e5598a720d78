import type { NameArena } from './name-arena.ts';

/** Tags (of structs, unions and enums) have a kind: a name that is a struct's can't be a union's too. */
export const tagKind = { struct: 1, union: 2, enum: 3 } as const;
export type TagKind = (typeof tagKind)[keyof typeof tagKind];

/** The bit beside a tag's kind that says that its definition has been written. */
const defined = 4;

/** Gives out names of C's two name spaces at file scope; a name asked for again gets a `___2`, as a CO-RE flavour. */
export class NameSpaces {
  readonly #arena: NameArena;
  readonly #tags: NameSet;
  readonly #identifiers: NameSet;

  /** `types` is about how many there are, to begin with tables of the right size. */
  constructor(arena: NameArena, types: number) {
    this.#arena = arena;
    const slots = 2 ** Math.ceil(Math.log2(types + 64));
    this.#tags = new NameSet(arena, slots / 4);
    this.#identifiers = new NameSet(arena, slots);
  }

  /** A tag for a definition: shared with forward declarations of the same kind and name. */
  defineTag(name: number, kind: TagKind): number {
    const wanted = this.#arena.identifier(name);
    const known = this.#tags.insert(wanted, kind | defined);
    if (known === 0) return wanted;
    if (known === kind) {
      this.#tags.update(wanted, kind | defined);
      return wanted;
    }
    return this.#another(this.#tags, wanted, kind | defined);
  }

  /** A tag that is only declared. */
  declareTag(name: number, kind: TagKind): number {
    const wanted = this.#arena.identifier(name);
    const known = this.#tags.insert(wanted, kind);
    return known === 0 || (known & 3) === kind ? wanted : this.#another(this.#tags, wanted, kind);
  }

  /** A name for a typedef, an enumerator or a function. */
  identifier(name: number): number {
    const wanted = this.#arena.identifier(name);
    return this.#identifiers.insert(wanted, 1) === 0 ? wanted : this.#another(this.#identifiers, wanted, 1);
  }

  #another(set: NameSet, wanted: number, value: number): number {
    const text = this.#arena.string(wanted);
    for (let number = set.nextNumber(text); ; number++) {
      const other = this.#arena.add(`${text}___${number}`);
      if (set.insert(other, value) === 0) return other;
    }
  }
}

/** A hash table of names in the arena, by their bytes, each with a small value; never shrinks. */
class NameSet {
  readonly #arena: NameArena;
  /** Offset of the name in each slot; free where the value is 0. */
  #names: Uint32Array;
  #values: Uint8Array;
  #used = 0;
  /** Slot that {@link insert} looked at last. */
  #slot = 0;
  readonly #numbers = new Map<string, number>();

  constructor(arena: NameArena, slots: number) {
    this.#arena = arena;
    this.#names = new Uint32Array(slots);
    this.#values = new Uint8Array(slots);
  }

  /** Gives the value of a name that is there, or puts it in with `value` and gives 0. */
  insert(name: number, value: number): number {
    const known = this.#find(name);
    if (known !== 0) return known;
    this.#names[this.#slot] = name;
    this.#values[this.#slot] = value;
    if (++this.#used * 2 > this.#names.length) this.#grow();
    return 0;
  }

  update(name: number, value: number): void {
    if (this.#find(name) !== 0) this.#values[this.#slot] = value;
  }

  /** 2 for the first namesake of a name, then 3, ... */
  nextNumber(name: string): number {
    const number = (this.#numbers.get(name) ?? 1) + 1;
    this.#numbers.set(name, number);
    return number;
  }

  #find(name: number): number {
    const { bytes } = this.#arena;
    const names = this.#names;
    const values = this.#values;
    const mask = names.length - 1;
    let hash = 0x811c9dc5;
    for (let i = name, byte = bytes[i] as number; byte !== 0; byte = bytes[++i] as number) hash = Math.imul(hash ^ byte, 0x01000193);
    let slot = (hash ^ (hash >>> 15)) & mask;
    for (; values[slot] !== 0; slot = (slot + 1) & mask) {
      const other = names[slot] as number;
      // Strings of a BTF are there once, as a rule: the same name is the same offset.
      if (other === name) break;
      let i = 0;
      while (bytes[name + i] === bytes[other + i] && bytes[name + i] !== 0) i++;
      if (bytes[name + i] === bytes[other + i]) break;
    }
    this.#slot = slot;
    return values[slot] as number;
  }

  #grow(): void {
    const names = this.#names;
    const values = this.#values;
    this.#names = new Uint32Array(names.length * 2);
    this.#values = new Uint8Array(names.length * 2);
    for (const [slot, value] of values.entries()) {
      if (value === 0) continue;
      this.#find(names[slot] as number);
      this.#names[this.#slot] = names[slot] as number;
      this.#values[this.#slot] = value;
    }
  }
}
