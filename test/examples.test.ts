import t from 'tap';
import { compileExamples, examples, expectedLines, runExample } from './support/examples.ts';

t.test('every example that needs no kernel compiles, runs and prints what its comments say', async (t) => {
  const pure = examples().filter((each) => !each.needsKernel);
  t.ok(pure.length > 0, 'there are examples');
  for (const [each, file] of compileExamples(pure, 'pure')) {
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

t.test('what an example prints in a loop is not compared: the machine it runs on may have nothing for it, or much', (t) => {
  const loop = 'for (const { id } of containers.list) console.log(id);';
  t.same(expectedLines(loop), [null]);
  t.same(expectedLines(`console.log(1); // 1\n  console.log('a') // a\n${loop}`), ['1', 'a', null]);
  t.same(expectedLines('const log = 1;'), []);
  t.end();
});
