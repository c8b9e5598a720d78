// Damaged objects, a few of each kind; fuzz.soak.test.ts does thousands.
import t from 'tap';
import { fuzz, objects } from './fuzz.ts';

t.test('whatever a damaged object says: a result or a typed error, soon and in little memory', async (t) => {
  const results = objects.map((file) => fuzz(file, 3, 7));
  t.same(
    results.flatMap(({ bad }) => bad),
    [],
  );
  t.ok(objects.length > 20, `${objects.length} objects`);
  t.ok(results.reduce((sum, { refused }) => sum + refused, 0) > 60, 'many are refused');
});
