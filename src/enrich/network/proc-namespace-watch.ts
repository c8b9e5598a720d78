import { readdirSync } from 'node:fs';
import { namespaceInode } from '../../sys/namespaces.ts';
import { type NamespaceListener, type NamespaceWatcher, tellChanges } from './namespace-watcher.ts';

/** Between two looks lies so much more time than the first took, and never less or more than these milliseconds. */
const restFactor = 20;
const [leastMs, mostMs] = [100, 1000];

/**
 * Finds network namespaces by looking at all processes in /proc again and again: for machines where no programs that see them
 * come and go can be loaded. One that a process leaves or that ends between two looks is missed, and so is one that only a
 * further thread of a process is in.
 */
export class ProcNamespaceWatch implements NamespaceWatcher {
  readonly #listener: NamespaceListener;
  readonly #known = new Map<number, number>();
  #timer: NodeJS.Timeout | null = null;
  #closed = false;

  constructor(listener: NamespaceListener) {
    this.#listener = listener;
    this.#lookAgain();
  }

  get threads(): ReadonlyMap<number, number> {
    return this.#known;
  }

  look(): void {
    if (this.#closed) return;
    const seen = new Map<number, number>();
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid)) continue;
      // A process that has ended, and one of the kernel's threads that shows none.
      const netns = namespaceInode(pid, 'net');
      if (netns !== null && !seen.has(netns)) seen.set(netns, pid);
    }
    tellChanges(this.#known, seen, {
      enter: (netns, pid) => {
        this.#known.set(netns, pid);
        this.#listener.entered(netns, pid);
      },
      leave: (netns) => {
        this.#known.delete(netns);
        this.#listener.left(netns);
      },
    });
  }

  forget(netns: number): void {
    this.#known.delete(netns);
  }

  close(): void {
    this.#closed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #lookAgain(): void {
    const before = performance.now();
    this.look();
    if (this.#closed) return;
    const took = performance.now() - before;
    this.#timer = setTimeout(() => this.#lookAgain(), Math.min(mostMs, Math.max(leastMs, restFactor * took)));
    this.#timer.unref();
  }
}
