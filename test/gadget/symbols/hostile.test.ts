import { readFileSync } from 'node:fs';
import t from 'tap';
import { readBinary } from '../../../src/gadget/symbols/binary.ts';

const file = readFileSync(new URL('../../../../fixtures/stacks/busy', import.meta.url));

/** The same numbers each time. */
function* numbers(seed: number): Generator<number> {
  for (let state = seed; ;) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    yield state;
  }
}

void t.test('broken binaries have no names, and cost little', (t) => {
  const random = numbers(7);
  const next = (limit: number): number => (random.next().value as number) % limit;
  let most = 0;
  let named = 0;
  for (let round = 0; round < 2000; round++) {
    const bytes = Buffer.from(file.subarray(0, round % 10 === 0 ? next(file.length) : file.length));
    // Headers are at the start and at the end of the file.
    for (let i = 0; i < 1 + (round % 6); i++) {
      const at = next(2) === 0 ? next(Math.min(64, bytes.length + 1)) : Math.max(0, bytes.length - 1 - next(2200));
      if (at < bytes.length) bytes[at] = next(256);
    }
    let read = 0;
    const binary = readBinary(
      (offset, length) => {
        const part = bytes.subarray(offset, offset + length);
        read += part.length;
        return part;
      },
      () => null,
    );
    most = Math.max(most, read);
    for (const offset of [0, 0x1169, 0x1200, next(1 << 30)]) {
      const name = binary?.nameAt(offset) ?? null;
      if (name !== null) named++;
      if (name !== null && name.length > 4096) t.fail(`round ${round}: a name of ${name.length} characters`);
    }
  }
  t.ok(named > 0, 'some survive');
  t.ok(most < file.length * 24, `at most ${most} bytes were read of a file of ${file.length}`);
  t.end();
});
