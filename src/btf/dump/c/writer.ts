import { FormatError } from '../../../error.ts';
import { BTF_KIND } from '../../types.ts';
import { loopError, type TypeTable } from '../table.ts';
import { CLayout } from './layout.ts';
import { phrase } from './output.ts';
import type { TypeSurvey } from './survey.ts';
import { CText, endless, inlinedMember } from './text.ts';

const { PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC_PROTO, TYPE_TAG, ENUM64 } = BTF_KIND;

/** Types that lead to each other through pointers nest no deeper than this in any program. */
const maxDepth = 1000;

/** What has been written of a type. */
const state = { none: 0, ongoing: 1, done: 2 } as const;

const space = 0x20;
const endOfDefinition = phrase(';\n\n');
const lastLine = phrase(';\n');
const typedef = phrase('typedef ');
const anonymousEnum = phrase('enum ');
/** Around what C23 has as keywords: true, false and bool. */
const beforeC23 = phrase('#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n');
const endIf = phrase('#endif\n\n');

/**
 * Writes type definitions as C in an order that compiles: what is held by value is defined first, what is pointed to is
 * declared first.
 */
export class CWriter {
  readonly text: CText;
  readonly #table: TypeTable;
  readonly #states: Uint8Array;
  /** 1 where C knows a struct's or union's tag. */
  readonly #declared: Uint8Array;
  #depth = 0;
  /** Members that may still be looked at, see CText. */
  #budget: number;

  constructor(table: TypeTable, survey: TypeSurvey) {
    this.#table = table;
    this.text = new CText(table, new CLayout(table, survey));
    this.#states = new Uint8Array(table.count);
    this.#declared = new Uint8Array(table.count);
    this.#budget = table.words.length * 16 + 65536;
  }

  /** Writes the definition of a named type or of an anonymous enum, after all that it needs. */
  define(id: number): void {
    switch (this.#table.kind(id)) {
      case STRUCT:
      case UNION:
        if (this.#table.isNamed(id)) this.#defineComposite(id);
        break;
      case ENUM:
      case ENUM64:
        this.#defineEnum(id);
        break;
      case TYPEDEF:
        this.#defineTypedef(id);
        break;
      default:
        this.#need(id, 0, false);
    }
  }

  /** Writes what a type needs to be declared with. */
  prepare(id: number): void {
    this.#need(id, 0, false);
  }

  #defineComposite(id: number): void {
    if (this.#states[id] === state.done) return;
    if (this.#states[id] === state.ongoing) throw loopError(this.#table.btf, id);
    this.#states[id] = state.ongoing;
    this.#needMembers(id, id);
    const { text } = this;
    text.tag(id);
    text.out.char(space);
    text.body(id, 0);
    text.out.put(endOfDefinition);
    this.#states[id] = state.done;
    this.#declared[id] = 1;
  }

  #defineEnum(id: number): void {
    if (this.#states[id] === state.done) return;
    this.#states[id] = state.done;
    const { text } = this;
    const { out } = text;
    const named = this.#table.isNamed(id);
    if (this.#table.vlen(id) === 0) {
      // clang writes `enum name;` so.
      if (!named) return;
      text.tag(id);
      out.put(endOfDefinition);
      return;
    }
    const start = out.length;
    if (named) text.tag(id);
    else out.put(anonymousEnum);
    if (named) out.char(space);
    if (!text.enumBody(id, 0)) {
      out.put(endOfDefinition);
      return;
    }
    out.put(lastLine);
    out.put(endIf);
    out.insert(start, beforeC23);
  }

  #defineTypedef(id: number): void {
    if (this.#states[id] === state.done) return;
    if (this.#states[id] === state.ongoing) throw loopError(this.#table.btf, id);
    this.#states[id] = state.ongoing;
    const { text } = this;
    const { out } = text;
    const target = this.#table.sizeOrType(id);
    const kind = this.#table.kind(target);
    // `typedef struct x y;` declares struct x by itself.
    if ((kind === STRUCT || kind === UNION) && this.#table.isNamed(target)) this.#declared[target] = 1;
    else this.#need(target, 0, false);
    const name = text.typedefName(id);
    const isBool = text.isNamed(name, 'bool');
    if (isBool) out.put(beforeC23);
    out.put(typedef);
    text.declaration(target, name, 0);
    out.put(isBool ? lastLine : endOfDefinition);
    if (isBool) out.put(endIf);
    this.#states[id] = state.done;
  }

  /** Writes what has to stand before a use of a type; `owner` is the struct in whose body the use is, which C knows there. */
  #need(id: number, owner: number, complete: boolean): void {
    const table = this.#table;
    const { kinds } = table;
    if (++this.#depth > maxDepth) throw new FormatError({ code: 'E_BTF_DEPTH', what: 'types are nested too deep', where: { id } });
    for (let steps = 0, through = false; ; steps++) {
      if (steps > maxDepth) throw loopError(table.btf, id);
      const kind = kinds[id] ?? table.kind(id);
      if (kind === PTR) {
        complete = false;
        through = true;
      } else if (kind === ARRAY) {
        // Elements must be complete even behind a pointer, unless that is impossible.
        complete = true;
        id = table.word(table.head(id) + 3);
        if (through && this.#states[table.element(id)] === state.ongoing) complete = false;
        continue;
      } else if (kind === TYPEDEF) {
        if (this.#states[id] !== state.done) this.#defineTypedef(id);
        if (!complete) break;
      } else if (kind !== CONST && kind !== VOLATILE && kind !== RESTRICT && kind !== TYPE_TAG) {
        this.#needBase(id, kind, owner, complete);
        break;
      }
      id = table.sizeOrType(id);
    }
    this.#depth--;
  }

  #needBase(id: number, kind: number, owner: number, complete: boolean): void {
    const table = this.#table;
    switch (kind) {
      case STRUCT:
      case UNION:
        if (!table.isNamed(id)) this.#needMembers(id, owner);
        else if (complete) this.#defineComposite(id);
        else if (id !== owner) this.#declareTag(id);
        break;
      case ENUM:
      case ENUM64:
        if (table.isNamed(id)) this.#defineEnum(id);
        break;
      case FWD:
        this.#declareTag(id);
        break;
      case FUNC_PROTO: {
        this.#need(table.sizeOrType(id), owner, false);
        const head = table.head(id);
        for (let i = 0, count = table.vlen(id); i < count; i++) this.#need(table.word(head + 4 + i * 2), owner, false);
        break;
      }
      default:
    }
  }

  #needMembers(id: number, owner: number): void {
    const table = this.#table;
    const count = table.vlen(id);
    this.#budget -= count + 1;
    if (this.#budget < 0) throw endless(table, id);
    for (let i = 0, at = table.head(id) + 3; i < count; i++, at += 3) {
      const inlined = inlinedMember(table, at);
      if (inlined === 0) this.#need(table.word(at + 1), owner, true);
      else this.#needMembers(inlined, owner);
    }
  }

  #declareTag(id: number): void {
    if (this.#declared[id] === 1) return;
    this.#declared[id] = 1;
    this.text.tag(id);
    this.text.out.put(endOfDefinition);
  }
}
