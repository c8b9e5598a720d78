import t from 'tap';
import { compileExamples, examples, expectedLines, runExample } from './support/examples.ts';

t.test('every example that reaches for the kernel compiles, runs and prints what its comments say', async (t) => {
  const all = examples().filter((each) => each.needsKernel);
  for (const [each, file] of compileExamples(all, 'kernel')) {
    const lines = await runExample(file);
    const expected = expectedLines(each.code);
    if (expected.every((line) => line !== null)) t.same(lines, expected, each.place);
    else t.pass(each.place);
  }
});
