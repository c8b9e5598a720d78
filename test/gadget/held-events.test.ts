import t from 'tap';
import { HeldEvents, judgeOf, type Lane } from '../../src/gadget/held-events.ts';
import type { Verdict } from '../../src/gadget/part.ts';
import { sourceFixture } from './fixture.ts';

/** Events of one byte that counts; `verdicts` says what is thought of each. */
function lanes(verdicts: Map<number, Verdict>): { lane: Lane; out: number[] } {
  const { source } = sourceFixture('event');
  const out: number[] = [];
  return {
    out,
    lane: {
      source,
      judge: (record, last) =>
        last && verdicts.get(record.view.getUint8(0)) === 'hold' ? 'drop' : (verdicts.get(record.view.getUint8(0)) ?? 'show'),
      deliver: (record) => out.push(record.view.getUint8(record.offset)),
    },
  };
}

const push = (held: HeldEvents, lane: Lane, ...values: readonly number[]): void => {
  for (const value of values) held.push(lane, new DataView(Uint8Array.of(0xff, value).buffer), 1, 1);
};

void t.test('held events come out in their order, as soon as those before them are decided', (t) => {
  const verdicts = new Map<number, Verdict>([
    [1, 'hold'],
    [3, 'hold'],
    [4, 'drop'],
  ]);
  const { lane, out } = lanes(verdicts);
  const held = new HeldEvents(1 << 20);
  push(held, lane, 1, 2, 3, 4, 5);
  held.release();
  t.same(out, [], 'nothing passes an undecided event');
  verdicts.set(1, 'show');
  held.release();
  t.same(out, [1, 2], 'up to the next undecided one');
  t.equal(held.length, 3);
  verdicts.set(3, 'drop');
  held.release();
  t.same(out, [1, 2, 5]);
  t.equal(held.length, 0);
  t.equal(held.bytes, 0);
  t.end();
});

void t.test('a judge that finds out more of others while it is asked takes no event away', (t) => {
  const verdicts = new Map<number, Verdict>([[5, 'hold']]);
  const { lane, out } = lanes(verdicts);
  const held = new HeldEvents(1 << 20);
  const curious: Lane = {
    ...lane,
    judge(record, last) {
      held.release();
      return lane.judge?.(record, last) ?? 'show';
    },
  };
  push(held, curious, 1, 2, 3, 4, 5);
  held.release();
  t.same(out, [1, 2, 3, 4], 'each once');
  t.equal(held.length, 1);
  held.release(true);
  t.same(out, [1, 2, 3, 4], 'and the last one dropped');
  t.equal(held.length, 0);
  t.end();
});

void t.test('at the end nothing is held any longer', (t) => {
  const { lane, out } = lanes(new Map<number, Verdict>([[2, 'hold']]));
  const held = new HeldEvents(1 << 20);
  push(held, lane, 1, 2, 3);
  held.release(true);
  t.same(out, [1, 3], 'who does not know at the end is taken at its last word');
  t.end();
});

void t.test('what is held is bounded: the oldest are decided as things are', (t) => {
  const verdicts = new Map<number, Verdict>([[1, 'hold']]);
  const { lane, out } = lanes(verdicts);
  const held = new HeldEvents(1000);
  push(held, lane, 1);
  for (let i = 0; i < 5000; i++) push(held, lane, 2 + (i % 250));
  t.ok(held.bytes <= 1000);
  t.same(out.slice(0, 3), [2, 3, 4], 'the first was dropped, the others keep their order');
  held.release();
  t.equal(out.length, 5000);
  t.end();
});

void t.test('of several parts the strictest has its way', (t) => {
  const { source, record } = sourceFixture('event');
  const say = (verdict: Verdict) => ({ judge: () => () => verdict, close() {} });
  t.equal(judgeOf([], source), null);
  t.equal(judgeOf([{ close() {} }], source), null);
  for (const [verdicts, expected] of [
    [['show', 'show'], 'show'],
    [['show', 'hold'], 'hold'],
    [['hold', 'drop'], 'drop'],
    [['drop', 'hold'], 'drop'],
    [['hold'], 'hold'],
  ] as const) {
    t.equal(judgeOf(verdicts.map(say), source)?.(record, false), expected, verdicts.join());
  }
  t.end();
});
