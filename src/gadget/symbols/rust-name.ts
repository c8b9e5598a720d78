/**
 * A name of Rust's newer scheme ("v0", `_R...`) as rustc's own tools show it, without hashes of crates; null for what is not
 * understood. Source: rustc's symbol-mangling documentation (RFC 2603); spelled as by c++filt -i.
 */
export function demangleRust(name: string): string | null {
  if (!name.startsWith('_R')) return null;
  try {
    const reader = new RustReader(name);
    reader.path(true);
    return reader.text;
  } catch (error) {
    if (error instanceof Unreadable) return null;
    throw error;
  }
}

class Unreadable extends Error {}

const maxText = 16_384;
const maxDepth = 200;

/** Types of one letter. */
const basicTypes: ReadonlyMap<string, string> = new Map(
  Object.entries({
    a: 'i8',
    b: 'bool',
    c: 'char',
    d: 'f64',
    e: 'str',
    f: 'f32',
    h: 'u8',
    i: 'isize',
    j: 'usize',
    l: 'i32',
    m: 'u32',
    n: 'i128',
    o: 'u128',
    p: '_',
    s: 'i16',
    t: 'u16',
    u: '()',
    v: '...',
    x: 'i64',
    y: 'u64',
    z: '!',
  }),
);

interface Identifier {
  readonly name: string;
  readonly disambiguator: bigint;
}

/** Reads and prints at once, so that references back cost no memory. */
class RustReader {
  text = '';
  readonly #mangled: string;
  #at = 2;
  #depth = 0;
  /** Lifetimes that are bound here. */
  #lifetimes = 0;
  #isSilent = false;

  constructor(mangled: string) {
    this.#mangled = mangled;
  }

  /** In types, arguments follow without `::`. Throws Unreadable. */
  path(isValue: boolean): void {
    this.#nested(() => this.#pathHere(isValue));
  }

  #put(words: string): void {
    if (this.#isSilent) return;
    this.text += words;
    if (this.text.length > maxText) throw new Unreadable('too long');
  }

  #nested(read: () => void): void {
    if (++this.#depth > maxDepth) throw new Unreadable('too deep');
    read();
    this.#depth--;
  }

  #next(): string {
    const letter = this.#mangled.charAt(this.#at++);
    if (letter === '') throw new Unreadable('cut off');
    return letter;
  }

  #take(letter: string): boolean {
    if (this.#mangled.charAt(this.#at) !== letter) return false;
    this.#at++;
    return true;
  }

  /** In base 62, with `_` at its end. */
  #base62(): bigint {
    if (this.#take('_')) return 0n;
    let value = 0n;
    for (;;) {
      const letter = this.#next();
      if (letter === '_') return value + 1n;
      const digit = '0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'.indexOf(letter);
      if (digit < 0 || value > 1n << 64n) throw new Unreadable('no number');
      value = value * 62n + BigInt(digit);
    }
  }

  /** A number behind a letter that need not be there: 0 without, else one more than it says. */
  #optional(letter: string): bigint {
    return this.#take(letter) ? this.#base62() + 1n : 0n;
  }

  #identifier(): Identifier {
    const disambiguator = this.#optional('s');
    const isPunycode = this.#take('u');
    const digits = /^(?:0|[1-9]\d{0,4})/.exec(this.#mangled.slice(this.#at, this.#at + 5))?.[0];
    if (digits === undefined) throw new Unreadable('no name');
    this.#at += digits.length;
    this.#take('_');
    const end = this.#at + Number(digits);
    if (end > this.#mangled.length) throw new Unreadable('cut off');
    const name = this.#mangled.slice(this.#at, end);
    this.#at = end;
    return { name: isPunycode ? fromPunycode(name) : name, disambiguator };
  }

  /** Reads again what was read before. */
  #back(read: () => void): void {
    const from = this.#at - 1;
    const target = Number(this.#base62()) + 2;
    if (target >= from) throw new Unreadable('no reference back');
    if (this.#isSilent) return;
    const after = this.#at;
    this.#at = target;
    this.#nested(read);
    this.#at = after;
  }

  #pathHere(isValue: boolean): void {
    const tag = this.#next();
    switch (tag) {
      case 'C':
        return this.#put(this.#identifier().name);
      case 'N':
        return this.#inner(isValue);
      case 'M':
      case 'X':
        // Where the impl stands.
        this.#optional('s');
        this.#silently(() => this.path(false));
        return this.#implementation(tag === 'X');
      case 'Y':
        return this.#implementation(true);
      case 'I':
        this.path(isValue);
        this.#put(isValue ? '::<' : '<');
        this.#list('E', () => this.#argument());
        return this.#put('>');
      case 'B':
        return this.#back(() => this.path(isValue));
      default:
        throw new Unreadable(`no path ${tag}`);
    }
  }

  #inner(isValue: boolean): void {
    const space = this.#next();
    this.path(isValue);
    const { name, disambiguator } = this.#identifier();
    if (/^[A-Z]$/.test(space)) {
      const kind = space === 'C' ? 'closure' : space === 'S' ? 'shim' : space;
      this.#put(`::{${kind}${name === '' ? '' : `:${name}`}#${disambiguator}}`);
    } else if (name !== '') this.#put(`::${name}`);
  }

  #implementation(ofTrait: boolean): void {
    this.#put('<');
    this.#type();
    if (ofTrait) {
      this.#put(' as ');
      this.path(false);
    }
    this.#put('>');
  }

  #silently(read: () => void): void {
    const outer = this.#isSilent;
    this.#isSilent = true;
    read();
    this.#isSilent = outer;
  }

  #list(end: string, read: () => void): number {
    let count = 0;
    while (!this.#take(end)) {
      if (count++ > 0) this.#put(', ');
      read();
    }
    return count;
  }

  #argument(): void {
    if (this.#take('L')) this.#put(this.#lifetime());
    else if (this.#take('K')) this.#constant();
    else this.#type();
  }

  /** 0 is one that was erased, 1 the innermost that is bound. */
  #lifetime(): string {
    const index = Number(this.#base62());
    if (index === 0) return "'_";
    const depth = this.#lifetimes - index;
    if (depth < 0) throw new Unreadable('an unbound lifetime');
    return depth < 26 ? `'${String.fromCodePoint(97 + depth)}` : `'_${depth}`;
  }

  /** Reads what may bind lifetimes first. */
  #bound(read: () => void): void {
    const outer = this.#lifetimes;
    const count = Number(this.#optional('G'));
    if (count > 64) throw new Unreadable('too many lifetimes');
    if (count > 0) {
      const names: string[] = [];
      for (let i = 0; i < count; i++) {
        const depth = this.#lifetimes++;
        names.push(depth < 26 ? `'${String.fromCodePoint(97 + depth)}` : `'_${depth}`);
      }
      this.#put(`for<${names.join(', ')}> `);
    }
    read();
    this.#lifetimes = outer;
  }

  #type(): void {
    this.#nested(() => this.#typeHere());
  }

  #typeHere(): void {
    const tag = this.#next();
    const basic = basicTypes.get(tag);
    if (basic !== undefined) return this.#put(basic);
    switch (tag) {
      case 'A':
      case 'S':
        this.#put('[');
        this.#type();
        if (tag === 'A') {
          this.#put('; ');
          this.#constant();
        }
        return this.#put(']');
      case 'T': {
        this.#put('(');
        const count = this.#list('E', () => this.#type());
        return this.#put(count === 1 ? ',)' : ')');
      }
      case 'R':
      case 'Q': {
        this.#put('&');
        const lifetime = this.#take('L') ? this.#lifetime() : "'_";
        if (lifetime !== "'_") this.#put(`${lifetime} `);
        if (tag === 'Q') this.#put('mut ');
        return this.#type();
      }
      case 'P':
      case 'O':
        this.#put(tag === 'P' ? '*const ' : '*mut ');
        return this.#type();
      case 'F':
        return this.#bound(() => this.#function());
      case 'D':
        return this.#dyn();
      case 'B':
        return this.#back(() => this.#type());
      default:
        this.#at--;
        return this.path(false);
    }
  }

  #function(): void {
    if (this.#take('U')) this.#put('unsafe ');
    if (this.#take('K')) this.#put(`extern "${this.#take('C') ? 'C' : this.#identifier().name.replaceAll('_', '-')}" `);
    this.#put('fn(');
    this.#list('E', () => this.#type());
    this.#put(')');
    if (this.#take('u')) return;
    this.#put(' -> ');
    this.#type();
  }

  #dyn(): void {
    this.#put('dyn ');
    this.#bound(() => {
      let isFirst = true;
      while (!this.#take('E')) {
        if (!isFirst) this.#put(' + ');
        isFirst = false;
        this.#trait();
      }
    });
    if (!this.#take('L')) throw new Unreadable('no lifetime');
    const lifetime = this.#lifetime();
    if (lifetime !== "'_") this.#put(` + ${lifetime}`);
  }

  /** With what its associated types are, among its arguments. */
  #trait(): void {
    let isOpen = this.#openPath();
    while (this.#take('p')) {
      this.#put(isOpen ? ', ' : '<');
      isOpen = true;
      this.#put(`${this.#identifier().name} = `);
      this.#type();
    }
    if (isOpen) this.#put('>');
  }

  /** A path whose list of arguments, if it has one, is not closed: true then. */
  #openPath(): boolean {
    let isOpen = false;
    this.#nested(() => {
      if (this.#take('B')) this.#back(() => (isOpen = this.#openPath()));
      else if (this.#take('I')) {
        this.path(false);
        this.#put('<');
        this.#list('E', () => this.#argument());
        isOpen = true;
      } else this.path(false);
    });
    return isOpen;
  }

  #constant(): void {
    this.#nested(() => this.#constantHere());
  }

  #constantHere(): void {
    const tag = this.#next();
    if (tag === 'p') return this.#put('_');
    if (tag === 'B') return this.#back(() => this.#constant());
    if (!'abchijlmnostxy'.includes(tag)) throw new Unreadable(`no constant ${tag}`);
    const isNegative = 'ailnsx'.includes(tag) && this.#take('n');
    const digits = /^[\da-f]{0,32}_/.exec(this.#mangled.slice(this.#at, this.#at + 33))?.[0];
    if (digits === undefined) throw new Unreadable('no constant');
    this.#at += digits.length;
    const value = BigInt(`0x0${digits.slice(0, -1)}`);
    if (tag === 'b') return this.#put(value === 1n ? 'true' : 'false');
    if (tag === 'c') return this.#put(`'${character(Number(value))}'`);
    this.#put(`${isNegative ? '-' : ''}${value}`);
  }
}

function character(code: number): string {
  return code >= 0x20 && code < 0x7f && code !== 0x27 && code !== 0x5c ? String.fromCodePoint(code) : `\\u{${code.toString(16)}}`;
}

/** RFC 3492, with `_` for the `-` before the digits. */
function fromPunycode(encoded: string): string {
  const split = encoded.lastIndexOf('_');
  const letters = split < 0 ? [] : Array.from(encoded.slice(0, split));
  let [code, index, bias, delta] = [128, 0, 72, 0];
  let at = split + 1;
  while (at < encoded.length) {
    const before = index;
    let weight = 1;
    for (let step = 36; ; step += 36) {
      const digit = 'abcdefghijklmnopqrstuvwxyz0123456789'.indexOf(encoded.charAt(at++) || '-');
      if (digit < 0) throw new Unreadable('no punycode');
      index += digit * weight;
      const threshold = step <= bias ? 1 : Math.min(step - bias, 26);
      if (digit < threshold) break;
      weight *= 36 - threshold;
      if (index > 0x7fffffff || weight > 0x7fffffff) throw new Unreadable('no punycode');
    }
    const count = letters.length + 1;
    delta = Math.floor((index - before) / (before === 0 ? 700 : 2));
    delta += Math.floor(delta / count);
    bias = 0;
    while (delta > 455) {
      delta = Math.floor(delta / 35);
      bias += 36;
    }
    bias += Math.floor((36 * delta) / (delta + 38));
    code += Math.floor(index / count);
    index %= count;
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000) || code < 0xa0) throw new Unreadable('no character');
    letters.splice(index++, 0, String.fromCodePoint(code));
  }
  return letters.join('');
}
