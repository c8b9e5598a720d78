import type { Watch } from './backend.ts';
import { EPOLL } from './constants.ts';
import { check } from './errno.ts';
import { Epoll } from './epoll.ts';
import type { Sys } from './sys.ts';

/** What one turn of a {@link Pollable} left behind. */
export type TurnResult =
  /** Nothing is there: wait to be woken. */
  | 'idle'
  /** Nothing is there any more: wait to be woken. */
  | 'drained'
  /** The turn's budget is used up: come again soon. */
  | 'more'
  /** Something is there that cannot be taken yet, and no wake-up is sure to come: look again in a while. */
  | 'stuck';

/** Something that reads shared memory when the kernel wakes it. */
export interface Pollable {
  /** Descriptors that become readable when there is something to do. */
  readonly pollFds: readonly number[];
  /** Milliseconds between looks that need no wake-up; 0 for none. */
  readonly pollIntervalMs: number;
  /** Does a bounded amount of work. */
  turn(): TurnResult;
}

/** How long something stuck waits for its next look; a wake-up usually comes first. */
const stuckMs = 20;
/** After this long the sources that have not had their turn wait for the next round. */
const serveMs = 16;
/** Without a watch (node:ffi, Bun, a worker thread) memory is looked at by timer: every millisecond while there is something, backing off to this. */
const maxIdleMs = 32;

/**
 * Serves every reader of this thread through one epoll instance that Node's own loop watches. Descriptors are added
 * edge-triggered: a reader that is paused, or stuck behind a record that is still being written, costs no wake-ups.
 */
export class EventLoop {
  readonly #sys: Sys;
  /** All that were added, and those of them that are not paused. */
  readonly #attached = new Set<Pollable>();
  readonly #sources = new Set<Pollable>();
  readonly #again = new Set<Pollable>();
  #epoll: Epoll | null = null;
  #watch: Watch | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #timer: NodeJS.Timeout | null = null;
  #timerAt = Infinity;
  #idleMs = 1;
  readonly #unreferenced = new WeakSet<Pollable>();
  #referenced = true;

  constructor(sys: Sys) {
    this.#sys = sys;
  }

  /** Starts serving a source; its first turn is soon. Throws a SyscallError where its descriptors cannot be watched. */
  add(source: Pollable): void {
    if (this.#attached.has(source)) return;
    this.#open();
    this.#attached.add(source);
    this.#updateReference();
    try {
      this.resume(source);
    } catch (error) {
      this.remove(source);
      throw error;
    }
  }

  /** Gives a source no turns until resume(): the kernel's wake-ups for it are not even heard. */
  pause(source: Pollable): void {
    if (!this.#sources.delete(source)) return;
    this.#again.delete(source);
    for (const fd of source.pollFds) this.#epoll?.remove(fd);
  }

  /** Serves a paused source again. */
  resume(source: Pollable): void {
    if (!this.#attached.has(source) || this.#sources.has(source)) return;
    for (const [i, fd] of source.pollFds.entries()) {
      const result = this.watchFd(fd);
      if (result >= 0) continue;
      for (const added of source.pollFds.slice(0, i)) this.#epoll?.remove(added);
      check(result, 'epoll_ctl', { what: 'cannot watch a ring buffer', where: { fd } });
    }
    this.#sources.add(source);
    this.#idleMs = 1;
    this.#soon(source);
  }

  /** Stops serving a source for good; call it before its descriptors are closed. */
  remove(source: Pollable): void {
    this.pause(source);
    if (!this.#attached.delete(source)) return;
    if (this.#attached.size === 0) this.#close();
    else this.#updateReference();
  }

  /** Watches one more descriptor of a source that is being served (a CPU came online); returns 0 or a negative errno. */
  watchFd(fd: number): number {
    return this.#epoll?.add(fd, EPOLL.EPOLLIN | EPOLL.EPOLLET) ?? 0;
  }

  /** Whether a source keeps the process alive; it does unless told otherwise. */
  setReferenced(source: Pollable, referenced: boolean): void {
    if (referenced) this.#unreferenced.delete(source);
    else this.#unreferenced.add(source);
    this.#updateReference();
  }

  #updateReference(): void {
    let referenced = false;
    for (const source of this.#attached) referenced ||= !this.#unreferenced.has(source);
    this.#referenced = referenced;
    for (const handle of [this.#watch, this.#timer, this.#immediate]) {
      if (referenced) handle?.ref();
      else handle?.unref();
    }
  }

  #open(): void {
    if (this.#attached.size > 0) return;
    const epoll = new Epoll(this.#sys);
    try {
      this.#watch = this.#sys.watch(epoll.fd, () => {
        // Who is ready is seen in memory, sooner than the kernel could be asked.
        this.#serve(this.#sources);
        if (this.#epoll !== epoll) return;
        // Edge-triggered events go when they are taken: one that came after its source's turn goes too, so memory is looked at again.
        epoll.wait(0);
        this.#serve(this.#sources, this.#again);
      });
    } finally {
      if (this.#watch === null) epoll.close();
    }
    if (this.#watch === null) return;
    this.#epoll = epoll;
  }

  #close(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#epoll?.close();
    this.#epoll = null;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    this.#timerAt = Infinity;
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#immediate = null;
  }

  /**
   * Gives each source a turn; a turn that throws neither stops the others nor the source itself. When the turns together
   * have taken long, the rest come first the next time: timers and I/O of the process go in between. Those in `except` have
   * a turn to come.
   */
  #serve(sources: Iterable<Pollable>, except?: ReadonlySet<Pollable>): void {
    const busy: Pollable[] = [];
    const deadline = performance.now() + serveMs;
    let delay = Infinity;
    let found = false;
    for (const source of sources) {
      if (!this.#sources.has(source) || except?.has(source) === true) continue;
      if (busy.length > 0 && performance.now() > deadline) {
        this.#soon(source);
        continue;
      }
      let result: TurnResult;
      try {
        result = source.turn();
      } catch (error) {
        rethrow(error);
        result = 'more';
      }
      found ||= result === 'drained' || result === 'more';
      if (!this.#sources.has(source)) continue;
      if (result === 'more') busy.push(source);
      else if (result === 'stuck') delay = Math.min(delay, stuckMs);
      if (source.pollIntervalMs > 0) delay = Math.min(delay, source.pollIntervalMs);
    }
    for (const source of busy) this.#soon(source);
    if (this.#attached.size === 0) return;
    if (this.#watch === null) {
      this.#idleMs = found ? 1 : Math.min(this.#idleMs * 2, maxIdleMs);
      delay = Math.min(delay, this.#idleMs);
    }
    if (delay !== Infinity) this.#later(delay);
  }

  #soon(source: Pollable): void {
    this.#again.add(source);
    if (this.#immediate !== null) return;
    this.#immediate = setImmediate(() => {
      this.#immediate = null;
      const sources = [...this.#again];
      this.#again.clear();
      this.#serve(sources);
    });
    if (!this.#referenced) this.#immediate.unref();
  }

  #later(delay: number): void {
    const at = performance.now() + delay;
    if (this.#timer !== null) {
      if (this.#timerAt <= at) return;
      clearTimeout(this.#timer);
    }
    this.#timerAt = at;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#timerAt = Infinity;
      this.#serve(this.#sources);
    }, delay);
    if (!this.#referenced) this.#timer.unref();
  }
}

function rethrow(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

const loops = new WeakMap<Sys, EventLoop>();

/** The event loop of this thread for a `Sys`. */
export function eventLoop(sys: Sys): EventLoop {
  let loop = loops.get(sys);
  if (loop === undefined) {
    loop = new EventLoop(sys);
    loops.set(sys, loop);
  }
  return loop;
}
