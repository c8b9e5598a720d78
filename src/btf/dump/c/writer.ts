import { FormatError } from '../../../error.ts';
import { BTF_KIND } from '../../types.ts';
import { loopError, type TypeTable } from '../table.ts';
import { enumText } from './enum.ts';
import { NameSpaces, toIdentifier } from './identifier.ts';
import { CLayout, oddIntWidth } from './layout.ts';
import { padding } from './padding.ts';
import { spellFloat, spellInt } from './scalar.ts';

const { INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC_PROTO, TYPE_TAG, FLOAT, ENUM64 } = BTF_KIND;

/** Types that lead to each other through pointers nest no deeper than this in any program. */
const maxDepth = 1000;

/** What has been written of a type. */
const state = { none: 0, ongoing: 1, done: 2 } as const;

/**
 * Writes type definitions as C in an order that compiles: what is held by value is defined first, what is pointed to is
 * declared first. Text gathers in `text`, for the caller to take.
 */
export class CWriter {
  text = '';
  readonly #table: TypeTable;
  readonly #layout: CLayout;
  readonly #names = new NameSpaces();
  /** Name by type id, once it has been given out. */
  readonly #nameOf: (string | undefined)[];
  readonly #states: Uint8Array;
  /** 1 where C knows a struct's or union's tag. */
  readonly #declared: Uint8Array;
  #depth = 0;
  /** Members that may still be written: a hostile BTF of anonymous structs in each other would never end. */
  #budget: number;

  constructor(table: TypeTable) {
    this.#table = table;
    this.#layout = new CLayout(table);
    this.#nameOf = Array.from({ length: table.count });
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

  /** Writes all that a type needs and gives the declaration of `name` with it. */
  declare(id: number, name: string): string {
    this.#need(id, 0, false);
    return this.#declaration(id, name, '');
  }

  /** A name at file scope that no definition may take any more. */
  reserve(name: string): string {
    return this.#names.identifier(name);
  }

  #defineComposite(id: number): void {
    if (this.#states[id] === state.done) return;
    if (this.#states[id] === state.ongoing) throw loopError(this.#table.btf, id);
    this.#states[id] = state.ongoing;
    this.#needMembers(id, id);
    this.text += `${this.#tag(id)} ${this.#body(id, '')};\n\n`;
    this.#states[id] = state.done;
    this.#declared[id] = 1;
  }

  #defineEnum(id: number): void {
    if (this.#states[id] === state.done) return;
    this.#states[id] = state.done;
    const named = this.#table.isNamed(id);
    if (this.#table.vlen(id) === 0) {
      // clang writes `enum name;` so.
      if (named) this.text += `${this.#tag(id)};\n\n`;
      return;
    }
    const { body, attribute, isBool } = enumText(this.#table, id, this.#names, '');
    const text = `${named ? this.#tag(id) : 'enum'} ${body}${attribute};\n`;
    this.text += isBool ? beforeC23(text) : `${text}\n`;
  }

  #defineTypedef(id: number): void {
    if (this.#states[id] === state.done) return;
    if (this.#states[id] === state.ongoing) throw loopError(this.#table.btf, id);
    this.#states[id] = state.ongoing;
    const target = this.#table.sizeOrType(id);
    const kind = this.#table.kind(target);
    // `typedef struct x y;` declares struct x by itself.
    if ((kind === STRUCT || kind === UNION) && this.#table.isNamed(target)) this.#declared[target] = 1;
    else this.#need(target, 0, false);
    const name = this.#identifier(id);
    const text = `typedef ${this.#declaration(target, name, '')};\n`;
    this.text += name === 'bool' ? beforeC23(text) : `${text}\n`;
    this.#states[id] = state.done;
  }

  /** Writes what has to stand before a use of a type; `owner` is the struct in whose body the use is, which C knows there. */
  #need(id: number, owner: number, complete: boolean): void {
    const table = this.#table;
    if (++this.#depth > maxDepth) throw new FormatError({ code: 'E_BTF_DEPTH', what: 'types are nested too deep', where: { id } });
    for (let steps = 0, through = false; ; steps++) {
      if (steps > maxDepth) throw loopError(table.btf, id);
      const kind = table.kind(id);
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
        this.#defineTypedef(id);
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
    this.#spend(id, count + 1);
    for (let i = 0, at = table.head(id) + 3; i < count; i++, at += 3) {
      const inlined = this.#inlined(at);
      if (inlined === 0) this.#need(table.word(at + 1), owner, true);
      else this.#needMembers(inlined, owner);
    }
  }

  /**
   * The struct or union whose members stand for the unnamed member at this word; 0 where the member has a name.
   * With -fms-extensions (kernels since 6.19) it may have a tag or a typedef, which standard C does not allow here.
   */
  #inlined(at: number): number {
    const table = this.#table;
    if (table.word(at) !== 0) return 0;
    const id = table.resolve(table.word(at + 1));
    return table.kind(id) === STRUCT || table.kind(id) === UNION ? id : 0;
  }

  #declareTag(id: number): void {
    if (this.#declared[id] === 1) return;
    this.#declared[id] = 1;
    this.text += `${this.#tag(id)};\n\n`;
  }

  /** `struct name`, `union name` or `enum name`. */
  #tag(id: number): string {
    return (this.#nameOf[id] ??= this.#newTag(id));
  }

  #newTag(id: number): string {
    const table = this.#table;
    const kind = table.kind(id);
    if (kind === FWD) {
      const target = table.flag(id) ? 'union' : 'struct';
      return `${target} ${this.#names.declareTag(table.name(id), target)}`;
    }
    const word = kind === STRUCT ? 'struct' : kind === UNION ? 'union' : 'enum';
    return `${word} ${this.#names.defineTag(table.name(id), word)}`;
  }

  #identifier(id: number): string {
    return (this.#nameOf[id] ??= this.#names.identifier(this.#table.name(id)));
  }

  /** A type with the declarator `inner` in it: `int (*name)[3]`. */
  #declaration(id: number, inner: string, indent: string): string {
    const table = this.#table;
    let qualifiers = '';
    let tags = '';
    for (let steps = 0; ; steps++) {
      if (steps > maxDepth) throw loopError(table.btf, id);
      const kind = table.kind(id);
      switch (kind) {
        case CONST:
        case VOLATILE:
        case RESTRICT: {
          // An array and its elements may both be const.
          const word = kind === CONST ? 'const ' : kind === VOLATILE ? 'volatile ' : 'restrict ';
          if (!qualifiers.includes(word)) qualifiers += word;
          break;
        }
        case TYPE_TAG:
          tags += typeTag(table.name(id), table.flag(id));
          break;
        case PTR:
          inner = `*${tags === '' ? '' : `${tags.slice(1)} `}${inner === '' ? qualifiers.trimEnd() : qualifiers}${inner}`;
          qualifiers = '';
          tags = '';
          break;
        case ARRAY:
        case FUNC_PROTO: {
          if (inner.startsWith('*')) inner = `(${inner})`;
          if (kind === ARRAY) {
            const head = table.head(id);
            inner += `[${table.word(head + 5)}]`;
            id = table.word(head + 3);
            continue;
          }
          inner += this.#parameters(id, indent);
          // Qualifiers of a function mean nothing.
          qualifiers = '';
          tags = '';
          break;
        }
        default: {
          // `restrict` is only for pointers.
          const text = `${qualifiers.replace('restrict ', '')}${this.#base(id, kind, indent)}${tags}`;
          return inner === '' ? text : `${text} ${inner}`;
        }
      }
      id = table.sizeOrType(id);
    }
  }

  #base(id: number, kind: number, indent: string): string {
    const table = this.#table;
    switch (kind) {
      case INT:
        return (this.#nameOf[id] ??= this.#int(id));
      case FLOAT:
        return (this.#nameOf[id] ??= spellFloat(table.sizeOrType(id)).text);
      case TYPEDEF:
        return this.#identifier(id);
      case STRUCT:
      case UNION:
        return table.isNamed(id) ? this.#tag(id) : this.#anonymous(id, indent);
      case ENUM:
      case ENUM64: {
        if (table.isNamed(id)) return this.#tag(id);
        const { body, attribute } = enumText(table, id, this.#names, indent);
        return `enum ${body}${attribute}`;
      }
      case FWD:
        return this.#tag(id);
      default:
        return 'void';
    }
  }

  #anonymous(id: number, indent: string): string {
    return `${this.#table.kind(id) === STRUCT ? 'struct' : 'union'} ${this.#body(id, indent)}`;
  }

  #int(id: number): string {
    const table = this.#table;
    const encoding = (table.word(table.head(id) + 3) >>> 24) & 15;
    return spellInt(table.name(id), table.sizeOrType(id), encoding, table.pointerSize).text;
  }

  #parameters(id: number, indent: string): string {
    const table = this.#table;
    const count = table.vlen(id);
    const head = table.head(id);
    // clang writes `(void)` as one parameter of type void.
    if (count === 0 || (count === 1 && table.word(head + 4) === 0)) return '(void)';
    if (++this.#depth > maxDepth) throw loopError(table.btf, id);
    let text = '(';
    for (let i = 0; i < count; i++) {
      const name = table.word(head + 3 + i * 2);
      const typeId = table.word(head + 4 + i * 2);
      if (i > 0) text += ', ';
      if (typeId === 0 && name === 0 && i === count - 1) text += '...';
      else text += this.#declaration(typeId, name === 0 ? '' : toIdentifier(table.string(name)), indent);
    }
    this.#depth--;
    return `${text})`;
  }

  /** Braces, members and attributes of a struct or union. */
  #body(id: number, indent: string): string {
    const table = this.#table;
    const count = table.vlen(id);
    const size = table.sizeOrType(id);
    const isStruct = table.kind(id) === STRUCT;
    const bitfields = table.flag(id);
    const packed = this.#layout.isPacked(id);
    const lead = `\n${indent}\t`;
    this.#spend(id, count + 1);
    if (++this.#depth > maxDepth) throw loopError(table.btf, id);
    let text = '{';
    /** First bit after the members so far. */
    let end = 0;
    for (let i = 0, at = table.head(id) + 3; i < count; i++, at += 3) {
      const typeId = table.word(at + 1);
      const place = table.word(at + 2);
      const offset = bitfields ? place & 0xffffff : place;
      const width = bitfields ? place >>> 24 : oddIntWidth(table, typeId);
      const name = table.word(at) === 0 ? '' : toIdentifier(table.string(table.word(at)));
      const inlined = this.#inlined(at);
      if (name === '' && inlined === 0) continue;
      const bits = width === 0 ? table.size(typeId) * 8 : width;
      if (isStruct) {
        if (offset < end) {
          text += `${lead}/* ${name} overlaps, from bit ${offset} */`;
          continue;
        }
        if (this.#nextPlace(end, typeId, width, packed) !== offset) text += padding(end, offset, table.pointerSize, lead);
      }
      end = isStruct ? offset + bits : Math.max(end, bits);
      if (inlined > 0) text += `${lead}${this.#anonymous(inlined, `${indent}\t`)};`;
      else text += `${lead}${this.#declaration(typeId, name, `${indent}\t`)}${width === 0 ? '' : `: ${width}`};`;
    }
    const align = this.#layout.align(id);
    if (Math.ceil(end / (align * 8)) * align < size) {
      if (isStruct) text += padding(end, size * 8, table.pointerSize, lead);
      else text += `${lead}struct {${padding(0, size * 8, table.pointerSize, `${lead}\t`)}${lead}};`;
    }
    text += text === '{' ? '}' : `\n${indent}}`;
    this.#depth--;
    if (!packed) return text;
    return `${text} __attribute__((packed${align > 1 ? `, aligned(${align})` : ''}))`;
  }

  /** Where the compiler puts a member that follows bit `end` without padding of ours. */
  #nextPlace(end: number, typeId: number, width: number, packed: boolean): number {
    if (width === 0) {
      const align = packed ? 8 : this.#layout.align(typeId) * 8;
      return Math.ceil(end / align) * align;
    }
    if (packed) return end;
    const align = this.#layout.align(typeId) * 8;
    const crosses = (end % align) + width > this.#table.size(typeId) * 8;
    return crosses ? Math.ceil(end / align) * align : end;
  }

  #spend(id: number, members: number): void {
    this.#budget -= members;
    if (this.#budget < 0) {
      throw new FormatError({
        code: 'E_BTF_SIZE',
        what: 'the types written out would have no end',
        where: { ...this.#table.btf.where(), id },
      });
    }
  }
}

/** Text for C before C23, where true, false and bool are keywords. */
function beforeC23(text: string): string {
  return `#if !defined(__STDC_VERSION__) || __STDC_VERSION__ < 202311L\n${text}#endif\n\n`;
}

/** A type tag as clang takes it; what could be anything else in the C text is left out. */
function typeTag(name: string, attribute: boolean): string {
  if (!/^\w+(\(\w+\))?$/.test(name)) return '';
  return attribute ? ` __attribute__((${name}))` : ` __attribute__((btf_type_tag("${name}")))`;
}
