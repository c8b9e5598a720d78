import { has, word, type CharSet } from './char-set.ts';
import type { Assertion } from './node.ts';
import { parseRegex } from './parser.ts';
import { compileProgram, type Step } from './program.ts';

/** What stands beside a place: the text's edge, a line feed, a word's character, or another. */
const edge = 0;
const lineFeed = 1;
const wordChar = 2;
const otherChar = 3;

/** Transitions that are kept; beyond that they are made anew, so that no text makes them grow. */
const tableLimit = 1 << 18;
const unknown = 0;
const accepted = -1;

/**
 * A regular expression of RE2's syntax whose time is linear in the text, whatever either says: a finite automaton, of which the
 * states that texts lead to are made when they are first needed and kept within bounds.
 *
 * Throws RegexError (`E_REGEX`) with the character's index for what cannot be read, and for lookaround and backreferences.
 */
export class Regex {
  readonly #steps: readonly Step[];
  /** First code points of the classes: no set tells two code points of a class apart. */
  readonly #starts: Uint32Array;
  readonly #sides: Uint8Array;
  readonly #ascii = new Uint16Array(128);
  /** By class: which sets of characters hold it. */
  readonly #members: ReadonlyMap<CharSet, Uint8Array>;
  readonly #width: number;
  #states: DfaState[] = [];
  #byKey = new Map<string, DfaState>();
  readonly #seen: Uint32Array;
  #generation = 0;

  constructor(pattern: string) {
    this.#steps = compileProgram(parseRegex(pattern), pattern);
    const sets = [...new Set(this.#steps.flatMap((step) => (step.kind === 'chars' ? [step.set] : [])))];
    const starts = new Set<number>([0, 10, 11]);
    for (const set of [...sets, word]) {
      for (let i = 0; i < set.length; i += 2) starts.add(set[i] as number).add((set[i + 1] as number) + 1);
    }
    this.#starts = Uint32Array.from(starts).toSorted();
    this.#width = this.#starts.length + 1;
    this.#sides = Uint8Array.from(this.#starts, (code) => (code === 10 ? lineFeed : has(word, code) ? wordChar : otherChar));
    for (let code = 0; code < 128; code++) this.#ascii[code] = this.#search(code);
    this.#members = new Map(sets.map((set) => [set, Uint8Array.from(this.#starts, (code) => (has(set, code) ? 1 : 0))]));
    this.#seen = new Uint32Array(this.#steps.length);
    this.#reset();
  }

  /** Whether the expression matches somewhere in the text. */
  test(text: string): boolean {
    let state = this.#states[0] as DfaState;
    const { length } = text;
    for (let i = 0; i < length; i++) {
      let code = text.charCodeAt(i);
      let group: number;
      if (code < 128) group = this.#ascii[code] as number;
      else {
        code = text.codePointAt(i) as number;
        if (code > 0xffff) i++;
        group = this.#search(code);
      }
      const next = state.next[group] as number;
      if (next === accepted) return true;
      if (next !== unknown) state = this.#states[next] as DfaState;
      else {
        const made = this.#step(state, group);
        if (made === null) return true;
        state = made;
      }
    }
    const last = this.#width - 1;
    if (state.next[last] === unknown) state.next[last] = this.#close(state, edge) === null ? accepted : 1;
    return state.next[last] === accepted;
  }

  #search(code: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] as number) <= code) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #reset(): void {
    this.#states = [];
    this.#byKey = new Map();
    this.#state([this.#steps.length - 1], edge);
  }

  #state(places: readonly number[], side: number): DfaState {
    const key = `${side}:${places.toSorted((a, b) => a - b).join(',')}`;
    const have = this.#byKey.get(key);
    if (have !== undefined) return have;
    const made = { index: this.#states.length, places, side, next: new Int32Array(this.#width) };
    this.#states.push(made);
    this.#byKey.set(key, made);
    return made;
  }

  /** The state behind a character of a class; null where the expression has matched before it. */
  #step(state: DfaState, group: number): DfaState | null {
    const side = this.#sides[group] as number;
    const readers = this.#close(state, side);
    if (readers === null) {
      state.next[group] = accepted;
      return null;
    }
    // It may begin behind every character.
    const places = new Set([this.#steps.length - 1]);
    for (const step of readers) if (this.#members.get(step.set)?.[group] === 1) places.add(step.next);
    if (this.#states.length * this.#width > tableLimit) {
      this.#reset();
      return this.#state([...places], side);
    }
    const made = this.#state([...places], side);
    // Never 0, which means unknown: that is the state at the text's edge, to which no character leads.
    state.next[group] = made.index;
    return made;
  }

  /** The steps that read a character, of those that a state leads to without one; null where one of them is the end. */
  #close(state: DfaState, after: number): (Step & { kind: 'chars' })[] | null {
    const generation = ++this.#generation;
    const open = [...state.places];
    const readers: (Step & { kind: 'chars' })[] = [];
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      if (this.#seen[place] === generation) continue;
      this.#seen[place] = generation;
      const step = this.#steps[place] as Step;
      if (step.kind === 'match') return null;
      if (step.kind === 'chars') readers.push(step);
      else if (step.kind === 'fork') open.push(step.next, step.other);
      else if (holds(step.assertion, state.side, after)) open.push(step.next);
    }
    return readers;
  }
}

/** A state of the automaton: where in the program it may be, and what stands before. */
interface DfaState {
  readonly index: number;
  readonly places: readonly number[];
  readonly side: number;
  /** By class of the next character: the index of a state, `accepted` or `unknown`; the last is the text's end. */
  readonly next: Int32Array;
}

function holds(assertion: Assertion, before: number, after: number): boolean {
  switch (assertion) {
    case 'text-start':
      return before === edge;
    case 'text-end':
      return after === edge;
    case 'line-start':
      return before === edge || before === lineFeed;
    case 'line-end':
      return after === edge || after === lineFeed;
    case 'word-boundary':
      return (before === wordChar) !== (after === wordChar);
    case 'no-word-boundary':
      return (before === wordChar) === (after === wordChar);
  }
}
