import { charSet, complement, digit, foldCase, lastCodePoint, posixSets, space, unicodeSet, word, type CharSet } from './char-set.ts';
import type { Assertion, RegexNode } from './node.ts';
import { RegexError } from './regex-error.ts';

const depthLimit = 250;
/** RE2's own bound of a counted repetition. */
const repeatLimit = 1000;

const escapes: ReadonlyMap<string, number> = new Map([
  ['a', 7],
  ['f', 12],
  ['n', 10],
  ['r', 13],
  ['t', 9],
  ['v', 11],
]);

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiline: boolean;
  readonly dotAll: boolean;
}

/** Reads a regular expression of RE2's syntax. Throws RegexError with the character's index. */
export function parseRegex(pattern: string): RegexNode {
  return new RegexParser(pattern).whole();
}

class RegexParser {
  readonly #pattern: string;
  #at = 0;
  #depth = 0;
  #flags: Flags = { ignoreCase: false, multiline: false, dotAll: false };

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  whole(): RegexNode {
    const node = this.#choice();
    if (this.#at < this.#pattern.length) this.#fail(this.#at, 'unexpected )');
    return node;
  }

  #choice(): RegexNode {
    const nodes = [this.#sequence()];
    while (this.#take('|')) nodes.push(this.#sequence());
    return nodes.length === 1 ? (nodes[0] as RegexNode) : { kind: 'choice', nodes };
  }

  #sequence(): RegexNode {
    const nodes: RegexNode[] = [];
    while (this.#at < this.#pattern.length && !this.#sees('|') && !this.#sees(')')) {
      if (this.#take('\\Q')) {
        nodes.push(...this.#quoted());
        continue;
      }
      const at = this.#at;
      const atom = this.#atom();
      if (atom !== null) nodes.push(this.#repeats(atom, at));
    }
    return { kind: 'sequence', nodes };
  }

  /** Up to `\E` or the end; a repetition behind it is of the last character. */
  #quoted(): RegexNode[] {
    const start = this.#at;
    const end = this.#pattern.indexOf('\\E', start);
    const text = this.#pattern.slice(start, end === -1 ? undefined : end);
    this.#at = end === -1 ? this.#pattern.length : end + 2;
    const nodes = Array.from(text, (char) => this.#literal(char.codePointAt(0) as number));
    const last = nodes.pop();
    return last === undefined ? [] : [...nodes, this.#repeats(last, start)];
  }

  #repeats(node: RegexNode, at: number): RegexNode {
    const start = this.#at;
    const bounds = this.#bounds();
    if (bounds === null) return node;
    const [min, max] = bounds;
    if (min > max) this.#fail(start, 'a repetition whose bounds are the wrong way round');
    if (min > repeatLimit || (max !== Infinity && max > repeatLimit)) this.#fail(start, `a repetition of more than ${repeatLimit}`);
    this.#take('?'); // lazy: which way matched is not asked
    if (/^(?:[*+?]|\{\d+(?:,\d*)?\})/.test(this.#pattern.slice(this.#at, this.#at + 16)))
      this.#fail(this.#at, 'a repetition of a repetition');
    return { kind: 'repeat', node, min, max, at };
  }

  #bounds(): readonly [number, number] | null {
    if (this.#take('*')) return [0, Infinity];
    if (this.#take('+')) return [1, Infinity];
    if (this.#take('?')) return [0, 1];
    const match = /^\{(\d+)(,(\d*))?\}/.exec(this.#pattern.slice(this.#at, this.#at + 32));
    if (match === null) return null;
    const [text, min = '', comma, max = ''] = match;
    this.#at += text.length;
    return [Number(min), comma === undefined ? Number(min) : max === '' ? Infinity : Number(max)];
  }

  #atom(): RegexNode | null {
    const at = this.#at;
    const char = this.#next();
    switch (char) {
      case '(':
        return this.#group(at);
      case '[':
        return { kind: 'chars', set: this.#bracket(at) };
      case '.':
        return { kind: 'chars', set: this.#flags.dotAll ? [0, lastCodePoint] : complement([10, 10]) };
      case '^':
        return assertion(this.#flags.multiline ? 'line-start' : 'text-start');
      case '$':
        return assertion(this.#flags.multiline ? 'line-end' : 'text-end');
      case '*':
      case '+':
      case '?':
        return this.#fail(at, `nothing before ${char} to repeat`);
      case '\\':
        return this.#escape(at);
      default:
        return this.#literal(char.codePointAt(0) as number);
    }
  }

  #group(at: number): RegexNode | null {
    if (++this.#depth > depthLimit) this.#fail(at, `groups more than ${depthLimit} deep`);
    const outer = this.#flags;
    if (this.#take('?')) {
      if (/^<?[=!]/.test(this.#pattern.slice(this.#at, this.#at + 2))) {
        this.#fail(at, `${this.#sees('<') ? 'lookbehind' : 'lookahead'} is not supported`);
      }
      const name = /^P?<([A-Za-z_]\w*)>/.exec(this.#pattern.slice(this.#at, this.#at + 256));
      if (name !== null) this.#at += name[0].length;
      else if (this.#setFlags(at)) {
        this.#depth--;
        return null;
      }
    }
    const node = this.#choice();
    if (!this.#take(')')) this.#fail(at, 'a group without its )');
    this.#flags = outer;
    this.#depth--;
    return node;
  }

  /** Flags of `(?i)`, which hold to the end of the group around it (true), or of `(?i:` and `(?:` (false). */
  #setFlags(at: number): boolean {
    const match = /^([imsU]*)(?:-([imsU]+))?([:)])/.exec(this.#pattern.slice(this.#at, this.#at + 32));
    if (match === null) return this.#fail(at, 'an unknown kind of group');
    const [text, on = '', off = '', end] = match;
    if (text === ')') this.#fail(at, 'an unknown kind of group');
    this.#at += text.length;
    const flag = (letter: string, before: boolean): boolean => (on.includes(letter) || before) && !off.includes(letter);
    const { ignoreCase, multiline, dotAll } = this.#flags;
    this.#flags = { ignoreCase: flag('i', ignoreCase), multiline: flag('m', multiline), dotAll: flag('s', dotAll) };
    return end === ')';
  }

  #escape(at: number): RegexNode {
    const assert = assertions.get(this.#pattern[this.#at] ?? '');
    if (assert !== undefined) {
      this.#at++;
      return assertion(assert);
    }
    const set = this.#escapedSet(at);
    return set === null ? this.#literal(this.#escapedCode(at)) : { kind: 'chars', set };
  }

  /** `\d`, `\pL` and so on, behind the backslash; null for a single character. */
  #escapedSet(at: number): CharSet | null {
    const letter = this.#pattern[this.#at] ?? '';
    const perl = perlSets.get(letter.toLowerCase());
    if (perl !== undefined) {
      this.#at++;
      return letter === letter.toLowerCase() ? perl : complement(perl);
    }
    if (letter !== 'p' && letter !== 'P') return null;
    const match = /^[pP](?:\{(\^?)([^}]*)\}|(\w))/.exec(this.#pattern.slice(this.#at, this.#at + 64));
    if (match === null) return this.#fail(at, `\\${letter} without a category`);
    const [text, negation = '', long, short = ''] = match;
    const known = unicodeSet(long ?? short);
    if (known === null) return this.#fail(at, `an unknown Unicode category ${long ?? short}`);
    this.#at += text.length;
    const set = this.#fold(known);
    return (letter === 'P') === (negation === '^') ? set : complement(set);
  }

  #escapedCode(at: number): number {
    if (this.#at >= this.#pattern.length) this.#fail(at, 'a backslash at the end');
    const hex = /^(?:x([\da-fA-F]{2})|x\{([\da-fA-F]{1,6})\}|u([\da-fA-F]{4})|u\{([\da-fA-F]{1,6})\}|0([0-7]{0,2}))/.exec(
      this.#pattern.slice(this.#at, this.#at + 12),
    );
    if (hex !== null) {
      const digits = hex[1] ?? hex[2] ?? hex[3] ?? hex[4];
      const code = digits === undefined ? parseInt(`0${hex[5] ?? ''}`, 8) : parseInt(digits, 16);
      if (code > lastCodePoint) this.#fail(at, 'a character beyond Unicode');
      this.#at += hex[0].length;
      return code;
    }
    const char = this.#next();
    const known = escapes.get(char);
    if (known !== undefined) return known;
    if (/^(?:[1-9]|k)$/.test(char)) this.#fail(at, 'backreferences are not supported');
    if (/^\w$/.test(char)) this.#fail(at, `an unknown escape \\${char}`);
    return char.codePointAt(0) as number;
  }

  #bracket(start: number): CharSet {
    const negated = this.#take('^');
    const ranges: number[] = [];
    for (let isFirst = true; isFirst || !this.#sees(']'); isFirst = false) {
      if (this.#at >= this.#pattern.length) this.#fail(start, 'a set without its ]');
      const set = this.#namedSet();
      if (set !== null) {
        ranges.push(...set);
        continue;
      }
      const at = this.#at;
      const first = this.#member(start);
      if (!this.#sees('-') || this.#pattern[this.#at + 1] === ']') {
        ranges.push(first, first);
        continue;
      }
      this.#at++;
      const last = this.#member(start);
      if (last < first) this.#fail(at, 'a range whose ends are the wrong way round');
      ranges.push(first, last);
    }
    this.#at++;
    const set = this.#fold(charSet(ranges));
    return negated ? complement(set) : set;
  }

  #namedSet(): CharSet | null {
    const at = this.#at;
    const posix = /^\[:(\^?)(\w+):\]/.exec(this.#pattern.slice(at, at + 32));
    if (posix !== null) {
      const set = posixSets.get(posix[2] ?? '');
      if (set === undefined) return this.#fail(at, `an unknown class ${posix[0]}`);
      this.#at += posix[0].length;
      return posix[1] === '^' ? complement(set) : set;
    }
    if (!this.#take('\\')) return null;
    const set = this.#escapedSet(at);
    if (set === null) this.#at = at;
    return set;
  }

  #member(start: number): number {
    const at = this.#at;
    if (at >= this.#pattern.length) this.#fail(start, 'a set without its ]');
    const char = this.#next();
    return char === '\\' ? this.#escapedCode(at) : (char.codePointAt(0) as number);
  }

  #literal(code: number): RegexNode {
    return { kind: 'chars', set: this.#fold([code, code]) };
  }

  #fold(set: CharSet): CharSet {
    return this.#flags.ignoreCase ? foldCase(set) : set;
  }

  #next(): string {
    const char = String.fromCodePoint(this.#pattern.codePointAt(this.#at) as number);
    this.#at += char.length;
    return char;
  }

  #sees(text: string): boolean {
    return this.#pattern.startsWith(text, this.#at);
  }

  #take(text: string): boolean {
    const found = this.#sees(text);
    if (found) this.#at += text.length;
    return found;
  }

  #fail(at: number, why: string): never {
    throw new RegexError(this.#pattern, at, why);
  }
}

const perlSets: ReadonlyMap<string, CharSet> = new Map([
  ['d', digit],
  ['s', space],
  ['w', word],
]);

const assertions: ReadonlyMap<string, Assertion> = new Map([
  ['A', 'text-start'],
  ['z', 'text-end'],
  ['b', 'word-boundary'],
  ['B', 'no-word-boundary'],
]);

function assertion(kind: Assertion): RegexNode {
  return { kind: 'assertion', assertion: kind };
}
