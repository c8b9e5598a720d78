import { compatibleEnums, sameHead, sameMembers, sameNameAndInfo, sameParams, sameWords } from './same.ts';
import type { TypeTable } from './table.ts';
import { BTF_KIND } from './types.ts';

const { UNKN, INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, FLOAT, TYPE_TAG, ENUM64 } =
  BTF_KIND;

/** No entry in a map of ids. */
export const unmapped = 0xffffffff;
/** How deep two graphs are compared where a compiler wrote the same type twice. */
const identicalDepth = 16;

/** The canonical type of each type, as far as known; chains end at types that map to themselves or to nothing. */
export class CanonicalMap {
  readonly ids: Uint32Array;

  constructor(count: number) {
    this.ids = new Uint32Array(count).fill(unmapped);
    this.ids[0] = 0;
  }

  isMapped(id: number): boolean {
    return (this.ids[id] as number) < 0xfffffffe;
  }

  resolve(id: number): number {
    for (let steps = 0; steps < this.ids.length; steps++) {
      const next = this.ids[id] as number;
      if (next === id || !this.isMapped(id)) return id;
      id = next;
    }
    return id;
  }
}

/**
 * Compares the graph of a struct, union or typedef with that of a canonical one, under the hypothesis that types met
 * together are the same; a declaration without a definition (FWD) goes with any definition of its name and kind.
 * What was assumed on the way is kept until the next comparison, to be adopted if it held.
 */
export class Equivalence {
  readonly #table: TypeTable;
  readonly #canonical: CanonicalMap;
  /** For types of the canonical graph, the type of the other that was met with it. */
  readonly #met: Uint32Array;
  readonly #metIds: number[] = [];
  /** A FWD of the base would have to become a definition of ours: the base is fixed, so the graphs differ. */
  baseForward = false;

  constructor(table: TypeTable, canonical: CanonicalMap) {
    this.#table = table;
    this.#canonical = canonical;
    this.#met = new Uint32Array(table.count).fill(unmapped);
  }

  /** Whether the two graphs are the same. */
  compare(candidate: number, canonical: number): boolean {
    for (const id of this.#metIds) this.#met[id] = unmapped;
    this.#metIds.length = 0;
    this.baseForward = false;
    // The graph of a kernel's types is many thousand links deep: no recursion.
    const pending: [candidate: number, canonical: number][] = [[candidate, canonical]];
    for (let pair = pending.pop(); pair !== undefined; pair = pending.pop()) {
      const children: [number, number][] = [];
      if (!this.#step(pair[0], pair[1], children)) return false;
      while (children.length > 0) pending.push(children.pop() as [number, number]);
    }
    return true;
  }

  /** Records what the last comparison, which succeeded, found: definitions for FWDs, and structs that are the same. */
  adopt(): void {
    const { ids } = this.#canonical;
    for (const met of this.#metIds) {
      const other = this.#canonical.resolve(this.#met[met] as number);
      const mine = this.#canonical.resolve(met);
      const otherKind = this.#table.kind(other);
      const myKind = this.#table.kind(mine);
      if (otherKind !== FWD && myKind === FWD) ids[mine] = other;
      if (this.baseForward) continue;
      if (otherKind === FWD && myKind !== FWD) ids[other] = mine;
      const composite = otherKind === STRUCT || otherKind === UNION;
      if (composite && myKind !== FWD && this.#canonical.isMapped(mine) && !this.#canonical.isMapped(other)) ids[other] = mine;
    }
  }

  /** Compares one pair and collects the pairs below it. */
  #step(candidate: number, canonicalId: number, below: [number, number][]): boolean {
    const table = this.#table;
    if (this.#canonical.resolve(candidate) === this.#canonical.resolve(canonicalId)) return true;
    const canonical = this.#definitionOf(canonicalId);
    const met = this.#met[canonical] as number;
    // Compilers write the same array (or struct) twice in one unit: then one canonical type meets two of the candidate's.
    if (met !== unmapped) return met === candidate || this.#identical(met, candidate, identicalDepth, new Set());
    this.#met[canonical] = candidate;
    this.#metIds.push(canonical);

    if (table.name(candidate) !== table.name(canonical)) return false;
    const kind = table.kind(candidate);
    const otherKind = table.kind(canonical);
    if (kind !== otherKind) return this.#forwardFits(candidate, canonical);
    if (!this.#sameShape(kind, candidate, canonical)) return false;
    this.#pairsBelow(kind, candidate, canonical, below);
    return true;
  }

  /** Whether one of two types of different kinds is a declaration of the other. */
  #forwardFits(candidate: number, canonical: number): boolean {
    const kind = this.#table.kind(candidate);
    const otherKind = this.#table.kind(canonical);
    if (kind === FWD) return this.#declaredKind(candidate) === otherKind;
    if (otherKind !== FWD || this.#declaredKind(canonical) !== kind) return false;
    if (canonical < this.#table.firstId) this.baseForward = true;
    return true;
  }

  #declaredKind(forward: number): number {
    return this.#table.word(forward, 1) >>> 31 === 1 ? UNION : STRUCT;
  }

  /** What a FWD of the canonical graph was found to be; other types, and FWDs without a definition, are themselves. */
  #definitionOf(id: number): number {
    if (this.#table.kind(id) !== FWD) return id;
    const resolved = this.#canonical.resolve(id);
    return this.#table.kind(resolved) === FWD ? id : resolved;
  }

  #sameShape(kind: number, a: number, b: number): boolean {
    const table = this.#table;
    switch (kind) {
      case INT:
        return sameWords(table, a, b);
      case ENUM:
      case ENUM64:
        return compatibleEnums(table, a, b);
      case FWD:
      case FLOAT:
        return sameHead(table, a, b);
      case CONST:
      case VOLATILE:
      case RESTRICT:
      case PTR:
      case TYPEDEF:
      case FUNC:
      case TYPE_TAG:
        return sameNameAndInfo(table, a, b);
      case ARRAY:
        return sameHead(table, a, b) && table.word(a, 5) === table.word(b, 5);
      case STRUCT:
      case UNION:
        return sameMembers(table, a, b);
      case FUNC_PROTO:
        return sameParams(table, a, b);
      default:
        return false;
    }
  }

  /** Collects the types that two types of the same shape refer to, in order. */
  #pairsBelow(kind: number, a: number, b: number, below: [number, number][]): void {
    const table = this.#table;
    const pair = (index: number): number => below.push([table.word(a, index), table.word(b, index)]);
    switch (kind) {
      case ARRAY:
        pair(4);
        pair(3);
        break;
      case STRUCT:
      case UNION:
        for (let i = 0; i < table.vlen(a); i++) pair(4 + i * 3);
        break;
      case FUNC_PROTO:
        pair(2);
        for (let i = 0; i < table.vlen(a); i++) pair(4 + i * 2);
        break;
      case CONST:
      case VOLATILE:
      case RESTRICT:
      case PTR:
      case TYPEDEF:
      case FUNC:
      case TYPE_TAG:
        pair(2);
        break;
    }
  }

  /** Whether two types of one graph are written the same, down to a depth; `seen` holds pairs found the same already. */
  #identical(a: number, b: number, depth: number, seen: Set<number>): boolean {
    if (a === b) return true;
    const key = a * this.#table.count + b;
    if (seen.has(key)) return true;
    const kind = this.#table.kind(a);
    if (depth <= 0 || kind !== this.#table.kind(b)) return false;
    if (kind === UNKN) return true;
    const below: [number, number][] = [];
    if (!this.#sameShape(kind, a, b)) return false;
    this.#pairsBelow(kind, a, b, below);
    if (!below.every(([x, y]) => this.#identical(x, y, depth - 1, seen))) return false;
    seen.add(key);
    return true;
  }
}
