// The start of the bundled program: scripts/bundle.mjs makes build/cli/rawbpf.cjs of it, beside the script main.cjs and those of single
// commands.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { Script } from 'node:vm';
import { CodeCache } from './code-cache.ts';

/** Scripts by name, and what tells this build of each; put in by the bundler. */
declare const BUNDLE_IDS: Readonly<Record<string, string>>;

type CommonJs = (exports: object, require: NodeJS.Require, module: object, file: string, folder: string) => void;

const folder = import.meta.dirname;
const args = process.argv.slice(2);
const name = args[0] !== undefined && args[0] !== 'main' && Object.hasOwn(BUNDLE_IDS, args[0]) ? args[0] : 'main';
const file = path.join(folder, `${name}.cjs`);
// A run lasts, and the path of an event allocates next to nothing: the young generation stays at its first size, which saves 2 MB.
// Said to the versions of V8 that it was tried with, and before anything is compiled: code that is kept depends on the flags.
if (args[0] === 'run' && process.versions.node.startsWith('20.')) {
  // With other flags V8 takes none of the code that Node brings for its own modules: those that every run uses come first (9 ms).
  void process.stdout;
  void process.stderr;
  for (const builtin of ['node:net', 'node:worker_threads', 'node:perf_hooks']) require(builtin);
  // Here alone: this module takes 3 ms.
  const { setFlagsFromString } = require('node:v8') as typeof import('node:v8');
  setFlagsFromString('--semi-space-growth-factor=1');
}
// A dump is over in a quarter of a second, half of which was the optimising compiler's: functions that are compiled each by itself cost it a third of that.
if (args[0] === 'btf' && process.versions.node.startsWith('20.')) {
  const { setFlagsFromString } = require('node:v8') as typeof import('node:v8');
  setFlagsFromString('--no-turbo-inlining');
}
const cache = CodeCache.for(args, BUNDLE_IDS[name] ?? '');
const cachedData = cache?.read() ?? undefined;
// The bundle is ASCII, one byte a character.
const script = new Script(readFileSync(file, 'latin1'), { filename: file, ...(cachedData === undefined ? {} : { cachedData }) });
if (cache !== null && (cachedData === undefined || script.cachedDataRejected === true)) {
  // At the end everything has been compiled that a run like this needs.
  process.on('exit', (code) => {
    if (code === 0) cache.write(script.createCachedData());
  });
}
const module: { exports: { main?: (args: readonly string[]) => Promise<void> } } = { exports: {} };
const run = script.runInThisContext() as CommonJs;
run(module.exports, require, module, file, folder);
void module.exports.main?.(args);
