// Every program of fixtures/core/cases.bpf.o against two targets; expected.json is what libbpf makes of the same
// (scripts/core-golden.mjs): the instructions, or null where it refuses.
import t from 'tap';
import { CoreError } from '../../../src/btf/core/error.ts';
import { toHex } from '../../../src/bytes/text.ts';
import { fixtureBtf, fixtureObject, kernel, readFixture, relocate } from './support.ts';

const object = fixtureObject('cases.bpf.o');
const expected = JSON.parse(readFixture('expected.json')) as Record<string, Record<string, string | null>>;

for (const [target, programs] of Object.entries(expected)) {
  t.test(`every case relocated for ${target} equals libbpf's instructions`, async (t) => {
    const targets = kernel(fixtureBtf(target));
    t.ok(Object.keys(programs).length > 150);
    for (const [name, insns] of Object.entries(programs)) {
      if (insns === null) t.throws(() => relocate(object, name, targets), CoreError, name);
      else t.equal(toHex(relocate(object, name, targets)), insns, name);
    }
  });
}
