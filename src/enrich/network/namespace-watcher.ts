/** Is told where processes are. */
export interface NamespaceListener {
  /** A thread is in a network namespace where none was before. */
  entered(netns: number, tid: number): void;
  /** Nobody is in this namespace any more. */
  left(netns: number): void;
}

/** Knows which network namespaces have processes in them. */
export interface NamespaceWatcher {
  /** Namespaces with processes in them, and a thread that was there at the last look. */
  readonly threads: ReadonlyMap<number, number>;
  /** Looks at all threads, and tells what has changed. */
  look(): void;
  /** Has a namespace told again: it could not be looked into. */
  forget(netns: number): void;
  close(): void;
}

/** Brings what is known to what was seen, and tells of the difference; one that cannot be entered has been forgotten again by then. */
export function tellChanges(
  known: Map<number, number>,
  seen: ReadonlyMap<number, number>,
  change: { readonly enter: (netns: number, tid: number) => void; readonly leave: (netns: number) => void },
): void {
  for (const netns of known.keys()) if (!seen.has(netns)) change.leave(netns);
  for (const [netns, tid] of seen) {
    if (known.has(netns)) known.set(netns, tid);
    else change.enter(netns, tid);
  }
}
