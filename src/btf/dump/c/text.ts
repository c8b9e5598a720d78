import { FormatError } from '../../../error.ts';
import { BTF_KIND } from '../../types.ts';
import { loopError, type TypeTable } from '../table.ts';
import { DeclaratorStack, qualifier } from './declarator.ts';
import { writeEnum } from './enum.ts';
import type { CLayout } from './layout.ts';
import { NameArena } from './name-arena.ts';
import { NameSpaces, tagKind } from './name-spaces.ts';
import { Output, phrase } from './output.ts';
import { writePadding } from './padding.ts';
import { spellFloat, spellInt } from './scalar.ts';

const { INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, FUNC_PROTO, FLOAT, ENUM64 } = BTF_KIND;

/** Bodies and parameter lists in each other nest no deeper than this in any program. */
const maxDepth = 200;

const space = 0x20;
const star = 0x2a;
const semicolon = 0x3b;
const words = {
  struct: phrase('struct '),
  union: phrase('union '),
  enum: phrase('enum '),
  const: phrase('const'),
  volatile: phrase('volatile'),
  restrict: phrase('restrict'),
  open: phrase('{'),
  close: phrase('}'),
  openParen: phrase('('),
  closeParen: phrase(')'),
  noParameters: phrase('(void)'),
  separator: phrase(', '),
  more: phrase('...'),
  width: phrase(': '),
  void: phrase('void'),
} as const;

/** Writes declarations and bodies of types; what they need has been written before. */
export class CText {
  readonly out: Output = new Output();
  readonly #table: TypeTable;
  readonly #layout: CLayout;
  readonly #arena: NameArena;
  readonly #names: NameSpaces;
  /** Offset of the name that a type has been given, 0 before. */
  readonly #nameOf: Uint32Array;
  /** Spelling of INTs and FLOATs by type id. */
  readonly #scalars = new Map<number, Uint8Array>();
  readonly #stack: DeclaratorStack;
  #depth = 0;
  /** Members that may still be written: a hostile BTF of anonymous structs in each other would never end. */
  #budget: number;

  constructor(table: TypeTable, layout: CLayout) {
    this.#table = table;
    this.#layout = layout;
    this.#arena = new NameArena(table.btf);
    this.#names = new NameSpaces(this.#arena, table.count);
    this.#nameOf = new Uint32Array(table.count);
    this.#stack = new DeclaratorStack(table);
    this.#budget = table.words.length * 16 + 65536;
  }

  /** Takes a name at file scope away from all definitions; gives the name that was had. */
  reserve(name: string): string {
    return this.#arena.string(this.#names.identifier(this.#arena.add(name)));
  }

  /** `struct name`, `union name` or `enum name`. */
  tag(id: number): void {
    const table = this.#table;
    const kind = table.kind(id);
    const isUnion = kind === UNION || (kind === FWD && table.flag(id));
    const isEnum = kind === ENUM || kind === ENUM64;
    let name = this.#nameOf[id] as number;
    if (name === 0) {
      const wanted = isEnum ? tagKind.enum : isUnion ? tagKind.union : tagKind.struct;
      const own = table.nameOffset(id);
      name = kind === FWD ? this.#names.declareTag(own, wanted) : this.#names.defineTag(own, wanted);
      this.#nameOf[id] = name;
    }
    this.out.put(isEnum ? words.enum : isUnion ? words.union : words.struct);
    this.#arena.write(name, this.out);
  }

  /** Offset of a typedef's name. */
  typedefName(id: number): number {
    let name = this.#nameOf[id] as number;
    if (name === 0) {
      name = this.#names.identifier(this.#table.nameOffset(id));
      this.#nameOf[id] = name;
    }
    return name;
  }

  /** True where the name at an offset is this one. */
  isNamed(name: number, text: string): boolean {
    const { bytes } = this.#arena;
    for (let i = 0; i < text.length; i++) if (bytes[name + i] !== text.charCodeAt(i)) return false;
    return bytes[name + text.length] === 0;
  }

  /** A name that is not the BTF's, for {@link declaration}. */
  addName(name: string): number {
    return this.#arena.add(name);
  }

  /** Values and attributes of an enum, from its brace on; true where it holds C23's true and false and nothing else. */
  enumBody(id: number, depth: number): boolean {
    return writeEnum(this.#table, id, this.#names, this.#arena, this.out, depth);
  }

  /** A type with a name in it, as `int (*name)[3]`; 0 is none, and what is no identifier is made one. */
  declaration(typeId: number, name: number, depth: number): void {
    const stack = this.#stack;
    const start = stack.top;
    stack.walk(typeId);
    const end = stack.top;
    const { baseQualifiers, baseTags } = stack;
    this.#qualifiers(baseQualifiers & ~qualifier.restrict);
    if ((baseQualifiers & ~qualifier.restrict) !== 0) this.out.char(space);
    this.#base(stack.baseId, depth);
    if (baseTags !== null) for (const tag of baseTags) this.#typeTag(tag, true);
    if (name !== 0 || end > start) this.out.char(space);
    if (end > start) this.#before(start, end, name !== 0);
    if (name !== 0) this.#arena.writeIdentifier(name, this.out);
    if (end > start) this.#after(start, end, depth);
    stack.top = start;
  }

  /** Stars and parentheses in front of the name, from the base outwards. */
  #before(start: number, end: number, named: boolean): void {
    const stack = this.#stack;
    const { out } = this;
    for (let i = end - 1; i >= start; i--) {
      if (this.#table.kind(stack.ids[i] as number) !== PTR) continue;
      if (this.#opensParenthesis(i, end)) out.put(words.openParen);
      out.char(star);
      const bits = stack.qualifiers[i] as number;
      const tags = stack.tags[i] ?? null;
      if (tags !== null) {
        for (const [k, tag] of tags.entries()) this.#typeTag(tag, k > 0);
        out.char(space);
      }
      if (bits === 0) continue;
      this.#qualifiers(bits);
      if (named || i > start) out.char(space);
    }
  }

  /** Brackets, parameters and parentheses after the name, from the name outwards. */
  #after(start: number, end: number, depth: number): void {
    const stack = this.#stack;
    const table = this.#table;
    const { out } = this;
    for (let i = start; i < end; i++) {
      const id = stack.ids[i] as number;
      switch (table.kind(id)) {
        case PTR:
          if (this.#opensParenthesis(i, end)) out.put(words.closeParen);
          break;
        case ARRAY:
          out.char(0x5b);
          out.number(table.word(table.head(id) + 5));
          out.char(0x5d);
          break;
        case FUNC_PROTO:
          this.#parameters(id, depth);
          break;
        default:
      }
    }
  }

  /** A pointer to an array or a function stands in parentheses with what is before it. */
  #opensParenthesis(i: number, end: number): boolean {
    return i + 1 < end && this.#table.kind(this.#stack.ids[i + 1] as number) !== PTR;
  }

  #qualifiers(bits: number): void {
    if (bits === 0) return;
    const { out } = this;
    if ((bits & qualifier.const) !== 0) out.put(words.const);
    if ((bits & qualifier.volatile) !== 0) {
      if ((bits & qualifier.const) !== 0) out.char(space);
      out.put(words.volatile);
    }
    if ((bits & qualifier.restrict) !== 0) {
      if ((bits & ~qualifier.restrict) !== 0) out.char(space);
      out.put(words.restrict);
    }
  }

  #base(id: number, depth: number): void {
    const table = this.#table;
    switch (table.kind(id)) {
      case INT:
      case FLOAT:
        this.out.put(this.#scalars.get(id) ?? this.#scalar(id));
        break;
      case TYPEDEF:
        this.#arena.write(this.typedefName(id), this.out);
        break;
      case STRUCT:
      case UNION:
        if (table.isNamed(id)) this.tag(id);
        else this.anonymous(id, depth);
        break;
      case ENUM:
      case ENUM64:
        if (table.isNamed(id)) this.tag(id);
        else {
          this.out.put(words.enum);
          this.enumBody(id, depth);
        }
        break;
      case FWD:
        this.tag(id);
        break;
      default:
        this.out.put(words.void);
    }
  }

  #scalar(id: number): Uint8Array {
    const table = this.#table;
    const size = table.sizeOrType(id);
    const encoding = (table.word(table.head(id) + 3) >>> 24) & 15;
    const { text } = table.kind(id) === INT ? spellInt(table.name(id), size, encoding, table.pointerSize) : spellFloat(size);
    const bytes = phrase(text);
    this.#scalars.set(id, bytes);
    return bytes;
  }

  #typeTag(id: number, lead: boolean): void {
    const name = this.#table.name(id);
    // What could be anything else in C is left out.
    if (!/^\w+(\(\w+\))?$/.test(name)) return;
    const text = this.#table.flag(id) ? `__attribute__((${name}))` : `__attribute__((btf_type_tag("${name}")))`;
    this.out.text(lead ? ` ${text}` : text);
  }

  #parameters(id: number, depth: number): void {
    const table = this.#table;
    const count = table.vlen(id);
    const head = table.head(id);
    const { out } = this;
    // clang writes `(void)` as one parameter of type void.
    if (count === 0 || (count === 1 && table.word(head + 4) === 0)) {
      out.put(words.noParameters);
      return;
    }
    this.#spend(id, count);
    if (++this.#depth > maxDepth) throw loopError(table.btf, id);
    out.put(words.openParen);
    for (let i = 0; i < count; i++) {
      const name = table.word(head + 3 + i * 2);
      const typeId = table.word(head + 4 + i * 2);
      if (i > 0) out.put(words.separator);
      if (typeId === 0 && name === 0 && i === count - 1) out.put(words.more);
      else this.declaration(typeId, name, depth);
    }
    out.put(words.closeParen);
    this.#depth--;
  }

  /** A struct or union without a tag, or as if it had none. */
  anonymous(id: number, depth: number): void {
    this.out.put(this.#table.kind(id) === STRUCT ? words.struct : words.union);
    this.body(id, depth);
  }

  /** Braces, members and attributes of a struct or union. */
  body(id: number, depth: number): void {
    const table = this.#table;
    const layout = this.#layout;
    const { out } = this;
    const count = table.vlen(id);
    const size = table.sizeOrType(id);
    const isStruct = table.kind(id) === STRUCT;
    const bitfields = table.flag(id);
    const packed = layout.isPacked(id);
    this.#spend(id, count + 1);
    if (++this.#depth > maxDepth) throw loopError(table.btf, id);
    out.put(words.open);
    const empty = out.length;
    /** First bit after the members so far. */
    let end = 0;
    for (let i = 0, at = table.head(id) + 3; i < count; i++, at += 3) {
      const typeId = table.word(at + 1);
      const place = table.word(at + 2);
      const offset = bitfields ? place & 0xffffff : place;
      const width = bitfields ? place >>> 24 : layout.oddIntWidth(typeId);
      const inlined = inlinedMember(table, at);
      if (table.word(at) === 0 && inlined === 0) continue;
      const name = table.word(at);
      const bits = width === 0 ? table.size(typeId) * 8 : width;
      if (isStruct) {
        if (offset < end) {
          out.line(depth + 1);
          out.text(`/* ${name === 0 ? '' : this.#arena.string(this.#arena.identifier(name))} overlaps, from bit ${offset} */`);
          continue;
        }
        if (offset > end && layout.nextPlace(end, typeId, width, packed) !== offset)
          writePadding(out, end, offset, table.pointerSize, depth + 1);
      }
      end = isStruct ? offset + bits : Math.max(end, bits);
      out.line(depth + 1);
      if (inlined > 0) this.anonymous(inlined, depth + 1);
      else this.declaration(typeId, name, depth + 1);
      if (width > 0) {
        out.put(words.width);
        out.number(width);
      }
      out.char(semicolon);
    }
    const align = layout.align(id);
    if (Math.ceil(end / (align * 8)) * align < size) this.#fill(isStruct, end, size, depth + 1);
    if (out.length !== empty) out.line(depth);
    out.put(words.close);
    if (packed) out.text(` __attribute__((packed${align > 1 ? `, aligned(${align})` : ''}))`);
    this.#depth--;
  }

  /** Brings a struct or union to its size. */
  #fill(isStruct: boolean, end: number, size: number, depth: number): void {
    const { out } = this;
    if (isStruct) {
      writePadding(out, end, size * 8, this.#table.pointerSize, depth);
      return;
    }
    out.line(depth);
    out.text('struct {');
    writePadding(out, 0, size * 8, this.#table.pointerSize, depth + 1);
    out.line(depth);
    out.text('};');
  }

  #spend(id: number, members: number): void {
    this.#budget -= members;
    if (this.#budget < 0) throw endless(this.#table, id);
  }
}

export function endless(table: TypeTable, id: number): FormatError {
  return new FormatError({ code: 'E_BTF_SIZE', what: 'the types written out would have no end', where: { ...table.btf.where(), id } });
}

/**
 * The struct or union whose members stand for the unnamed member at this word; 0 where the member has a name.
 * With -fms-extensions (kernels since 6.19) it may have a tag or a typedef, which standard C does not allow here.
 */
export function inlinedMember(table: TypeTable, at: number): number {
  if (table.word(at) !== 0) return 0;
  const id = table.resolve(table.word(at + 1));
  return table.kind(id) === STRUCT || table.kind(id) === UNION ? id : 0;
}
