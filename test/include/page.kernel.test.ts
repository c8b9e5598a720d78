import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t from 'tap';
import { root } from '../support/compile.ts';

void t.test('docs/helper-api.md is what the headers say, and every public name says its cost and kernel', (t) => {
  const { status, stderr } = spawnSync(process.execPath, [path.join(root, 'scripts', 'gen-helper-api.mjs'), '--check'], {
    encoding: 'utf8',
  });
  t.equal(stderr, '');
  t.equal(status, 0, 'if not: node scripts/gen-helper-api.mjs');
  t.end();
});
