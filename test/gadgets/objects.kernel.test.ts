import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const names = readdirSync(path.join(root, 'gadgets'), { withFileTypes: true }).flatMap((entry) =>
  entry.isDirectory() ? [entry.name] : [],
);
/** Programs of rawbpf's own, beside what loads them. */
const ownPrograms = readdirSync(path.join(root, 'src', 'enrich'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.bpf.c'))
  .map((file) => path.join('src', 'enrich', file));

// Slow machines take their time.
t.setTimeout(110_000);

void t.test('the committed objects are what their sources compile to', (t) => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-gadgets-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const script = path.join(root, 'scripts', 'build-gadgets.mjs');
  // From another working directory: the bytes must not depend on it.
  const build = spawnSync(process.execPath, [script, '--out', folder], { cwd: folder, encoding: 'utf8' });
  t.equal(build.status, 0, build.stderr);
  for (const name of names) {
    const objects = readdirSync(path.join(folder, name)).toSorted();
    t.same(
      readdirSync(path.join(root, 'gadgets', name))
        .filter((file) => file.endsWith('.o'))
        .toSorted(),
      objects,
      `${name}: nothing but what is built`,
    );
    for (const object of objects) {
      const [built, committed] = [folder, path.join(root, 'gadgets')].map((base) => readFileSync(path.join(base, name, object)));
      t.ok(built && committed?.equals(built), `gadgets/${name}/${object}: if not, run npm run build:gadgets`);
      const text = committed?.toString('latin1') ?? '';
      t.notOk(text.includes(root), `${name}: no path of the machine that built it`);
      t.notOk(text.includes('.debug_info'), `${name}: no DWARF`);
      t.ok(text.includes('.BTF.ext'), `${name}: BTF with line information`);
    }
  }
  for (const source of ownPrograms) {
    const object = source.replace(/c$/, 'o');
    const built = readFileSync(path.join(folder, 'programs', path.basename(object)));
    t.ok(readFileSync(path.join(root, object)).equals(built), `${object}: if not, run npm run build:gadgets`);
  }
  t.end();
});
