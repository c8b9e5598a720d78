// Damaged objects, a few of each kind; fuzz.soak.test.ts does thousands.
import t from 'tap';
import { fuzz, objects } from './fuzz.ts';

// Two seconds of processor time, on a busy machine far longer.
t.setTimeout(300_000);
t.test('whatever a damaged object says: a result or a typed error, soon and in little memory', async (t) => {
  const results = objects.map((file) => fuzz(file, 1, 7));
  t.same(
    results.flatMap(({ bad }) => bad),
    [],
  );
  t.ok(objects.length > 20, `${objects.length} objects`);
  t.ok(results.reduce((sum, { refused }) => sum + refused, 0) > 20, 'many are refused');
});
