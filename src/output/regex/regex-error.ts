import { UsageError } from '../../error.ts';

/** A regular expression that cannot be read, or that no linear-time engine can have. */
export class RegexError extends UsageError {
  /** Index of the character that it is about, from 0. */
  readonly position: number;

  constructor(pattern: string, position: number, why: string) {
    super({
      code: 'E_REGEX',
      what: `bad regular expression ${pattern}`,
      where: { character: position + 1 },
      why: `${why}, at character ${position + 1}`,
      next: "the syntax is RE2's: no lookahead or lookbehind, no backreferences",
    });
    this.position = position;
  }
}
