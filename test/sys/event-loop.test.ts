import t from 'tap';
import { EventLoop, type Pollable, type TurnResult } from '../../src/sys/event-loop.ts';
import { FakeBackend } from '../../src/sys/fake-backend.ts';
import { Sys } from '../../src/sys/sys.ts';

/** As with node:ffi and in worker threads: nobody tells when a descriptor is readable. */
class Unwatched extends Sys {
  override watch(): null {
    return null;
  }
}

/** Turns that a source with the given results gets, and the delays of the timers that lead to them. */
async function delaysOf(results: readonly TurnResult[]): Promise<number[]> {
  const delays: number[] = [];
  const { setTimeout } = globalThis;
  globalThis.setTimeout = ((work: () => void, delay: number) => {
    delays.push(delay);
    return setTimeout(work, 0);
  }) as typeof setTimeout;
  try {
    const loop = new EventLoop(new Unwatched(new FakeBackend('x64', () => 3), 'x64'));
    await new Promise<void>((resolve) => {
      let turns = 0;
      const source: Pollable = {
        pollFds: [5],
        pollIntervalMs: 0,
        turn() {
          const result = results[turns++];
          if (result !== undefined) return result;
          loop.remove(source);
          resolve();
          return 'idle';
        },
      };
      loop.add(source);
    });
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  return delays;
}

void t.test('without a watch memory in which something was found is looked at again after a millisecond, not ever later', async (test) => {
  test.same(await delaysOf(['drained', 'drained', 'drained', 'drained', 'drained']), [1, 1, 1, 1, 1]);
});

void t.test('without a watch an idle source is looked at ever later, until something is there', async (test) => {
  const delays = await delaysOf(['idle', 'idle', 'idle', 'idle', 'idle', 'idle', 'drained', 'idle']);
  test.same(delays, [2, 4, 8, 16, 32, 32, 1, 2]);
});
