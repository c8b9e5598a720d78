import type { Btf } from '../btf.ts';
import type { BtfComposite, BtfEnum, BtfType } from '../types.ts';
import { CoreError } from './error.ts';

/** A type with the id it was found under. */
export interface Found {
  readonly id: number;
  readonly type: BtfType;
}

/** Names of kinds as libbpf's log writes them. */
export function kindText(type: BtfType): string {
  return type.kind === 'UNKN' ? 'void' : type.kind.toLowerCase();
}

export function isComposite(type: BtfType): type is BtfComposite {
  return type.kind === 'STRUCT' || type.kind === 'UNION';
}

export function isEnum(type: BtfType): type is BtfEnum {
  return type.kind === 'ENUM' || type.kind === 'ENUM64';
}

/** Kinds that may stand for each other: the same one, or any two enums. */
export function kindsCompatible(a: BtfType, b: BtfType): boolean {
  return a.kind === b.kind || (isEnum(a) && isEnum(b));
}

// No legitimate chain of qualifiers and typedefs comes near this; a loop of them does.
const MAX_CHAIN = 512;
// btf__resolve_size() of libbpf gives up at the same depth.
const MAX_SIZE_DEPTH = 32;
const U32 = 0x1_0000_0000;

/** What CO-RE asks of one BTF, with the types it has met kept: a relocation meets the same few hundred again and again. */
export class Types {
  readonly btf: Btf;
  readonly #types = new Map<number, BtfType>();

  private constructor(btf: Btf) {
    this.btf = btf;
  }

  /** One view per BTF, living as long as it. */
  static of(btf: Btf): Types {
    let view = views.get(btf);
    if (view === undefined) {
      view = new Types(btf);
      views.set(btf, view);
    }
    return view;
  }

  type(id: number): BtfType {
    let type = this.#types.get(id);
    if (type === undefined) {
      type = this.btf.type(id);
      this.#types.set(id, type);
    }
    return type;
  }

  /** The type behind qualifiers, type tags and typedefs. */
  skip(id: number): Found {
    let at = id;
    for (let i = 0; i < MAX_CHAIN; i++) {
      const type = this.type(at);
      switch (type.kind) {
        case 'CONST':
        case 'VOLATILE':
        case 'RESTRICT':
        case 'TYPEDEF':
        case 'TYPE_TAG':
          at = type.typeId;
          break;
        default:
          return { id: at, type };
      }
    }
    throw new CoreError({ code: 'E_CORE_DEPTH', what: `type [${id}] is a loop of typedefs or qualifiers` });
  }

  /** The size in bytes, arrays multiplied out; null where the type has none or it passes 32 bits. */
  size(id: number): number | null {
    let count = 1;
    let at = id;
    for (let i = 0; i < MAX_SIZE_DEPTH; i++) {
      const type = this.type(at);
      switch (type.kind) {
        case 'INT':
        case 'STRUCT':
        case 'UNION':
        case 'ENUM':
        case 'ENUM64':
        case 'DATASEC':
        case 'FLOAT':
          return sizeOrNull(count * type.size);
        case 'PTR':
          return sizeOrNull(count * this.btf.pointerSize);
        case 'TYPEDEF':
        case 'VOLATILE':
        case 'CONST':
        case 'RESTRICT':
        case 'VAR':
        case 'DECL_TAG':
        case 'TYPE_TAG':
          at = type.typeId;
          break;
        case 'ARRAY':
          count *= type.count;
          if (count >= U32) return null;
          at = type.typeId;
          break;
        default:
          return null;
      }
    }
    return null;
  }

  /** The element type at the bottom of nested arrays, or the type itself. */
  innermostElement(id: number): Found {
    let found = this.skip(id);
    for (let i = 0; i < MAX_CHAIN; i++) {
      if (found.type.kind !== 'ARRAY') return found;
      found = this.skip(found.type.typeId);
    }
    throw new CoreError({ code: 'E_CORE_DEPTH', what: `type [${id}] is a loop of arrays` });
  }
}

const views = new WeakMap<Btf, Types>();

function sizeOrNull(size: number): number | null {
  return size < U32 ? size : null;
}

/** Steps that one relocation may take, and all of an object: the largest real object (35,000 relocations) takes 15,000. */
const STEPS_PER_RELOCATION = 1_000_000;
const STEPS_IN_ALL = 8_000_000;

/**
 * Bounds the work of relocating: anonymous members and function prototypes make trees, and a hostile BTF can make
 * one that no depth limit alone keeps small.
 */
export class Budget {
  #left = STEPS_PER_RELOCATION;
  #leftInAll = STEPS_IN_ALL;

  /** To be called before each relocation. */
  begin(): this {
    this.#left = Math.min(STEPS_PER_RELOCATION, this.#leftInAll);
    return this;
  }

  spend(steps = 1): void {
    this.#left -= steps;
    this.#leftInAll -= steps;
    if (this.#left < 0) {
      throw new CoreError({
        code: 'E_CORE_TOO_COMPLEX',
        what: 'a CO-RE relocation takes too many steps',
        why: 'the types nest in a way no compiler makes',
      });
    }
  }
}
