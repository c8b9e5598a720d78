// Thousands of damaged objects: `npm run test:soak -- fuzz`; RAWBPF_FUZZ is how many copies of each, RAWBPF_SEED where to begin.
import t from 'tap';
import { fuzz, objects } from './fuzz.ts';

const count = Number(process.env['RAWBPF_FUZZ'] ?? 150);
const seed = Number(process.env['RAWBPF_SEED'] ?? 1);

for (const file of objects) {
  t.test(file, async (t) => {
    const { runs, bad } = fuzz(file, count, seed);
    t.same(bad, [], `${runs} steps`);
  });
}
