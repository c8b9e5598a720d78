// Every name of the C++ library and of this program against c++filt -p, those of Rust against c++filt -i where its compiler is
// installed.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import t from 'tap';
import { demangle } from '../../../src/gadget/symbols/demangle.ts';

const run = (file: string, args: readonly string[], input = ''): string =>
  spawnSync(file, args, { input, encoding: 'utf8', maxBuffer: 1 << 30 }).stdout ?? '';

/** Mangled names of a file, at most so many, evenly chosen. */
function namesOf(file: string, start: string, most: number): readonly string[] {
  const lines = (run('nm', [file]) || '') + run('nm', ['-D', file]);
  const names = lines.split('\n').map((line) => /(\S+)$/.exec(line)?.[1]?.replace(/[@.].*/, '') ?? '');
  const all = [...new Set(names.filter((name) => name.startsWith(start) && name.length <= 4096))].toSorted();
  const step = Math.max(1, Math.ceil(all.length / most));
  return all.filter((_, i) => i % step === 0);
}

function rustFile(): string {
  const toolchains = `${process.env['HOME'] ?? ''}/.rustup/toolchains`;
  if (!existsSync(toolchains)) return '';
  for (const name of readdirSync(toolchains)) {
    const lib = `${toolchains}/${name}/lib`;
    const file = existsSync(lib) ? readdirSync(lib).find((each) => each.startsWith('librustc_driver')) : undefined;
    if (file !== undefined) return `${lib}/${file}`;
  }
  return '';
}

const standard = run('cc', ['-print-file-name=libstdc++.so.6']).trim();
for (const [file, start, option] of [
  [standard, '_Z', '-p'],
  [process.execPath, '_Z', '-p'],
  [rustFile(), '_R', '-i'],
] as const) {
  const names = existsSync(file) ? namesOf(file, start, 20_000) : [];
  const skip = names.length < 100 ? `no names of ${start}` : false;
  void t.test(`${start} ${names.length}`, { skip }, (t) => {
    const wanted = run('c++filt', [option], `${names.join('\n')}\n`).split('\n');
    const known = names.map((name, i) => [name, wanted[i] ?? '']).filter(([name, plain]) => name !== plain);
    const different = known.filter(([name = '', plain]) => demangle(name) !== plain);
    t.ok(different.length <= known.length / 1000, `${different.length} of ${known.length} differ: ${different.slice(0, 3).join(' ')}`);
    t.end();
  });
}
