/** What has to be taken back when a piece of work fails half-way: undone in reverse order. */
export class UndoList {
  #steps: (() => void)[] = [];

  /** Remembers a resource; returns it. */
  own<T extends { close(): void }>(resource: T): T {
    this.#steps.push(() => resource.close());
    return resource;
  }

  add(step: () => void): void {
    this.#steps.push(step);
  }

  /** The work is done: nothing will be taken back. */
  keep(): void {
    this.#steps = [];
  }

  /** Takes everything back; a step that fails does not keep the others from running. */
  undo(): void {
    for (const step of this.#steps.splice(0).toReversed()) {
      try {
        step();
      } catch {
        // What led here is reported; this would hide it.
      }
    }
  }
}

/** Runs work that collects resources; where it throws, they are taken back and the error goes on. */
export function undoOnError<T>(work: (undo: UndoList) => T): T {
  const undo = new UndoList();
  try {
    const result = work(undo);
    undo.keep();
    return result;
  } catch (error) {
    undo.undo();
    throw error;
  }
}

/** Does all of it, whatever fails; then throws the first error. */
export function attemptAll(work: (attempt: (step: () => void) => void) => void): void {
  const errors: unknown[] = [];
  work((step) => {
    try {
      step();
    } catch (error) {
      errors.push(error);
    }
  });
  if (errors.length > 0) throw errors[0];
}
