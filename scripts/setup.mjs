// Shared by start.mjs and test.mjs: installs the npm packages and builds, when needed; all output goes to stderr.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** Runs a command with its output on stderr; ends this process with a sentence when it fails. */
export function run(what, command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (result.status === 0) return;
  const reason = result.error?.message ?? (result.signal === null ? `exit code ${result.status}` : `signal ${result.signal}`);
  console.error(`rawbpf: ${what} failed: ${command} ${args.join(' ')}: ${reason}`);
  process.exit(1);
}

/** Installs the locked npm packages unless they are there already. */
export function installPackages() {
  const lock = path.join(root, 'package-lock.json');
  const stamp = path.join(root, 'node_modules', '.rawbpf-lock-sha256');
  const wanted = createHash('sha256').update(readFileSync(lock)).digest('hex');
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return;
  console.error('rawbpf: installing npm packages (once)');
  run('installing npm packages', 'npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(stamp, wanted);
}

/** Compiles the TypeScript and bundles the program unless the result is newer than every source. */
export function build() {
  const stamp = path.join(root, 'build', '.built');
  const sources = ['src', 'test', 'bench', 'scripts'].filter((dir) => existsSync(path.join(root, dir)));
  const newest = Math.max(statSync(path.join(root, 'tsconfig.json')).mtimeMs, ...sources.map((dir) => newestIn(path.join(root, dir))));
  if (existsSync(stamp) && statSync(stamp).mtimeMs > newest) return;
  console.error('rawbpf: building');
  run('building', process.execPath, [path.join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', root]);
  run('bundling', process.execPath, [path.join(root, 'scripts', 'bundle.mjs')]);
  writeFileSync(stamp, '');
}

function newestIn(folder) {
  let newest = statSync(folder).mtimeMs;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    newest = Math.max(newest, entry.isDirectory() ? newestIn(file) : statSync(file).mtimeMs);
  }
  return newest;
}
