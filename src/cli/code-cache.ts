import { closeSync, constants, fstatSync, lstatSync, mkdirSync, openSync, readdirSync, readFileSync, realpathSync } from 'node:fs';
import { renameSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

/** Families of gadgets: those of one family run the same functions. */
const families: ReadonlySet<string> = new Set(['trace', 'top', 'snapshot', 'profile']);

/** Larger than any cache of ours. */
const mostBytes = 64 << 20;

/**
 * What V8 compiled in an earlier run of a script, kept in a folder that nobody else can write to: what lies there is run, often as
 * root. Nothing of it is needed: whatever cannot be read or written is left.
 */
export class CodeCache {
  readonly #folder: string;
  readonly #name: string;
  readonly #suffix: string;

  private constructor(folder: string, name: string, suffix: string) {
    this.#folder = folder;
    this.#name = name;
    this.#suffix = suffix;
  }

  /**
   * The cache for these arguments of the program; null where there is to be none. `build` tells one build of the script from another.
   * `RAWBPF_CODE_CACHE` names another folder than `~/.cache/rawbpf/code`, or is `off`.
   */
  static for(args: readonly string[], build: string, env: NodeJS.ProcessEnv = process.env): CodeCache | null {
    const given = env['RAWBPF_CODE_CACHE'];
    const name = nameFor(args);
    if (given === 'off' || name === null) return null;
    const suffix = `-${process.version}-${process.arch}`;
    return new CodeCache(given || path.join(cacheHome(env), 'rawbpf', 'code'), `${name}-${build}${suffix}`, suffix);
  }

  /** What was kept; null where there is nothing, or where others could have written it. */
  read(): Buffer | null {
    try {
      if (!onlyOwners(this.#folder)) return null;
      const fd = openSync(path.join(this.#folder, this.#name), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const { mode, nlink, size, uid } = fstatSync(fd);
        const safe = (mode & constants.S_IFMT) === constants.S_IFREG && (mode & 0o022) === 0 && uid === process.geteuid?.() && nlink === 1;
        return safe && size <= mostBytes ? readFileSync(fd) : null;
      } finally {
        closeSync(fd);
      }
    } catch {
      return null;
    }
  }

  /** Keeps what was compiled, instead of what an earlier build left. */
  write(code: Uint8Array): void {
    let temporary: string | null = null;
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      if (!onlyOwners(this.#folder)) return;
      const file = path.join(this.#folder, this.#name);
      temporary = path.join(this.#folder, `.${this.#name}-${process.pid}`);
      writeFileSync(temporary, code, { flag: 'wx', mode: 0o600 });
      renameSync(temporary, file);
      temporary = null;
      const command = this.#name.slice(0, this.#name.indexOf('-') + 1);
      for (const other of readdirSync(this.#folder)) {
        if (other !== this.#name && other.startsWith(command) && other.endsWith(this.#suffix)) rmSync(path.join(this.#folder, other));
      }
    } catch {
      // A full disk, a home that is read-only: the next start takes longer.
    } finally {
      if (temporary !== null) rmSync(temporary, { force: true });
    }
  }
}

/** Names what is run, without a `-`: each command has functions of its own. Null for what only tells about the program. */
function nameFor(args: readonly string[]): string | null {
  const [command = '', ...rest] = args;
  if (!/^[a-z][a-z-]{0,20}$/.test(command) || command === 'help') return null;
  if (rest.includes('--help') || rest.includes('-h')) return null;
  const family = command === 'run' ? rest.find((arg) => /^[a-z]+_\w+$/.test(arg))?.split('_')[0] : undefined;
  return [command.replaceAll('-', '_'), ...(family !== undefined && families.has(family) ? [family] : [])].join('_');
}

function cacheHome(env: NodeJS.ProcessEnv): string {
  const given = env['XDG_CACHE_HOME'];
  // Others than absolute paths are to be ignored (XDG Base Directory Specification).
  return given !== undefined && path.isAbsolute(given) ? given : path.join(os.homedir(), '.cache');
}

/**
 * Whether nobody but root and this user can put anything into this folder, or put another in its place. The home of somebody
 * else, as `sudo` may leave it in $HOME, is no such folder.
 */
function onlyOwners(folder: string): boolean {
  for (let at = realpathSync(folder); ; at = path.dirname(at)) {
    const { mode, uid } = lstatSync(at);
    if ((mode & constants.S_IFMT) !== constants.S_IFDIR || (uid !== 0 && uid !== process.geteuid?.())) return false;
    // In a sticky folder (/tmp) only owners can rename.
    if ((mode & 0o022) !== 0 && (mode & 0o1000) === 0) return false;
    if (at === path.dirname(at)) return true;
  }
}
