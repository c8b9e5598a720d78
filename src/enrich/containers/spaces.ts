import type { ContainerRecord } from './record.ts';

/** One mount namespace from its beginning to its end. */
export interface Space {
  readonly mntns: number;
  readonly unique: bigint;
  /** Nanoseconds since boot. */
  readonly from: number;
  /** When its last process was gone; null while it is there. */
  to: number | null;
  /** From when on its number may have been another namespace's that nobody reported; null for never. */
  doubtfulFrom: number | null;
  /** `pending`: a process is still setting it up. `none`: the host's, a service's, or somebody's who is not root. */
  verdict: 'pending' | 'container' | 'none';
  container: ContainerRecord | null;
  /** Of the container within the container; empty for none. */
  innerId: string;
  /** Its end was reported, so that `to` is the very time. */
  seenToEnd: boolean;
}

/** Namespaces with the same number that are remembered beyond the newest. */
const maxOlder = 512;
/** How much later than the event that reports it a namespace may show up at most, in nanoseconds. */
const slackNs = 1e6;

/** Mount namespaces by inode number. Numbers are used again at once, so each has a history, and the time tells which is meant. */
export class SpaceHistory {
  readonly #byInode = new Map<number, Space[]>();

  add(space: Space): void {
    const all = this.#byInode.get(space.mntns);
    if (all === undefined) {
      this.#byInode.set(space.mntns, [space]);
      return;
    }
    const last = all.at(-1);
    if (last !== undefined) last.to ??= space.from;
    all.push(space);
    if (all.length > maxOlder) all.shift();
  }

  /** The namespace that has the number now. */
  current(inode: number): Space | null {
    return this.#byInode.get(inode)?.at(-1) ?? null;
  }

  exact(inode: number, unique: bigint): Space | null {
    return this.#byInode.get(inode)?.findLast((space) => space.unique === unique) ?? null;
  }

  /** The namespace that had the number at a time in nanoseconds since boot; 0 for now. */
  at(inode: number, bootNs: number): Space | null {
    const all = this.#byInode.get(inode);
    if (all === undefined) return null;
    if (bootNs === 0) return all.at(-1) ?? null;
    for (let i = all.length - 1; i >= 0; i--) {
      const space = all[i] as Space;
      if (space.from > bootNs + (i === 0 ? slackNs : 0)) continue;
      return space.doubtfulFrom !== null && bootNs >= space.doubtfulFrom ? null : space;
    }
    return null;
  }

  /**
   * Reports between two times are missing: namespaces may have ended unseen, and others have come and gone with their numbers.
   * What `holds` vouches for has kept its number until now.
   */
  doubt(since: number, until: number, holds: (space: Space) => boolean): void {
    for (const all of this.#byInode.values()) {
      all.forEach((space, i) => {
        const next = all[i + 1];
        // One that ended unseen may have done so at any time from the gap's beginning on.
        const end = space.seenToEnd ? (space.to ?? 0) : 0;
        if (space.from > until || end > until || (next !== undefined && next.from <= since)) return;
        if (next === undefined && holds(space)) return;
        const from = Math.max(space.from, since, end);
        if (space.doubtfulFrom === null || from < space.doubtfulFrom) space.doubtfulFrom = from;
      });
    }
  }

  /** Forgets what ended before a time. */
  prune(beforeNs: number): void {
    for (const [inode, all] of this.#byInode) {
      const kept = all.filter(({ to }) => to === null || to >= beforeNs);
      if (kept.length === 0) this.#byInode.delete(inode);
      else if (kept.length < all.length) this.#byInode.set(inode, kept);
    }
  }

  *[Symbol.iterator](): Generator<Space> {
    for (const all of this.#byInode.values()) yield* all;
  }

  get size(): number {
    let size = 0;
    for (const all of this.#byInode.values()) size += all.length;
    return size;
  }
}
