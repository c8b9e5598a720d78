// docs/loader-features.md names files and tests: all of them have to be there.
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../../', import.meta.url));
const rows = readFileSync(`${root}docs/loader-features.md`, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !line.startsWith('| feature '))
  .map((line) => line.slice(2, -2).split(' | '));

/** Whether a test file has a test of this name: written there as a string of any kind, as a whole or as its beginning. */
function hasTest(source: string, name: string): boolean {
  return ["'", '"', '`'].some((quote) => source.includes(`${quote}${name}`));
}

t.test('every feature names files that exist and tests that exist', async (t) => {
  t.ok(rows.length > 90, `${rows.length} rows`);
  for (const [feature = '', where = '', tests = '', ...more] of rows) {
    t.same(more, [], `${feature}: three columns`);
    for (const file of where.split(', ')) t.ok(existsSync(`${root}${file}`), `${feature}: ${file}`);
    const named = [...tests.matchAll(/`(test\/[^`]+\.test\.ts)` "((?:[^"]|"(?!;|$))+)"(?:; |$)/g)];
    t.equal(named.map(([text]) => text).join(''), tests, `${feature}: tests are \`file\` "name"`);
    t.ok(named.length > 0, feature);
    for (const [, file = '', name = ''] of named) {
      t.ok(existsSync(`${root}${file}`) && hasTest(readFileSync(`${root}${file}`, 'utf8'), name), `${feature}: ${file} "${name}"`);
    }
  }
});
