import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { format } from 'node:util';

/** The checkout's root, from build/test/support/. */
export const root: string = fileURLToPath(new URL('../../../', import.meta.url));

/** A runnable example out of a docstring or a Markdown page. */
export interface Example {
  /** Where it stands: `src/elf/file.ts:12`. */
  readonly place: string;
  readonly code: string;
  /** ts is checked by the compiler, js only run. */
  readonly language: 'ts' | 'js';
  /** It reaches for the kernel: run it as root. */
  readonly needsKernel: boolean;
}

/** Every `@example` of src/ and every ```js and ```ts block of README.md and docs/. */
export function examples(): Example[] {
  const found: Example[] = [];
  for (const file of filesIn(path.join(root, 'src'), '.ts')) {
    const text = readFileSync(file, 'utf8');
    for (const match of text.matchAll(/\/\*\*(?:(?!\*\/)[\s\S])*?\*\//g)) {
      const comment = match[0].replace(/^\s*\*\/|^\/\*\*|\*\/$/g, '').replace(/^\s*\* ?/gm, '');
      for (const block of comment.matchAll(/@example\s*\n([\s\S]*?)(?=\n@\w|$)/g)) {
        const code = (block[1] ?? '').replace(/^```\w*$/gm, '');
        found.push(example(file, text.slice(0, match.index), code));
      }
    }
  }
  for (const file of [path.join(root, 'README.md'), ...filesIn(path.join(root, 'docs'), '.md')]) {
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      continue;
    }
    for (const match of text.matchAll(/^```(js|ts)\n([\s\S]*?)^```$/gm)) {
      found.push(example(file, text.slice(0, match.index), match[2] ?? '', match[1] === 'js' ? 'js' : 'ts'));
    }
  }
  return found;
}

/** Compiles examples with tsc, as a reader would paste them, and gives each compiled file's path; throws with tsc's messages. */
export function compileExamples(all: readonly Example[], name: string): Map<Example, string> {
  const folder = path.join(root, 'build', 'examples', name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const files = new Map(
    all.map((each) => [each, path.join(folder, `${each.place.replace(/\W+/g, '_')}.${each.language === 'js' ? 'mjs' : 'mts'}`)]),
  );
  // A pasted snippet is a module, and may leave out of sight what it is given.
  for (const [each, file] of files) writeFileSync(file, `${each.code}\nexport {};\n`);
  const options = [
    '--module',
    'nodenext',
    '--target',
    'es2023',
    '--lib',
    'es2023,esnext.disposable',
    '--types',
    'node',
    '--strict',
    '--skipLibCheck',
  ];
  const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const result = spawnSync(
    process.execPath,
    [tsc, '--ignoreConfig', ...options, ...[...files.values()].filter((file) => file.endsWith('.mts'))],
    { cwd: root, encoding: 'utf8' },
  );
  if (result.status !== 0) throw new Error(`examples do not compile:\n${result.stdout}${result.stderr}`);
  return new Map([...files].map(([each, file]) => [each, file.replace(/\.mts$/, '.mjs')]));
}

/** Runs a compiled example and returns the lines it printed. */
export async function runExample(file: string): Promise<string[]> {
  const lines: string[] = [];
  const log = console.log;
  console.log = (...values: unknown[]) => void lines.push(format(...values));
  try {
    await import(pathToFileURL(file).href);
  } finally {
    console.log = log;
  }
  return lines;
}

/**
 * What the comments behind `console.log(...)` say it prints; null for one without, wherever in a line it stands: what a loop prints depends on
 * the machine.
 */
export function expectedLines(code: string): (string | null)[] {
  return code
    .split('\n')
    .filter((line) => line.includes('console.log('))
    .map((line) => /^\s*console\.log\(.*\);? \/\/ (.*)$/.exec(line)?.[1]?.trim() ?? null);
}

function example(file: string, before: string, code: string, language: Example['language'] = 'ts'): Example {
  const place = `${path.relative(root, file)}:${before.split('\n').length}`;
  const imports = [...code.matchAll(/from '([^']+)'/g)].map((match) => match[1] ?? '');
  const pure = imports.every((name) => /^rawbpf\/(elf|btf|insn|object)$/.test(name)) || !/Kernel|run|load|attach|Reader|Sys|sys/.test(code);
  return { place, code, language, needsKernel: !pure };
}

function filesIn(folder: string, ending: string): string[] {
  try {
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith(ending))
      .map((name) => path.join(folder, name))
      .toSorted();
  } catch {
    return [];
  }
}
