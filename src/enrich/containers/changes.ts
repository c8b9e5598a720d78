import type { ContainerChange } from './container.ts';

/** Tells changes to whoever listens, by callback and by `for await`. */
export class Changes {
  readonly #listeners = new Set<(change: ContainerChange) => void>();
  readonly #ends = new Set<() => void>();
  readonly #onConsumers: (any: boolean) => void;
  #consumers = 0;
  #closed = false;

  /** `onConsumers` is told whether any loop waits for changes: those keep the process alive. */
  constructor(onConsumers: (any: boolean) => void) {
    this.#onConsumers = onConsumers;
  }

  tell(change: ContainerChange): void {
    for (const listener of this.#listeners) listener(change);
  }

  on(listener: (change: ContainerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Changes from now on. What one container went through while the consumer was busy is told as one change, the last. */
  stream(): AsyncIterable<ContainerChange> {
    const waiting = new Map<number, ContainerChange>();
    let wake: (() => void) | null = null;
    const notify = (): void => {
      wake?.();
      wake = null;
    };
    const off = this.on((change) => {
      const before = waiting.get(change.container.serial);
      // One that came and went unseen never was.
      if (before?.type === 'added' && change.type === 'removed') waiting.delete(change.container.serial);
      else waiting.set(change.container.serial, before?.type === 'added' ? { ...change, type: 'added' } : change);
      notify();
    });
    this.#ends.add(notify);
    const ended = (): boolean => this.#closed;
    const count = (by: number): void => this.#count(by);
    let state = 'new' as 'new' | 'waited for' | 'left';
    const leave = (): void => {
      if (state === 'waited for') count(-1);
      state = 'left';
      off();
      this.#ends.delete(notify);
    };
    const stream = (async function* changes() {
      if (state === 'left') return;
      state = 'waited for';
      count(1);
      try {
        for (;;) {
          const batch = [...waiting.values()];
          waiting.clear();
          yield* batch;
          if (waiting.size > 0) continue;
          if (ended()) return;
          await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        leave();
      }
    })();
    // A generator that was never asked for anything has no finally to run.
    const end = stream.return.bind(stream);
    stream.return = (value) => {
      leave();
      return end(value);
    };
    return stream;
  }

  close(): void {
    this.#closed = true;
    for (const end of this.#ends) end();
  }

  #count(by: number): void {
    this.#consumers += by;
    if (!this.#closed) this.#onConsumers(this.#consumers > 0);
  }
}
