import { BTF_KIND } from './types.ts';

const { PTR, ARRAY, STRUCT, UNION, ENUM, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO, VAR, DATASEC, DECL_TAG, TYPE_TAG, ENUM64 } =
  BTF_KIND;

/** Called with the index of a 32-bit word of a type, counted from its start. */
export type WordVisitor = (word: number) => void;

/** Visits the words of a type that hold ids of other types. */
export function visitTypeWords(kind: number, vlen: number, visit: WordVisitor): void {
  switch (kind) {
    case PTR:
    case TYPEDEF:
    case VOLATILE:
    case CONST:
    case RESTRICT:
    case FUNC:
    case VAR:
    case DECL_TAG:
    case TYPE_TAG:
      visit(2);
      break;
    case ARRAY:
      visit(3);
      visit(4);
      break;
    case STRUCT:
    case UNION:
      for (let i = 0; i < vlen; i++) visit(4 + i * 3);
      break;
    case FUNC_PROTO:
      visit(2);
      for (let i = 0; i < vlen; i++) visit(4 + i * 2);
      break;
    case DATASEC:
      for (let i = 0; i < vlen; i++) visit(3 + i * 3);
      break;
  }
}

/** Visits the words of a type that hold offsets of strings: its name, and those of its elements. */
export function visitStringWords(kind: number, vlen: number, visit: WordVisitor): void {
  visit(0);
  switch (kind) {
    case STRUCT:
    case UNION:
    case ENUM64:
      for (let i = 0; i < vlen; i++) visit(3 + i * 3);
      break;
    case ENUM:
    case FUNC_PROTO:
      for (let i = 0; i < vlen; i++) visit(3 + i * 2);
      break;
  }
}

/** Kind and number of elements out of an info word. */
export function kindOfInfo(info: number): number {
  return (info >>> 24) & 0x7f;
}

export function vlenOfInfo(info: number): number {
  return info & 0xffffff;
}
