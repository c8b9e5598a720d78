import { MangledCursor, Unreadable } from './cursor.ts';
import { readExpression, readLiteral, type Surroundings } from './expression.ts';
import { baseName, type Node, parts, text } from './node.ts';
import { abbreviations, builtinTypes, operators } from './tables.ts';

/** Reads what stands behind `_Z`; by the grammar of the Itanium C++ ABI, 5.1, but for modules and constraints. */
export class NameReader {
  readonly #cursor: MangledCursor;
  readonly #substitutions: Node[] = [];
  readonly #around: Surroundings;
  /** The arguments of the function's template: what T_, T0_ ... stand for. */
  #arguments: readonly Node[] = [];
  /** Parameters that were read before their arguments, of a conversion operator's type. */
  #waiting: { readonly index: number; readonly node: Node & { kind: 'param' } }[] | null = null;
  /** Whether a name is the function's own. */
  #isOwn = true;
  #inLambda = false;
  #inConversion = false;

  constructor(mangled: string, at: number) {
    this.#cursor = new MangledCursor(mangled, at);
    this.#around = {
      cursor: this.#cursor,
      type: () => this.#type(),
      templateParam: () => this.#templateParam(),
      templateArgs: () => this.#templateArgs(false),
      encoding: () => this.#encoding(),
      unqualified: () => this.#unqualified(null),
    };
  }

  /** The name; parameters that follow it are left unread. Throws Unreadable. */
  read(): Node {
    return this.#special() ?? this.#name().node;
  }

  /** A function with its parameters, or a variable, inside another name. */
  #encoding(): Node {
    const outer = { given: this.#arguments, waiting: this.#waiting, isOwn: this.#isOwn };
    [this.#arguments, this.#waiting, this.#isOwn] = [[], null, true];
    const node = this.#special() ?? this.#entity();
    [this.#arguments, this.#waiting, this.#isOwn] = [outer.given, outer.waiting, outer.isOwn];
    return node;
  }

  #entity(): Node {
    const cursor = this.#cursor;
    const { node, quals, isTemplate, hasResult } = this.#name();
    if (cursor.isAtEnd() || cursor.peek() === 'E' || cursor.peek() === '.') return node;
    // What a template gives is told too.
    const result = isTemplate && hasResult ? this.#type() : null;
    const params: Node[] = [];
    while (!cursor.isAtEnd() && cursor.peek() !== 'E' && cursor.peek() !== '.') params.push(this.#type());
    return { kind: 'entity', name: node, params, quals, result };
  }

  /** Tables and functions that compilers make: null where the name is no such one. */
  #special(): Node | null {
    const cursor = this.#cursor;
    const [first, second] = [cursor.peek(), cursor.peek(1)];
    if (first === 'G') {
      cursor.at += 2;
      if (second === 'V') return parts('guard variable for ', this.#name().node);
      if (second === 'R') {
        const of = this.#name().node;
        const index = cursor.isAtEnd() || cursor.peek() === 'E' ? 0 : cursor.sequence();
        return parts(`reference temporary #${index} for `, of);
      }
      if (second === 'T') {
        cursor.expect('t');
        return parts('transaction clone for ', this.#encoding());
      }
      throw new Unreadable(`G${second}`);
    }
    if (first !== 'T' || second === '_' || /^\d$/.test(second)) return null;
    cursor.at += 2;
    switch (second) {
      case 'V':
        return parts('vtable for ', this.#type());
      case 'T':
        return parts('VTT for ', this.#type());
      case 'I':
        return parts('typeinfo for ', this.#type());
      case 'S':
        return parts('typeinfo name for ', this.#type());
      case 'H':
        return parts('TLS init function for ', this.#name().node);
      case 'W':
        return parts('TLS wrapper function for ', this.#name().node);
      case 'A':
        return parts('template parameter object for ', this.#templateArg());
      case 'C': {
        const whole = this.#type();
        cursor.number();
        cursor.expect('_');
        return parts('construction vtable for ', this.#type(), '-in-', whole);
      }
      case 'h':
      case 'v':
        cursor.at--;
        this.#callOffset();
        return parts(second === 'h' ? 'non-virtual thunk to ' : 'virtual thunk to ', this.#encoding());
      case 'c':
        this.#callOffset();
        this.#callOffset();
        return parts('covariant return thunk to ', this.#encoding());
      default:
        throw new Unreadable(`T${second}`);
    }
  }

  #callOffset(): void {
    const cursor = this.#cursor;
    const isVirtual = cursor.take('v');
    if (!isVirtual) cursor.expect('h');
    for (let i = isVirtual ? 2 : 1; i > 0; i--) {
      if (cursor.number() === null) throw new Unreadable('no offset');
      cursor.expect('_');
    }
  }

  /** A name, and what the function behind it is known by. */
  #name(): { readonly node: Node; readonly quals: string; readonly isTemplate: boolean; readonly hasResult: boolean } {
    return this.#cursor.nested(() => {
      const cursor = this.#cursor;
      if (cursor.take('N')) return this.#nested();
      if (cursor.take('Z')) return { ...this.#local(), hasResult: true };
      let isSubstitution = false;
      let node: Node;
      const start = cursor.at;
      if (cursor.peek() === 'S' && cursor.peek(1) !== 't') {
        node = this.#substitution();
        isSubstitution = true;
      } else if (cursor.take('St')) node = { kind: 'scoped', scope: text('std'), name: this.#unqualified(text('std')) };
      else node = this.#unqualified(null);
      const hasResult = !cursor.text.startsWith('cv', start);
      if (cursor.peek() !== 'I') return { node, quals: '', isTemplate: false, hasResult };
      if (!isSubstitution) this.#substitutions.push(node);
      return { node: { kind: 'template', name: node, args: this.#templateArgs(this.#isOwn) }, quals: '', isTemplate: true, hasResult };
    });
  }

  #nested(): { readonly node: Node; readonly quals: string; readonly isTemplate: boolean; readonly hasResult: boolean } {
    const cursor = this.#cursor;
    let quals = this.#qualifiers();
    if (cursor.take('R')) quals += ' &';
    else if (cursor.take('O')) quals += ' &&';
    let node: Node | null = null;
    let isTemplate = false;
    let hasResult = true;
    while (!cursor.take('E')) {
      const next = cursor.peek();
      let isKnown = false;
      isTemplate = next === 'I';
      if (next === 'S' && node === null) {
        if (cursor.take('St')) {
          node = text('std');
          isKnown = true;
        } else {
          node = this.#substitution();
          isKnown = true;
        }
      } else if (next === 'I') {
        if (node === null) throw new Unreadable('arguments without a template');
        node = { kind: 'template', name: node, args: this.#templateArgs(this.#isOwn) };
      } else if (next === 'T' && node === null) node = this.#templateParam();
      else if (next === 'D' && /^[Tt]$/.test(cursor.peek(1)) && node === null) {
        node = this.#type();
        isKnown = true;
      } else if (next === 'M' && node !== null) {
        // Of a member's initial value.
        cursor.at++;
        continue;
      } else {
        hasResult = !/^(?:[CD]|cv)/.test(next + cursor.peek(1));
        const own: Node = this.#unqualified(node);
        node = node === null ? own : { kind: 'scoped', scope: node, name: own };
      }
      if (!isKnown && cursor.peek() !== 'E') this.#substitutions.push(node);
      if (cursor.isAtEnd()) throw new Unreadable('a name has no end');
    }
    if (node === null) throw new Unreadable('an empty name');
    return { node, quals, isTemplate, hasResult };
  }

  /** Something inside a function. */
  #local(): { readonly node: Node; readonly quals: string; readonly isTemplate: boolean } {
    const cursor = this.#cursor;
    const scope = this.#encoding();
    cursor.expect('E');
    if (cursor.take('s')) {
      this.#discriminator();
      return { node: { kind: 'scoped', scope, name: text('string literal') }, quals: '', isTemplate: false };
    }
    let inDefault = '';
    if (cursor.take('d')) {
      inDefault = `{default arg#${this.#counted()}}::`;
    }
    const { node, quals, isTemplate } = this.#name();
    this.#discriminator();
    const name = inDefault === '' ? node : parts(inDefault, node);
    return { node: { kind: 'scoped', scope, name }, quals, isTemplate };
  }

  /** Which of several of a name; not shown. */
  #discriminator(): void {
    const cursor = this.#cursor;
    if (cursor.peek() !== '_') return;
    const match = /^_(?:\d|_\d+_)/.exec(cursor.text.slice(cursor.at, cursor.at + 16));
    if (match !== null) cursor.at += match[0].length;
  }

  #unqualified(scope: Node | null): Node {
    const cursor = this.#cursor;
    cursor.take('L');
    const node = this.#plain(scope);
    let tagged = node;
    while (cursor.take('B')) {
      const tag = cursor.source();
      if (tag === null) throw new Unreadable('no tag');
      tagged = { kind: 'tagged', name: tagged, tag: `[abi:${tag}]` };
    }
    return tagged;
  }

  #plain(scope: Node | null): Node {
    const cursor = this.#cursor;
    const source = cursor.source();
    if (source !== null) return text(/^_GLOBAL_[._$]N/.test(source) ? '(anonymous namespace)' : source);
    if (cursor.take('Ut')) {
      return text(`{unnamed type#${this.#counted()}}`);
    }
    if (cursor.take('Ul')) return this.#lambda();
    if (/^[CD]$/.test(cursor.peek())) return this.#constructorOf(scope);
    const code = cursor.peek() + cursor.peek(1);
    cursor.at += 2;
    if (code === 'cv') {
      const outer = this.#inConversion;
      this.#inConversion = true;
      this.#waiting ??= [];
      const to = this.#type();
      this.#inConversion = outer;
      return parts('operator ', to);
    }
    if (code === 'li') return text(`operator"" ${cursor.source() ?? ''}`);
    const found = operators.get(code);
    if (found === undefined) throw new Unreadable(`no operator ${code}`);
    const { sign } = found;
    return text(`operator${/^[a-z]/.test(sign) ? ' ' : ''}${sign.trimEnd()}`);
  }

  #constructorOf(scope: Node | null): Node {
    const cursor = this.#cursor;
    const match = /^(?:CI?[1-5]|D[0-5])/.exec(cursor.text.slice(cursor.at, cursor.at + 3));
    if (match === null || scope === null) throw new Unreadable('no name');
    cursor.at += match[0].length;
    if (match[0].startsWith('CI')) this.#type();
    const base = this.#baseOf(scope);
    return match[0].startsWith('D') ? parts('~', base) : base;
  }

  #baseOf(scope: Node): Node {
    const base = baseName(scope);
    const known = base.kind === 'text' ? [...abbreviations.values()].find(({ name }) => name === base.text) : undefined;
    return known === undefined ? base : text(known.base);
  }

  #lambda(): Node {
    const cursor = this.#cursor;
    const outer = this.#inLambda;
    this.#inLambda = true;
    const params: Node[] = [];
    while (!cursor.take('E')) params.push(this.#type());
    this.#inLambda = outer;
    const index = this.#counted();
    const [only] = params;
    const shown = params.length === 1 && only?.kind === 'text' && only.text === 'void' ? [] : params;
    return parts('{lambda(', ...shown.flatMap((param, i) => (i === 0 ? [param] : [', ', param])), `)#${index}}`);
  }

  /** `_` is the first, `0_` the second. */
  #counted(): number {
    const index = this.#cursor.number();
    this.#cursor.expect('_');
    return index === null ? 1 : index + 2;
  }

  #substitution(): Node {
    const cursor = this.#cursor;
    cursor.expect('S');
    const known = abbreviations.get(cursor.peek());
    if (known !== undefined) {
      cursor.at++;
      let node: Node = text(known.name);
      while (cursor.take('B')) {
        node = { kind: 'tagged', name: node, tag: `[abi:${cursor.source() ?? ''}]` };
        this.#substitutions.push(node);
      }
      return node;
    }
    const found = this.#substitutions[cursor.sequence()];
    if (found === undefined) throw new Unreadable('a reference to what was not said');
    return found;
  }

  #templateParam(): Node {
    const cursor = this.#cursor;
    cursor.expect('T');
    const index = cursor.sequence();
    if (this.#inLambda) return text(`auto:${index + 1}`);
    const found = this.#arguments[index];
    if (found !== undefined && !this.#inConversion) return { kind: 'param', argument: found };
    if (this.#waiting === null) throw new Unreadable('a parameter of no template');
    const node: Node & { kind: 'param' } = { kind: 'param', argument: null };
    this.#waiting.push({ index, node });
    return node;
  }

  /** `isName`: of a name, whose arguments are what parameters stand for from now on. */
  #templateArgs(isName: boolean): readonly Node[] {
    const cursor = this.#cursor;
    return cursor.nested(() => {
      if (!cursor.take('J')) cursor.expect('I');
      const args: Node[] = [];
      const outer = { inConversion: this.#inConversion, isOwn: this.#isOwn };
      [this.#inConversion, this.#isOwn] = [false, false];
      while (!cursor.take('E')) args.push(this.#templateArg());
      [this.#inConversion, this.#isOwn] = [outer.inConversion, outer.isOwn];
      if (!isName) return args;
      this.#arguments = args;
      for (const { index, node } of this.#waiting ?? []) node.argument = args[index] ?? null;
      this.#waiting = null;
      return args;
    });
  }

  #templateArg(): Node {
    const cursor = this.#cursor;
    switch (cursor.peek()) {
      case 'X': {
        cursor.at++;
        const node = readExpression(this.#around);
        cursor.expect('E');
        return node;
      }
      case 'L':
        return readLiteral(this.#around);
      case 'I':
      case 'J':
        return { kind: 'pack', items: this.#templateArgs(false) };
      default:
        return this.#type();
    }
  }

  /** r, V, K: restrict, volatile, const; as text behind a type. */
  #qualifiers(): string {
    const cursor = this.#cursor;
    let quals = '';
    for (;;) {
      if (cursor.take('r')) quals = ` __restrict${quals}`;
      else if (cursor.take('V')) quals = ` volatile${quals}`;
      else if (cursor.take('K')) quals = ` const${quals}`;
      else return quals;
    }
  }

  #type(): Node {
    return this.#cursor.nested(() => this.#typeHere());
  }

  #typeHere(): Node {
    const cursor = this.#cursor;
    const quals = /^[rVK]$/.test(cursor.peek()) ? this.#qualifiers() : '';
    if (quals !== '') {
      const inner = this.#isFunction() ? this.#function() : this.#type();
      return this.#remember(qualified(inner, quals));
    }
    const letter = cursor.peek();
    const two = letter + cursor.peek(1);
    const builtin = builtinTypes.get(letter) ?? (letter === 'D' ? builtinTypes.get(two) : undefined);
    if (builtin !== undefined) {
      cursor.at += builtinTypes.has(letter) ? 1 : 2;
      return text(builtin);
    }
    if (letter === 'S') return this.#typeOfSubstitution();
    if (letter === 'T' && /^[\d_]$/.test(cursor.peek(1))) return this.#typeOfParameter();
    if (this.#isFunction()) return this.#remember(this.#function());
    if (/^[\dNZ]$/.test(letter)) return this.#remember(this.#className());
    return this.#remember(this.#compound(letter, two));
  }

  /** What is in it are no arguments of the function's. */
  #className(): Node {
    const outer = this.#isOwn;
    this.#isOwn = false;
    const { node } = this.#name();
    this.#isOwn = outer;
    return node;
  }

  #remember(node: Node): Node {
    this.#substitutions.push(node);
    return node;
  }

  #typeOfSubstitution(): Node {
    const cursor = this.#cursor;
    if (cursor.peek(1) === 't') return this.#remember(this.#className());
    const node = this.#substitution();
    if (cursor.peek() !== 'I') return node;
    return this.#remember({ kind: 'template', name: node, args: this.#templateArgs(false) });
  }

  #typeOfParameter(): Node {
    const cursor = this.#cursor;
    const node = this.#remember(this.#templateParam());
    if (cursor.peek() !== 'I') return node;
    const start = { at: cursor.at, known: this.#substitutions.length };
    const args = this.#templateArgs(false);
    if (this.#inConversion && cursor.peek() !== 'I') {
      // They are the operator's own.
      cursor.at = start.at;
      this.#substitutions.length = start.known;
      return node;
    }
    return this.#remember({ kind: 'template', name: node, args });
  }

  #compound(letter: string, two: string): Node {
    const cursor = this.#cursor;
    cursor.at++;
    switch (letter) {
      case 'P':
        return { kind: 'pointer', inner: this.#type(), mark: '*' };
      case 'R':
        return { kind: 'pointer', inner: this.#type(), mark: '&' };
      case 'O':
        return { kind: 'pointer', inner: this.#type(), mark: '&&' };
      case 'C':
        return { kind: 'qualified', inner: this.#type(), quals: ' _Complex' };
      case 'G':
        return { kind: 'qualified', inner: this.#type(), quals: ' _Imaginary' };
      case 'u': {
        const name = cursor.source();
        if (name === null) throw new Unreadable('no type');
        return cursor.peek() === 'I' ? { kind: 'template', name: text(name), args: this.#templateArgs(false) } : text(name);
      }
      case 'U': {
        const name = cursor.source();
        if (name === null) throw new Unreadable('no qualifier');
        const args = cursor.peek() === 'I' ? this.#templateArgs(false) : null;
        const inner = this.#type();
        return args === null ? qualified(inner, ` ${name}`) : parts(inner, ' ', { kind: 'template', name: text(name), args });
      }
      case 'A':
        return this.#array();
      case 'M': {
        const scope = this.#type();
        return { kind: 'memberPointer', scope, inner: this.#type() };
      }
      case 'D':
        cursor.at++;
        return this.#typeOfD(two);
      default:
        throw new Unreadable(`no type ${two}`);
    }
  }

  #typeOfD(two: string): Node {
    const cursor = this.#cursor;
    switch (two) {
      case 'Dp':
        return { kind: 'expansion', pattern: this.#type() };
      case 'Dt':
      case 'DT': {
        const of = readExpression(this.#around);
        cursor.expect('E');
        return parts('decltype (', of, ')');
      }
      case 'Dv': {
        const size = cursor.take('_') ? readExpression(this.#around) : text(String(cursor.number() ?? ''));
        cursor.expect('_');
        return parts(this.#type(), ' __vector(', size, ')');
      }
      case 'DF': {
        const bits = cursor.number();
        return text(cursor.take('x') ? `_Float${bits}x` : (cursor.expect('_'), `_Float${bits}`));
      }
      default:
        throw new Unreadable(`no type ${two}`);
    }
  }

  #array(): Node {
    const cursor = this.#cursor;
    let size: Node | null = null;
    if (cursor.peek() !== '_') {
      const number = /^\d$/.test(cursor.peek()) ? cursor.number() : null;
      size = number === null ? readExpression(this.#around) : text(String(number));
    }
    cursor.expect('_');
    return { kind: 'array', inner: this.#type(), size };
  }

  #isFunction(): boolean {
    return /^(?:F|Do|DO|Dw|Dx)/.test(this.#cursor.peek() + this.#cursor.peek(1));
  }

  #function(): Node {
    const cursor = this.#cursor;
    let quals = '';
    if (cursor.take('Do')) quals = ' noexcept';
    else if (cursor.take('DO')) {
      throw new Unreadable('noexcept of an expression');
    } else if (cursor.take('Dw')) {
      throw new Unreadable('throw');
    } else if (cursor.take('Dx')) quals = ' transaction_safe';
    cursor.expect('F');
    cursor.take('Y');
    const result = this.#type();
    const params: Node[] = [];
    while (!cursor.take('E')) {
      if (/^[RO]E$/.test(cursor.peek() + cursor.peek(1))) {
        quals = (cursor.peek() === 'R' ? ' &' : ' &&') + quals;
        cursor.at++;
      } else params.push(this.#type());
    }
    return { kind: 'function', result, params, quals };
  }
}

/** Those of a function belong behind its parameters, those of an array to what is in it. */
function qualified(inner: Node, quals: string): Node {
  if (inner.kind === 'function') return { ...inner, quals: quals + inner.quals };
  if (inner.kind === 'array') return { ...inner, inner: qualified(inner.inner, quals) };
  return { kind: 'qualified', inner, quals };
}
