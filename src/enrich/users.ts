import { readFileSync, statSync } from 'node:fs';
import type { IdNames } from '../gadget/context.ts';
import { turnTime } from '../sys/turn-time.ts';

/** How often the files are looked at, while there are events. */
const lookEveryMs = 1000;
/** A larger file is no list of users that anybody wrote. */
const maxFileSize = 64 * 1024 * 1024;

/** Where {@link UserNames} looks. */
export interface UserNamesOptions {
  /** A folder that holds etc/passwd and etc/group; `/` unless said. */
  readonly root?: string;
  /** Milliseconds of a steady clock; for tests. */
  readonly now?: () => number;
}

/**
 * Names of the host's users and groups out of /etc/passwd and /etc/group. The files are looked at again when they change; ids
 * without an entry are `uid:N` and `gid:N`.
 */
export class UserNames implements IdNames {
  readonly #users: IdFile;
  readonly #groups: IdFile;

  constructor(options: UserNamesOptions = {}) {
    const root = (options.root ?? '/').replace(/\/+$/, '');
    const now = options.now ?? turnTime;
    this.#users = new IdFile(`${root}/etc/passwd`, 'uid', now);
    this.#groups = new IdFile(`${root}/etc/group`, 'gid', now);
  }

  user(uid: number): string {
    return this.#users.nameOf(uid);
  }

  group(gid: number): string {
    return this.#groups.nameOf(gid);
  }
}

/** One colon-separated file with the name in the first and the id in the third field. */
class IdFile {
  readonly #path: string;
  readonly #kind: string;
  readonly #now: () => number;
  #names: ReadonlyMap<number, string> = new Map();
  #stamp = '';
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** The id asked for last, which is often asked for again. */
  #last = Number.NaN;
  #lastName = '';

  constructor(path: string, kind: string, now: () => number) {
    this.#path = path;
    this.#kind = kind;
    this.#now = now;
  }

  nameOf(id: number): string {
    const now = this.#now();
    if (now - this.#lookedAt >= lookEveryMs) {
      this.#lookedAt = now;
      this.#look();
    }
    if (id !== this.#last) {
      this.#lastName = this.#names.get(id) ?? `${this.#kind}:${id}`;
      this.#last = id;
    }
    return this.#lastName;
  }

  // Polled, not watched: tools replace these files by rename, which ends a watch, and a watch would keep the process alive.
  #look(): void {
    let stamp = '';
    try {
      const { mtimeMs, ino, size } = statSync(this.#path);
      stamp = `${mtimeMs}:${ino}:${size}`;
      if (stamp === this.#stamp) return;
      this.#names = size > maxFileSize ? new Map() : parseIds(readFileSync(this.#path, 'utf8'));
    } catch {
      // No such file: a container without users.
      this.#names = new Map();
    }
    this.#stamp = stamp;
    this.#last = Number.NaN;
  }
}

/** Parses lines of `NAME:x:ID:...`; of two names for an id the first counts, as for getpwuid. */
export function parseIds(text: string): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const [name = '', , id = ''] = line.split(':');
    if (name === '' || !/^\d+$/.test(id)) continue;
    const number = Number(id);
    if (!names.has(number)) names.set(number, name);
  }
  return names;
}
