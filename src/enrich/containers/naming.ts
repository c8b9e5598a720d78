import { mergeNames } from '../runtimes/join.ts';
import type { NameQuery, NameSource, RuntimeNames } from './names.ts';

/** Milliseconds between questions about one container that nobody knows yet: a runtime may learn of it after the kernel. */
const waits = [20, 50, 100, 200, 400, 800];
/** Of those, when the runtimes do not answer any more. */
const absentRounds = 3;
/** Questions at a time: a burst of containers would make each answer late. */
const atOnce = 16;
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

/** Asks for names, a few containers at a time. Questions are counted, not time: a process that was stopped has missed no answer. */
export class Naming {
  readonly #source: NameSource;
  readonly #queue: { readonly one: Nameless; readonly round: number }[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #early = new Map<string, RuntimeNames>();
  #asking = 0;
  #closed = false;
  #present = false;

  constructor(source: NameSource) {
    this.#source = source;
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
    this.#queue.push({ one, round: 0 });
    this.#next();
  }

  close(): void {
    this.#closed = true;
    this.#queue.length = 0;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }

  #next(): void {
    while (!this.#closed && this.#asking < atOnce) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      if (!next.one.wanted) continue;
      this.#asking++;
      void this.#ask(next.one, next.round).finally(() => {
        this.#asking--;
        this.#next();
      });
    }
  }

  async #ask(one: Nameless, round: number): Promise<void> {
    const { query } = one;
    const answer = this.#source.present ? await this.#source.lookup(query) : null;
    // What was said unasked is less, but it is there while a runtime is too busy to answer.
    const early = query.id === '' ? null : this.early(query.id);
    const names = answer !== null && early !== null ? mergeNames(answer, early) : (answer ?? early);
    if (this.#closed || !one.wanted) return;
    // The runtime below knows a process, not what it is called.
    const isWhole = names !== null && (names.containerName !== '' || names.sandbox);
    if (isWhole) return one.named(names);
    const wait = waits[round];
    // One that does not answer may still tell what it told everybody; one that never was there tells nothing.
    if (wait === undefined || !this.#wasPresent || (!this.#source.present && round >= absentRounds)) {
      if (names === null) one.unnamed();
      else one.named(names);
      return;
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#queue.push({ one, round: round + 1 });
      this.#next();
    }, wait);
    timer.unref();
    this.#timers.add(timer);
  }
}
