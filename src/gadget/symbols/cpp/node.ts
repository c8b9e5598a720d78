/** What a mangled name of C++ is made of. Types are printed on both sides of what they are the type of: `void (*)(int)`. */
export type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'scoped'; readonly scope: Node; readonly name: Node }
  | { readonly kind: 'template'; readonly name: Node; readonly args: readonly Node[] }
  /** What stands for several arguments. */
  | { readonly kind: 'pack'; readonly items: readonly Node[] }
  | { readonly kind: 'expansion'; readonly pattern: Node }
  /** `quals` with a space before each: ` const`. */
  | { readonly kind: 'qualified'; readonly inner: Node; readonly quals: string }
  | { readonly kind: 'pointer'; readonly inner: Node; readonly mark: '*' | '&' | '&&' }
  | { readonly kind: 'memberPointer'; readonly scope: Node; readonly inner: Node }
  | { readonly kind: 'function'; readonly result: Node; readonly params: readonly Node[]; readonly quals: string }
  | { readonly kind: 'array'; readonly inner: Node; readonly size: Node | null }
  /** A function with its parameters; what it gives is not shown where something inside it is meant. */
  | { readonly kind: 'entity'; readonly name: Node; readonly params: readonly Node[]; readonly quals: string; readonly result: Node | null }
  /** A name and what is said of it in brackets. */
  | { readonly kind: 'tagged'; readonly name: Node; readonly tag: string }
  | { readonly kind: 'parts'; readonly parts: readonly (string | Node)[] }
  /** A template's parameter; its argument may come later in the name. */
  | { readonly kind: 'param'; argument: Node | null };

export function text(words: string): Node {
  return { kind: 'text', text: words };
}

export function parts(...of: readonly (string | Node)[]): Node {
  return { kind: 'parts', parts: of };
}

/** What a constructor is called: the last part of its class's name, without arguments. */
export function baseName(node: Node): Node {
  switch (node.kind) {
    case 'scoped':
    case 'template':
    case 'tagged':
      return baseName(node.name);
    case 'param':
      return node.argument === null ? node : baseName(node.argument);
    default:
      return node;
  }
}

/** Longer names are not for people. */
const maxText = 16_384;
const maxDepth = 256;

/** Thrown where a name becomes too long or too deep. */
export class TooMuch extends Error {}

/** Prints as c++filt of binutils does. */
export function print(node: Node): string {
  const printer = new Printer();
  printer.whole(node);
  return printer.text;
}

class Printer {
  text = '';
  #depth = 0;
  /** Which of a pack's items is meant; null outside of expansions. */
  #item: number | null = null;

  whole(node: Node): void {
    this.#left(node);
    this.#right(node);
  }

  #put(words: string): void {
    this.text += words;
    if (this.text.length > maxText) throw new TooMuch('the name is too long');
  }

  #left(node: Node): void {
    if (++this.#depth > maxDepth) throw new TooMuch('the name is too deep');
    this.#leftOf(node);
    this.#depth--;
  }

  #leftOf(node: Node): void {
    switch (node.kind) {
      case 'text':
        return this.#put(node.text);
      case 'scoped':
        this.whole(node.scope);
        this.#put('::');
        return this.whole(node.name);
      case 'template':
        this.whole(node.name);
        if (this.text.endsWith('<')) this.#put(' ');
        this.#put('<');
        // As binutils has it, an empty pack at the end takes the space away too.
        return this.#put(!this.#list(node.args) && this.text.endsWith('>') ? ' >' : '>');
      case 'pack':
        return this.#item === null ? void this.#list(node.items) : this.#itemOf(node.items, (item) => this.#left(item));
      case 'expansion':
        return this.#expand(node.pattern);
      case 'qualified':
        this.#left(node.inner);
        return this.#put(node.quals);
      case 'pointer':
        return this.#leftOfPointer(node.inner, node.mark);
      case 'memberPointer':
        this.#left(node.inner);
        if (this.#resolved(node.inner).kind === 'function') this.#put('(');
        else if (!this.text.endsWith('(')) this.#put(' ');
        this.whole(node.scope);
        return this.#put('::*');
      case 'function':
        this.#left(node.result);
        // A function that gives a function: what it gives is written around it.
        return this.#isAround(node.result) ? undefined : this.#put(' ');
      case 'array':
        return this.#left(node.inner);
      case 'entity':
        this.whole(node.name);
        this.#parameters(node.params);
        return this.#put(node.quals);
      case 'tagged':
        this.whole(node.name);
        return this.#put(node.tag);
      case 'parts':
        for (const part of node.parts) {
          if (typeof part === 'string') this.#put(part);
          else this.whole(part);
        }
        return;
      case 'param':
        if (node.argument === null) throw new TooMuch('a parameter without argument');
        this.#left(node.argument);
    }
  }

  #right(node: Node): void {
    if (++this.#depth > maxDepth) throw new TooMuch('the name is too deep');
    switch (node.kind) {
      case 'pack':
        if (this.#item !== null) this.#itemOf(node.items, (item) => this.#right(item));
        break;
      case 'qualified':
        this.#right(node.inner);
        break;
      case 'pointer': {
        const target = this.#target(node.inner, node.mark);
        if (isGrouped(this.#resolved(target.inner))) this.#put(')');
        this.#right(target.inner);
        break;
      }
      case 'memberPointer':
        if (this.#resolved(node.inner).kind === 'function') this.#put(')');
        this.#right(node.inner);
        break;
      case 'function':
        this.#parameters(node.params);
        this.#put(node.quals);
        this.#right(node.result);
        break;
      case 'array':
        this.#put(this.text.endsWith(']') ? '[' : ' [');
        if (node.size !== null) this.whole(node.size);
        this.#put(']');
        this.#right(node.inner);
        break;
      case 'param':
        if (node.argument !== null) this.#right(node.argument);
        break;
      default:
    }
    this.#depth--;
  }

  #leftOfPointer(of: Node, as: '*' | '&' | '&&'): void {
    const { inner, mark } = this.#target(of, as);
    this.#left(inner);
    const target = this.#resolved(inner);
    if (target.kind === 'array') this.#put(' (');
    if (target.kind === 'function') this.#put('(');
    this.#put(mark);
  }

  #isAround(result: Node): boolean {
    const of = this.#resolved(result);
    return (of.kind === 'pointer' || of.kind === 'memberPointer') && isGrouped(this.#resolved(of.inner));
  }

  /** A reference to a reference is one: && only where both are. */
  #target(inner: Node, mark: '*' | '&' | '&&'): { readonly inner: Node; readonly mark: '*' | '&' | '&&' } {
    let of = this.#resolved(inner);
    let as = mark;
    if (as === '*') return { inner, mark };
    for (let depth = 0; of.kind === 'pointer' && of.mark !== '*' && depth < maxDepth; depth++) {
      if (of.mark === '&') as = '&';
      ({ inner } = of);
      of = this.#resolved(inner);
    }
    return { inner, mark: as };
  }

  /** What a parameter stands for. */
  #resolved(node: Node): Node {
    let at = node;
    for (let depth = 0; depth < maxDepth; depth++) {
      if (at.kind === 'param' && at.argument !== null) at = at.argument;
      else if (at.kind === 'pack' && this.#item !== null) at = at.items[this.#item] ?? at;
      else break;
      if (at.kind === 'pack' && this.#item === null) break;
    }
    return at;
  }

  #itemOf(items: readonly Node[], then: (item: Node) => void): void {
    const item = items[this.#item ?? 0];
    if (item !== undefined) then(item);
  }

  #parameters(params: readonly Node[]): void {
    const [only] = params;
    this.#put('(');
    if (params.length !== 1 || only?.kind !== 'text' || only.text !== 'void') this.#list(params);
    this.#put(')');
  }

  /** Empty packs leave no comma behind; true if the last was one. */
  #list(nodes: readonly Node[]): boolean {
    let isFirst = true;
    let isCut = false;
    for (const node of nodes) {
      const before = this.text;
      if (!isFirst) this.#put(', ');
      const from = this.text.length;
      this.whole(node);
      isCut = this.text.length === from && !isFirst;
      if (this.text.length === from) this.text = before;
      else isFirst = false;
    }
    return isCut;
  }

  #expand(pattern: Node): void {
    const count = packSize(pattern, new Set(), 0);
    if (count === null) {
      this.whole(pattern);
      return this.#put('...');
    }
    const outer = this.#item;
    for (let i = 0; i < count; i++) {
      this.#item = i;
      if (i > 0) this.#put(', ');
      this.whole(pattern);
    }
    this.#item = outer;
  }
}

function isGrouped({ kind }: Node): boolean {
  return kind === 'function' || kind === 'array';
}

/**
 * How many items the first pack in a pattern has; null where there is none. What was looked at is not looked at again: a name can
 * refer back to its parts so often that they would be 2^60.
 */
function packSize(node: Node, seen: Set<Node>, depth: number): number | null {
  if (depth > 64) throw new TooMuch('the name is too deep');
  if (node.kind === 'pack') return node.items.length;
  if (seen.has(node)) return null;
  seen.add(node);
  for (const child of childrenOf(node)) {
    const size = packSize(child, seen, depth + 1);
    if (size !== null) return size;
  }
  return null;
}

function childrenOf(node: Node): readonly Node[] {
  switch (node.kind) {
    case 'scoped':
      return [node.scope, node.name];
    case 'template':
      return [node.name, ...node.args];
    case 'qualified':
    case 'pointer':
      return [node.inner];
    case 'memberPointer':
      return [node.scope, node.inner];
    case 'function':
      return [node.result, ...node.params];
    case 'array':
      return node.size === null ? [node.inner] : [node.inner, node.size];
    case 'entity':
      return [node.name, ...node.params];
    case 'tagged':
      return [node.name];
    case 'parts':
      return node.parts.filter((part) => typeof part !== 'string');
    case 'param':
      return node.argument === null ? [] : [node.argument];
    default:
      return [];
  }
}
