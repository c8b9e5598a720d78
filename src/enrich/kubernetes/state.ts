import type { NamedObject } from './objects.ts';
import { PastHolders } from './past-holders.ts';

/** Objects by uid and by address. Every address holds all that claim it, so that none is lost when another one goes. */
export class AddressBook {
  readonly #holders = new Map<string, NamedObject[]>();
  readonly #past = new PastHolders();

  /** Who has an address: of several the one of lowest rank, of those the one told last; null where nobody has. */
  holder(ip: string): NamedObject | null {
    return this.#holders.get(ip)?.[0] ?? null;
  }

  /** Who had it at a time of the last seconds (performance.now()), or was the next to have it where nobody had. */
  holderAt(ip: string, time: number): NamedObject | null {
    return this.#past.at(ip, time) ?? this.holder(ip);
  }

  get size(): number {
    return this.#holders.size;
  }

  /** Some go and others come, at once. */
  replace(gone: readonly NamedObject[], come: readonly NamedObject[]): void {
    const before = new Map<string, NamedObject>();
    for (const objects of [gone, come])
      for (const { ips } of objects)
        for (const ip of ips) {
          const holder = this.holder(ip);
          if (holder !== null) before.set(ip, holder);
        }
    for (const object of gone) this.#remove(object);
    for (const object of come) this.#add(object);
    const now = performance.now();
    for (const [ip, holder] of before) if (this.holder(ip)?.uid !== holder.uid) this.#past.add(ip, holder, now);
  }

  #add(object: NamedObject): void {
    for (const ip of object.ips) {
      const holders = this.#holders.get(ip);
      if (holders === undefined) this.#holders.set(ip, [object]);
      else {
        const before = holders.findIndex((each) => each.rank >= object.rank);
        holders.splice(before < 0 ? holders.length : before, 0, object);
      }
    }
  }

  #remove(object: NamedObject): void {
    for (const ip of object.ips) {
      const holders = this.#holders.get(ip);
      const at = holders?.indexOf(object) ?? -1;
      if (holders === undefined || at < 0) continue;
      if (holders.length === 1) this.#holders.delete(ip);
      else holders.splice(at, 1);
    }
  }
}

/** All objects of one kind; a list replaces what was there before only when it is complete. */
export class ObjectStore<T extends NamedObject> {
  readonly #parse: (value: unknown) => T | null;
  readonly #uidOf: (value: unknown) => string;
  readonly #book: AddressBook;
  readonly #intern: (text: string) => string;
  readonly #told: (uid: string, object: T | null) => void;
  #objects = new Map<string, T>();
  /** Those of a list that is being taken. */
  #fresh: Map<string, T> | null = null;

  /** `told` hears of each change after it: null for what is gone. */
  constructor(
    parse: (value: unknown) => T | null,
    uidOf: (value: unknown) => string,
    book: AddressBook,
    intern: (text: string) => string,
    told: (uid: string, object: T | null) => void = () => {},
  ) {
    this.#told = told;
    this.#parse = parse;
    this.#uidOf = uidOf;
    this.#book = book;
    this.#intern = intern;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(uid: string): T | null {
    return this.#objects.get(uid) ?? null;
  }

  find(test: (object: T) => boolean): T | null {
    for (const object of this.#objects.values()) if (test(object)) return object;
    return null;
  }

  listing(): void {
    this.#fresh = new Map();
  }

  changed(value: unknown): void {
    const parsed = this.#parse(value);
    if (parsed === null) return;
    // Most pods share their labels with their siblings.
    const object = { ...parsed, namespace: this.#intern(parsed.namespace), labels: this.#intern(parsed.labels) };
    if (this.#fresh !== null) {
      this.#fresh.set(object.uid, object);
      return;
    }
    const before = this.#objects.get(object.uid);
    this.#objects.set(object.uid, object);
    this.#book.replace(before === undefined ? [] : [before], [object]);
    this.#told(object.uid, object);
  }

  /** By uid: a namesake that was made meanwhile stays. */
  deleted(value: unknown): void {
    const uid = this.#uidOf(value);
    const before = this.#objects.get(uid);
    if (before !== undefined) {
      this.#objects.delete(uid);
      this.#book.replace([before], []);
    }
    this.#told(uid, null);
  }

  listed(): void {
    if (this.#fresh === null) return;
    const before = this.#objects;
    this.#objects = this.#fresh;
    this.#fresh = null;
    this.#book.replace([...before.values()], [...this.#objects.values()]);
    for (const uid of before.keys()) if (!this.#objects.has(uid)) this.#told(uid, null);
    for (const object of this.#objects.values()) this.#told(object.uid, object);
  }
}
