import { BTF_KIND } from '../../types.ts';
import { loopError, type TypeTable } from '../table.ts';

const { PTR, ARRAY, VOLATILE, CONST, RESTRICT, FUNC_PROTO, TYPE_TAG } = BTF_KIND;

/** Longest chain of pointers, arrays and qualifiers from a name to the type behind it. */
const maxLinks = 256;

/** Qualifiers as bits. */
export const qualifier = { const: 1, volatile: 2, restrict: 4 } as const;

/**
 * The way from a declared name to the type named in front of it, as in `const char *(*name[3])(void)`: pointers, arrays and
 * functions in the order in which they stand around the name, each with its own qualifiers. One object serves many walks, as a
 * stack: what is walked within a walk (a parameter of a function pointer) goes on top.
 */
export class DeclaratorStack {
  readonly #table: TypeTable;
  /** Id of each pointer, array or function on the way. */
  ids: Uint32Array = new Uint32Array(1024);
  /** Bits of {@link qualifier} of each pointer. */
  qualifiers: Uint8Array = new Uint8Array(1024);
  /** Type tags of each pointer, outermost first; mostly none. */
  tags: (number[] | null)[] = [];
  /** First free place. */
  top = 0;
  /** The type that the walk ended at, with its qualifiers and tags. */
  baseId = 0;
  baseQualifiers = 0;
  baseTags: number[] | null = null;

  constructor(table: TypeTable) {
    this.#table = table;
  }

  /** Walks from a type; the links lie from the old `top` to the new one, and the base in `base...`. */
  walk(typeId: number): void {
    const table = this.#table;
    let id = typeId;
    let bits = 0;
    let tags: number[] | null = null;
    for (let steps = 0; steps < maxLinks; steps++) {
      const kind = table.kind(id);
      switch (kind) {
        case CONST:
          bits |= qualifier.const;
          break;
        case VOLATILE:
          bits |= qualifier.volatile;
          break;
        case RESTRICT:
          bits |= qualifier.restrict;
          break;
        case TYPE_TAG:
          tags = [...(tags ?? []), id];
          break;
        case PTR:
          this.#push(id, bits, tags);
          bits = 0;
          tags = null;
          break;
        case ARRAY:
          // What stands before an array is said of its elements.
          this.#push(id, 0, null);
          id = table.word(table.head(id) + 3);
          continue;
        case FUNC_PROTO:
          // Qualifiers of a function mean nothing.
          this.#push(id, 0, null);
          bits = 0;
          tags = null;
          break;
        default:
          this.baseId = id;
          this.baseQualifiers = bits;
          this.baseTags = tags;
          return;
      }
      id = table.sizeOrType(id);
    }
    throw loopError(table.btf, typeId);
  }

  #push(id: number, bits: number, tags: number[] | null): void {
    if (this.top === this.ids.length) {
      const ids = new Uint32Array(this.top * 2);
      ids.set(this.ids);
      this.ids = ids;
      const qualifiers = new Uint8Array(this.top * 2);
      qualifiers.set(this.qualifiers);
      this.qualifiers = qualifiers;
    }
    this.ids[this.top] = id;
    this.qualifiers[this.top] = bits;
    this.tags[this.top] = tags;
    this.top++;
  }
}
