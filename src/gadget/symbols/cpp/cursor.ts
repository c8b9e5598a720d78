/** Thrown inside the reader for what is no name, or none that it knows; never leaves it. */
export class Unreadable extends Error {}

/** Reads a mangled name from the front. */
export class MangledCursor {
  readonly text: string;
  at: number;
  #depth = 0;

  constructor(text: string, at: number) {
    this.text = text;
    this.at = at;
  }

  /** The next character, '' at the end. */
  peek(ahead = 0): string {
    return this.text.charAt(this.at + ahead);
  }

  /** Whether the next characters are these; they are taken then. */
  take(words: string): boolean {
    if (!this.text.startsWith(words, this.at)) return false;
    this.at += words.length;
    return true;
  }

  expect(words: string): void {
    if (!this.take(words)) throw new Unreadable(`no ${words} at ${this.at}`);
  }

  isAtEnd(): boolean {
    return this.at >= this.text.length;
  }

  /** A number, `n` before it for minus; null where none is next. */
  number(): number | null {
    const start = this.at;
    const isNegative = this.take('n');
    let value = 0;
    const from = this.at;
    while (this.peek() >= '0' && this.peek() <= '9' && this.at - from < 9) value = value * 10 + Number(this.text.charAt(this.at++));
    if (this.at === from) {
      this.at = start;
      return null;
    }
    return isNegative ? -value : value;
  }

  /** The index that a sequence of digits and capitals (base 36) and a `_` stand for: `_` is 0, `0_` 1. */
  sequence(): number {
    let value = 0;
    let isFirst = true;
    for (;;) {
      const next = this.text.charAt(this.at++);
      if (next === '_') return isFirst ? 0 : value + 1;
      if (!/^[\dA-Z]$/.test(next) || value > 1e6) throw new Unreadable(`no sequence at ${this.at}`);
      value = value * 36 + Number.parseInt(next, 36);
      isFirst = false;
    }
  }

  /** As many characters as the number before them says; null where no number is next. */
  source(): string | null {
    if (!/^[1-9]$/.test(this.peek())) return null;
    const length = this.number() ?? 0;
    if (this.at + length > this.text.length) throw new Unreadable('a name is cut off');
    this.at += length;
    return this.text.slice(this.at - length, this.at);
  }

  /** Reads something that may hold others of its kind: so many levels deep at most. */
  nested<T>(read: () => T): T {
    if (++this.#depth > 200) throw new Unreadable('too deep');
    const result = read();
    this.#depth--;
    return result;
  }
}
