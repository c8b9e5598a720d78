import { mergeNames } from '../runtimes/join.ts';
import { patiently } from '../runtimes/patience.ts';
import type { NameQuery, NameSource, RuntimeNames } from './names.ts';

/** Milliseconds between questions about one container that nobody knows yet: a runtime may learn of it after the kernel. */
const waits = [20, 50, 100, 200, 400, 800];
/** Of those, when the runtimes do not answer any more. */
const absentRounds = 3;
/** Questions at a time: a burst of containers would make each answer late. */
const atOnce = 16;
/** Milliseconds of running after which events wait no longer, however slow the answers are: what is known then has to do. */
const patienceMs = 10_000;
/** Names told before the kernel showed their container. */
const maxEarly = 2048;

/** Something that wants names. */
export interface Nameless {
  readonly query: NameQuery;
  /** False once it wants none any more. */
  readonly wanted: boolean;
  named(names: RuntimeNames): void;
  /** Nobody knew, after several questions. */
  unnamed(): void;
}

/** One whose names are being asked for. */
interface Question {
  readonly one: Nameless;
  readonly round: number;
  /** Ends the wait for an answer. */
  readonly callOff: () => void;
}

/** Asks for names, a few containers at a time. Questions are counted, not time: a process that was stopped has missed no answer. */
export class Naming {
  readonly #source: NameSource;
  readonly #patienceMs: number;
  readonly #queue: Question[] = [];
  readonly #timers = new Set<() => void>();
  readonly #early = new Map<string, RuntimeNames>();
  #asking = 0;
  #closed = false;
  #present = false;

  /** `patience`: see {@link patienceMs}; for tests. */
  constructor(source: NameSource, patience: number = patienceMs) {
    this.#source = source;
    this.#patienceMs = patience;
  }

  /** What a runtime said before anybody asked. */
  remember(id: string, names: RuntimeNames): void {
    const before = this.#early.get(id);
    this.#early.delete(id);
    this.#early.set(id, before === undefined ? names : mergeNames(names, before));
    const [oldest] = this.#early.keys();
    if (this.#early.size > maxEarly && oldest !== undefined) this.#early.delete(oldest);
  }

  early(id: string): RuntimeNames | null {
    return this.#early.get(id) ?? null;
  }

  /** Whether anything has ever answered here. */
  get #wasPresent(): boolean {
    this.#present ||= this.#source.present;
    return this.#present;
  }

  /** False where nobody has anything to say: nothing is to be waited for. */
  get hopeful(): boolean {
    return this.#wasPresent;
  }

  ask(one: Nameless): void {
    const callOff = this.#later(this.#patienceMs, () => this.#answer({ one, round: 0, callOff }, this.#told(one.query)));
    this.#queue.push({ one, round: 0, callOff });
    this.#next();
  }

  /** One question, for which nothing waits; null where nobody knows the name. */
  async askOnce(query: NameQuery): Promise<RuntimeNames | null> {
    const names = this.#closed || !this.#source.present ? null : await this.#source.lookup(query);
    return names !== null && isWhole(names) && !this.#closed ? names : null;
  }

  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    for (const callOff of this.#timers) callOff();
    this.#timers.clear();
  }

  #next(): void {
    while (!this.#closed && this.#asking < atOnce) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      if (!next.one.wanted) continue;
      this.#asking++;
      void this.#ask(next).finally(() => {
        this.#asking--;
        this.#next();
      });
    }
  }

  async #ask(question: Question): Promise<void> {
    const { one, round } = question;
    const { query } = one;
    const answer = this.#source.present ? await this.#source.lookup(query) : null;
    // What was said unasked is less, but it is there while a runtime is too busy to answer.
    const early = this.#told(query);
    const names = answer !== null && early !== null ? mergeNames(answer, early) : (answer ?? early);
    if (this.#closed || !one.wanted) return;
    if (names !== null && isWhole(names)) return this.#answer(question, names);
    const wait = waits[round];
    // One that does not answer may still tell what it told everybody; one that never was there tells nothing.
    if (wait === undefined || !this.#wasPresent || (!this.#source.present && round >= absentRounds)) return this.#answer(question, names);
    this.#later(wait, () => {
      this.#queue.push({ ...question, round: round + 1 });
      this.#next();
    });
  }

  #told({ id }: NameQuery): RuntimeNames | null {
    return id === '' ? null : this.early(id);
  }

  #answer({ one, callOff }: Question, names: RuntimeNames | null): void {
    this.#timers.delete(callOff);
    callOff();
    if (this.#closed || !one.wanted) return;
    if (names === null) one.unnamed();
    else one.named(names);
  }

  /** After milliseconds in which this process ran; returns how to call it off. */
  #later(ms: number, work: () => void): () => void {
    const callOff = patiently(ms, () => {
      this.#timers.delete(callOff);
      work();
    });
    this.#timers.add(callOff);
    return callOff;
  }
}

/** The runtime below knows a process, not what it is called. */
function isWhole({ containerName, sandbox }: RuntimeNames): boolean {
  return containerName !== '' || sandbox;
}
