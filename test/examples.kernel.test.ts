import t from 'tap';
import { compileExamples, examples, expectedLines, runExample } from './support/examples.ts';

t.test('every example that reaches for the kernel compiles, runs and prints what its comments say', async (t) => {
  const all = examples().filter((each) => each.needsKernel);
  for (const [each, file] of compileExamples(all, 'kernel')) {
    // What is only declared is the reader's own: such an example is compiled, and cannot run.
    if (/^declare /m.test(each.code)) {
      t.pass(each.place);
      continue;
    }
    const lines = await runExample(file);
    const expected = expectedLines(each.code);
    if (expected.every((line) => line !== null)) t.same(lines, expected, each.place);
    else t.pass(each.place);
  }
});
