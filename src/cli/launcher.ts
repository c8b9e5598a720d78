// The start of the bundled program: scripts/bundle.mjs makes build/cli/rawbpf.cjs of it, beside the script main.cjs.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Script } from 'node:vm';
import { CodeCache } from './code-cache.ts';

/** Tells this build of main.cjs; put in by the bundler. */
declare const BUNDLE_ID: string;

type CommonJs = (exports: object, require: NodeJS.Require, module: object, file: string, folder: string) => void;

const folder = import.meta.dirname;
const file = path.join(folder, 'main.cjs');
const args = process.argv.slice(2);
const cache = CodeCache.for(args, BUNDLE_ID);
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
run(module.exports, createRequire(file), module, file, folder);
void module.exports.main?.(args);
