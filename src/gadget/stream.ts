import type { GadgetRun } from './run.ts';
import type { EventObject } from './tree.ts';

/** How much {@link eventStream} keeps in memory. */
export interface EventStreamOptions {
  /** Events that may wait for the consumer before the rest stays in the kernel's buffer; 4096 unless said. */
  readonly maxQueued?: number;
}

/**
 * Starts a run and gives its decoded events as they come. A consumer that is slower than the events leaves them in the kernel's
 * buffer; what does not fit there is lost, and counted. Ending the loop stops the run.
 */
export function eventStream(run: GadgetRun, options: EventStreamOptions = {}): AsyncGenerator<EventObject, void, undefined> {
  const maxQueued = options.maxQueued ?? 4096;
  let queue: EventObject[] = [];
  let wake: (() => void) | null = null;
  let ended = false;
  let failure: { readonly error: unknown } | null = null;
  let paused = false;
  const notify = (): void => {
    wake?.();
    wake = null;
  };
  run.start({
    event(source, record) {
      queue.push(source.decode(record));
      if (queue.length < maxQueued || paused) return;
      paused = true;
      run.pause();
    },
    batch(source, records) {
      for (const record of records) queue.push(source.decode(record));
    },
    batchEnd: notify,
  });
  run.done
    .catch((error: unknown) => (failure = { error }))
    .finally(() => {
      ended = true;
      notify();
    });
  const stream = (async function* events(): AsyncGenerator<EventObject, void, undefined> {
    try {
      for (;;) {
        const batch = queue;
        queue = [];
        yield* batch;
        if (queue.length > 0) continue;
        if (ended) break;
        const more = new Promise<void>((resolve) => (wake = resolve));
        if (paused) {
          paused = false;
          run.resume();
        }
        await more;
      }
      if (failure !== null) throw (failure as { readonly error: unknown }).error;
    } finally {
      run.stop();
    }
  })();
  // A generator that was never asked for anything has no finally to run.
  const leave = stream.return.bind(stream);
  stream.return = (value) => {
    run.stop();
    return leave(value);
  };
  return stream;
}
