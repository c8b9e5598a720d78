// Builds test/oracle/relocate.c against the newest libbpf that Debian offers this machine, and runs it: what libbpf makes
// of BPF objects, as JSON lines. A test tool only: nothing of libbpf is installed, kept in the project or used by it.
//   node scripts/oracle.mjs [OPTIONS of relocate.c] OBJECT...
//   node scripts/oracle.mjs --where      prints the path of the program (built when missing)
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const source = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'test', 'oracle', 'relocate.c');
const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'rawbpf', 'oracle');
// Newest first; '' is what the machine's own sources have.
const SUITES = ['sid', 'trixie', 'bookworm-backports', ''];

/** The path of the compiled oracle, made when it is missing; throws where Debian cannot be reached or nothing links. */
export function oracle() {
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 12);
  const program = path.join(cache, `relocate-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(cache, { recursive: true });
  const failures = [];
  for (const suite of SUITES) {
    const work = mkdtempSync(path.join(cache, 'build-'));
    try {
      const libbpf = unpack(suite, ['libbpf-dev'], path.join(work, 'libbpf'));
      // These link against the machine's own C library, so they come from its own sources.
      const others = unpack('', ['libelf-dev', 'zlib1g-dev', 'libzstd-dev'], path.join(work, 'own'));
      compile(libbpf, others, path.join(work, 'relocate'));
      renameSync(path.join(work, 'relocate'), program);
      rmSync(path.join(cache, 'apt'), { recursive: true, force: true });
      return program;
    } catch (error) {
      failures.push(
        `${suite === '' ? 'own sources' : suite}: ${String(error.stderr ?? error.message)
          .trim()
          .slice(-400)}`,
      );
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }
  throw new Error(`cannot build the libbpf oracle\n${failures.join('\n')}`);
}

/** Runs the oracle; one parsed result per object. */
export function runOracle(args) {
  const text = execFileSync(oracle(), args, { encoding: 'utf8', maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'inherit'] });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

// Mirrors, proxies and keys are the system's, and apt checks signatures and hashes as always; lists and cache are ours.
function unpack(suite, packages, to) {
  const env = suite === '' ? process.env : { ...process.env, APT_CONFIG: aptConfig(suite) };
  const downloads = mkdtempSync(path.join(cache, 'deb-'));
  try {
    execFileSync('apt-get', ['download', '-q', ...packages], { cwd: downloads, env, stdio: ['ignore', 'ignore', 'pipe'] });
    for (const file of readdirSync(downloads)) execFileSync('dpkg-deb', ['-x', path.join(downloads, file), to]);
    return to;
  } finally {
    rmSync(downloads, { recursive: true, force: true });
  }
}

function aptConfig(suite) {
  const folder = path.join(cache, 'apt', suite);
  for (const part of ['state/lists/partial', 'cache/archives/partial', 'empty']) mkdirSync(path.join(folder, part), { recursive: true });
  const uris = execFileSync('apt-get', ['indextargets', '--format', '$(REPO_URI)'], { encoding: 'utf8' }).split('\n');
  const mirror = uris.find((uri) => /\/debian\/?$/.test(uri));
  if (mirror === undefined) throw new Error("no Debian mirror in the system's apt sources");
  const sources = path.join(folder, 'sources.list');
  writeFileSync(sources, `deb ${mirror} ${suite} main\n`);
  const config = path.join(folder, 'apt.conf');
  writeFileSync(
    config,
    `Dir::State "${folder}/state"; Dir::State::status "/dev/null"; Dir::Cache "${folder}/cache";
Dir::Etc::sourcelist "${sources}"; Dir::Etc::sourceparts "${folder}/empty";
Dir::Etc::preferences "${folder}/empty/none"; Dir::Etc::preferencesparts "${folder}/empty";
Acquire::Languages "none"; APT::Sandbox::User "root";
`,
  );
  execFileSync('apt-get', ['update', '-q'], { env: { ...process.env, APT_CONFIG: config }, stdio: ['ignore', 'ignore', 'pipe'] });
  return config;
}

function compile(libbpf, others, program) {
  const triplet = readdirSync(path.join(libbpf, 'usr', 'lib')).find((name) =>
    existsSync(path.join(libbpf, 'usr', 'lib', name, 'libbpf.a')),
  );
  const archive = (folder, name) => path.join(folder, 'usr', 'lib', triplet, name);
  const compiler = ['clang-19', 'gcc', 'cc'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (compiler === undefined) throw new Error('no C compiler');
  const libraries = ['libelf.a', 'libz.a', 'libzstd.a'].map((name) => archive(others, name)).filter((file) => existsSync(file));
  const flags = ['-O1', '-Wl,--wrap=syscall', `-I${libbpf}/usr/include`];
  execFileSync(compiler, [...flags, source, archive(libbpf, 'libbpf.a'), ...libraries, '-lpthread', '-o', program], {
    stdio: ['ignore', 'ignore', 'pipe'],
    encoding: 'utf8',
  });
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const args = process.argv.slice(2);
  if (args[0] === '--where') console.log(oracle());
  else process.exitCode = spawnSync(oracle(), args, { stdio: ['ignore', 'inherit', 'inherit'] }).status ?? 1;
}
