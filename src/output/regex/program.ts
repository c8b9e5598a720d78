import type { CharSet } from './char-set.ts';
import type { Assertion, RegexNode } from './node.ts';
import { RegexError } from './regex-error.ts';

/** One step of the automaton: a character to read, a condition, a fork, or the end. */
export type Step =
  | { readonly kind: 'chars'; readonly set: CharSet; readonly next: number }
  | { readonly kind: 'assertion'; readonly assertion: Assertion; readonly next: number }
  | { kind: 'fork'; next: number; other: number }
  | { readonly kind: 'match' };

const stepLimit = 10_000;

/** Writes an expression as steps of which the first is the last one: each is written behind what follows it. */
export function compileProgram(node: RegexNode, pattern: string): readonly Step[] {
  return new Writer(pattern).whole(node);
}

class Writer {
  readonly #pattern: string;
  readonly #steps: Step[] = [{ kind: 'match' }];
  #work = 0;

  constructor(pattern: string) {
    this.#pattern = pattern;
  }

  whole(node: RegexNode): readonly Step[] {
    const start = this.#write(node, 0);
    // The last is where it begins.
    this.#add({ kind: 'fork', next: start, other: start });
    return this.#steps;
  }

  #add(step: Step): number {
    return this.#steps.push(step) - 1;
  }

  /** The place where `node` begins if `next` comes after it. */
  #write(node: RegexNode, next: number, at = 0): number {
    // Nested counts multiply, also those of nothing.
    if (++this.#work > 4 * stepLimit || this.#steps.length > stepLimit)
      throw new RegexError(this.#pattern, at, 'an expression that becomes too large');
    switch (node.kind) {
      case 'chars':
        return this.#add({ kind: 'chars', set: node.set, next });
      case 'assertion':
        return this.#add({ kind: 'assertion', assertion: node.assertion, next });
      case 'sequence':
        return node.nodes.reduceRight((after, each) => this.#write(each, after, at), next);
      case 'choice':
        return node.nodes
          .map((each) => this.#write(each, next, at))
          .reduceRight((other, first) => this.#add({ kind: 'fork', next: first, other }));
      case 'repeat':
        return this.#repeat(node, next);
    }
  }

  #repeat({ node, min, max, at }: RegexNode & { kind: 'repeat' }, next: number): number {
    let start = next;
    if (max === Infinity) {
      const fork: Step & { kind: 'fork' } = { kind: 'fork', next, other: next };
      start = this.#add(fork);
      fork.next = this.#write(node, start, at);
    } else {
      for (let i = min; i < max; i++) start = this.#add({ kind: 'fork', next: this.#write(node, start, at), other: next });
    }
    for (let i = 0; i < min; i++) start = this.#write(node, start, at);
    return start;
  }
}
