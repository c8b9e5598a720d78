import { FormatError, UnsupportedError } from '../error.ts';
import type { Btf } from './btf.ts';
import { encodeSections } from './encode.ts';
import { CanonicalMap, Equivalence } from './equivalence.ts';
import { remapBtfExt } from './ext-remap.ts';
import { compatibleEnums, isForwardEnum, sameHead, sameMembers, sameNameAndInfo, sameWords } from './same.ts';
import { StringPool } from './string-pool.ts';
import { TypeTable } from './table.ts';
import { BTF_KIND } from './types.ts';

const {
  INT,
  PTR,
  ARRAY,
  STRUCT,
  UNION,
  ENUM,
  FWD,
  TYPEDEF,
  VOLATILE,
  CONST,
  RESTRICT,
  FUNC,
  FUNC_PROTO,
  VAR,
  DATASEC,
  FLOAT,
  DECL_TAG,
  TYPE_TAG,
  ENUM64,
} = BTF_KIND;

/** A reference whose target is being deduplicated. */
const inProgress = 0xfffffffe;
/** Longest chain of pointers, qualifiers and prototypes; C makes loops only through structs. */
const maxChain = 512;

/** What {@link dedupBtf} gives. */
export interface DedupedBtf {
  readonly bytes: Uint8Array;
  /** .BTF.ext with its type ids and strings adapted; null where none was given. */
  readonly ext: Uint8Array | null;
  /** The new id of each old one, the base's included. */
  readonly ids: Uint32Array;
}

/**
 * Removes duplicate types and strings: equal types become one, structs are compared as graphs, and declarations (FWD) are
 * replaced by the definition that the rest of the BTF has. Split BTF loses what its base has. VAR and DATASEC stay as they are.
 * The same result as libbpf's btf__dedup().
 *
 * @example
 * import { Btf, BtfBuilder, dedupBtf } from 'rawbpf/btf';
 * const builder = new BtfBuilder();
 * for (let i = 0; i < 3; i++) builder.add({ kind: 'FLOAT', name: 'float', size: 4 });
 * console.log(Btf.parse(dedupBtf(Btf.parse(builder.encode())).bytes).typeCount); // 2
 */
export function dedupBtf(btf: Btf, options: { readonly ext?: Uint8Array } = {}): DedupedBtf {
  const table = new TypeTable(btf);
  checkIds(btf, table);
  const strings = dedupStrings(btf, table);
  const canonical = new Dedup(btf, table).run();
  const ids = compact(table, canonical);
  const kept: number[] = [];
  for (let id = table.firstId; id < table.count; id++) {
    if (canonical.ids[id] !== id) continue;
    kept.push(id);
    table.mapTypes(id, (target) => ids[target] as number);
  }
  const ext = options.ext === undefined ? null : remapBtfExt(options.ext, strings.map, (id) => ids[id] ?? 0);
  const { littleEndian, header } = btf;
  const layout = btf.bytes.subarray(header.layoutAt, header.layoutAt + header.layoutLength);
  const types = table.encode(kept, littleEndian);
  return { bytes: encodeSections({ littleEndian, flags: header.flags, types, strings: strings.pool.encode(), layout }), ext, ids };
}

/** The passes over all types; each leaves more of them mapped to the type that will stand for them. */
class Dedup {
  readonly #btf: Btf;
  readonly #table: TypeTable;
  readonly #canonical: CanonicalMap;
  readonly #equivalence: Equivalence;
  /** Canonical types by the hash of what does not depend on other types, or is canonical already. */
  readonly #known = new Map<number, number[]>();

  constructor(btf: Btf, table: TypeTable) {
    this.#btf = btf;
    this.#table = table;
    this.#canonical = new CanonicalMap(table.count);
    this.#equivalence = new Equivalence(table, this.#canonical);
  }

  run(): CanonicalMap {
    const { firstId, count } = this.#table;
    for (let id = 1; id < firstId; id++) this.#keepBase(id);
    for (let id = firstId; id < count; id++) this.#primitive(id);
    for (let id = firstId; id < count; id++) this.#composite(id);
    this.#resolveForwards();
    for (let id = firstId; id < count; id++) this.#reference(id, 0);
    return this.#canonical;
  }

  #keepBase(id: number): void {
    this.#canonical.ids[id] = id;
    const kind = this.#table.kind(id);
    if (kind !== VAR && kind !== DATASEC) this.#remember(id);
  }

  /** Types that refer to no other. */
  #primitive(id: number): void {
    const table = this.#table;
    switch (table.kind(id)) {
      case VAR:
      case DATASEC:
        this.#canonical.ids[id] = id;
        break;
      case INT:
        this.#settle(id, (other) => sameWords(table, id, other));
        break;
      case FWD:
      case FLOAT:
        this.#settle(id, (other) => sameHead(table, id, other));
        break;
      case ENUM:
      case ENUM64:
        this.#settle(id, (other) => this.#sameEnum(id, other));
        break;
    }
  }

  #sameEnum(id: number, other: number): boolean {
    const table = this.#table;
    const kind = table.kind(other);
    if (kind !== ENUM && kind !== ENUM64) return false;
    if (sameWords(table, id, other)) return true;
    if (!compatibleEnums(table, id, other)) return false;
    if (isForwardEnum(table, id)) return true;
    // The other was only declared, and this defines it.
    this.#canonical.ids[other] = id;
    return false;
  }

  /** Structs, unions and typedefs, which other types may lead to in circles. */
  #composite(id: number): void {
    const table = this.#table;
    const kind = table.kind(id);
    if (this.#canonical.isMapped(id) || (kind !== STRUCT && kind !== UNION && kind !== TYPEDEF)) return;
    this.#settle(id, (other) => {
      const alike = kind === TYPEDEF ? sameNameAndInfo(table, id, other) : sameMembers(table, id, other);
      if (!alike || !this.#equivalence.compare(id, other)) return false;
      this.#equivalence.adopt();
      return !this.#equivalence.baseForward;
    });
  }

  /** FWDs that no comparison resolved become the struct or union of their name, where only one has it. */
  #resolveForwards(): void {
    const table = this.#table;
    const byName = new Map<number, number>();
    for (let id = 1; id < table.count; id++) {
      const kind = table.kind(id);
      if ((kind !== STRUCT && kind !== UNION) || this.#canonical.ids[id] !== id) continue;
      byName.set(table.name(id), byName.has(table.name(id)) ? 0 : id);
    }
    for (let id = table.firstId; id < table.count; id++) {
      if (table.kind(id) !== FWD || this.#canonical.ids[id] !== id) continue;
      const definition = byName.get(table.name(id)) ?? 0;
      const wanted = table.word(id, 1) >>> 31 === 1 ? UNION : STRUCT;
      if (definition !== 0 && table.kind(definition) === wanted) this.#canonical.ids[id] = definition;
    }
  }

  /** Pointers, qualifiers, arrays, prototypes, functions and tags: equal once what they refer to is canonical. */
  #reference(id: number, depth: number): number {
    const table = this.#table;
    if (this.#canonical.ids[id] === inProgress || depth > maxChain) {
      throw new FormatError({ code: 'E_BTF_LOOP', what: 'BTF types form a loop', where: { ...this.#btf.where(), id } });
    }
    if (this.#canonical.isMapped(id)) return this.#canonical.resolve(id);
    switch (table.kind(id)) {
      case CONST:
      case VOLATILE:
      case RESTRICT:
      case PTR:
      case FUNC:
      case TYPE_TAG:
      case DECL_TAG:
      case ARRAY:
      case FUNC_PROTO:
        this.#canonical.ids[id] = inProgress;
        table.mapTypes(id, (target) => this.#reference(target, depth + 1));
        return this.#settle(id, (other) => sameWords(table, id, other));
      default:
        throw new UnsupportedError({
          code: 'E_BTF_KIND',
          what: 'cannot deduplicate a type of unknown kind',
          where: { id, kind: table.kind(id) },
        });
    }
  }

  /** Maps a type to the first canonical one that is the same, newest first; or to itself, for later ones to be mapped to. */
  #settle(id: number, same: (other: number) => boolean): number {
    const known = this.#known.get(this.#hash(id)) ?? [];
    for (let i = known.length - 1; i >= 0; i--) {
      const other = known[i] as number;
      if (!same(other)) continue;
      this.#canonical.ids[id] = other;
      return other;
    }
    this.#canonical.ids[id] = id;
    this.#remember(id);
    return id;
  }

  #remember(id: number): void {
    const hash = this.#hash(id);
    const known = this.#known.get(hash);
    if (known === undefined) this.#known.set(hash, [id]);
    else known.push(id);
  }

  /** Of what two equal types have in common when they are looked up. */
  #hash(id: number): number {
    const table = this.#table;
    const kind = table.kind(id);
    let hash = table.name(id);
    const add = (word: number): void => {
      hash = (Math.imul(hash, 31) + word) | 0;
    };
    // An enum may be found by its declaration, which has neither size nor enumerators.
    if (kind === ENUM || kind === ENUM64) return hash;
    add(table.word(id, 1));
    if (kind === TYPEDEF) return hash;
    add(table.word(id, 2));
    const length = table.wordsOf(id).length;
    const composite = kind === STRUCT || kind === UNION;
    // The types of members are not canonical yet.
    for (let i = 3; i < length; i++) if (!composite || i % 3 !== 1) add(table.word(id, i));
    return hash;
  }
}

/** Every id must be of a type: nothing below checks. */
function checkIds(btf: Btf, table: TypeTable): void {
  for (let id = 1; id < table.count; id++)
    table.mapTypes(id, (target) => (target === 0 || target < table.count ? target : btf.type(target).id));
}

/** Rewrites names to a new string section that has each once; the base's stay where they are. */
function dedupStrings(btf: Btf, table: TypeTable): { pool: StringPool; map: (offset: number) => number } {
  const pool = new StringPool(btf.base);
  const known = new Map<number, number>();
  const map = (offset: number): number => {
    if (offset < btf.firstString || offset === 0) return offset;
    let to = known.get(offset);
    if (to === undefined) known.set(offset, (to = pool.addBytes(btf.stringBytes(offset))));
    return to;
  };
  for (let id = table.firstId; id < table.count; id++) table.mapStrings(id, map);
  return { pool, map };
}

/** The new id of each type: those of the base stay, canonical types follow in their old order. */
function compact(table: TypeTable, canonical: CanonicalMap): Uint32Array {
  const kept = new Uint32Array(table.count);
  let next = table.firstId;
  for (let id = 0; id < table.count; id++) {
    if (id < table.firstId) kept[id] = id;
    else if (canonical.ids[id] === id) kept[id] = next++;
  }
  return kept.map((_, id) => kept[canonical.resolve(id)] as number);
}
