import { existsSync } from 'node:fs';
import { Backoff, pause } from '../backoff.ts';
import type { NameEvent, NameQuery, NameSource, PodNames, RuntimeNames } from '../containers/names.ts';
import { RuntimeApiError } from './error.ts';
import { GRPC_STATUS } from './grpc.ts';

/** What a client needs beside its socket. */
export interface SourceOptions {
  /** Told, once for each kind of trouble, what goes wrong. */
  readonly onNotice?: (message: string) => void;
  /** How long one question may take; 1000 unless said. */
  readonly timeoutMs?: number;
}

/** Of an id that a runtime could have given: ids become parts of paths and requests. */
const plausibleId = /^[A-Za-z0-9][\w.-]{0,255}$/;
/** After so many questions in a row without an answer the socket counts as absent for a while. */
const maxTimeouts = 3;

export const emptyNames: RuntimeNames = {
  containerId: '',
  runtimeName: '',
  containerName: '',
  containerPid: 0,
  containerImageName: '',
  containerImageDigest: '',
  containerStartedAt: '',
  k8s: null,
  labels: new Map(),
  sandbox: false,
};

export const emptyPod: PodNames = {
  node: '',
  namespace: '',
  podName: '',
  podUid: '',
  containerName: '',
  podLabels: new Map(),
  hostnetwork: null,
  owner: { kind: '', name: '' },
};

/**
 * What all runtimes behind a socket have in common: nothing throws, a socket that hangs is not asked for a while, and the
 * stream of events is opened again, with growing waits, whenever it ends.
 */
export abstract class SocketSource implements NameSource {
  abstract readonly name: string;
  readonly socket: string;
  readonly #options: SourceOptions;
  readonly #abort = new AbortController();
  readonly #told = new Set<string>();
  #timeouts = 0;
  #absentUntil = 0;

  constructor(socket: string, options: SourceOptions) {
    this.socket = socket;
    this.#options = options;
  }

  get present(): boolean {
    return !this.#abort.signal.aborted && performance.now() >= this.#absentUntil && existsSync(this.socket);
  }

  async lookup(query: NameQuery): Promise<RuntimeNames | null> {
    if (query.id === '' ? query.pid <= 0 : !plausibleId.test(query.id)) return null;
    return await this.#guarded(() => this.find(query), null);
  }

  async list(): Promise<readonly RuntimeNames[]> {
    return await this.#guarded(() => this.findAll(), []);
  }

  onEvent(listener: (event: NameEvent) => void): void {
    void this.#follow(listener);
  }

  close(): void {
    this.#abort.abort();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** As lookup(), but may throw. */
  protected abstract find(query: NameQuery): Promise<RuntimeNames | null>;
  /** As list(), but may throw. */
  protected abstract findAll(): Promise<readonly RuntimeNames[]>;
  /** Follows changes until the connection ends or the signal is aborted; `opened` is called when it is known to work. False: there is no such thing here. */
  protected abstract follow(listener: (event: NameEvent) => void, signal: AbortSignal, opened: () => void): Promise<boolean>;

  /** Answers to events; a failing one costs that name. */
  protected async tell(id: string, listener: (event: NameEvent) => void): Promise<void> {
    const names = await this.lookup({ id, pid: 0, cgroupPath: '', runtimeHint: '' });
    if (names !== null && !this.#abort.signal.aborted) listener({ type: 'names', id, names });
  }

  protected notice(kind: string, message: string): void {
    if (this.#told.has(kind)) return;
    this.#told.add(kind);
    this.#options.onNotice?.(`${this.name}: ${message}`);
  }

  async #guarded<T>(ask: () => Promise<T>, otherwise: T): Promise<T> {
    if (!this.present) return otherwise;
    try {
      const answer = await ask();
      this.#timeouts = 0;
      return answer;
    } catch (error) {
      this.#judge(error);
      return otherwise;
    }
  }

  #judge(error: unknown): void {
    if (this.#abort.signal.aborted) return;
    if (error instanceof RuntimeApiError && error.timedOut && ++this.#timeouts >= maxTimeouts) {
      this.#absentUntil = performance.now() + 10_000;
      this.#timeouts = 0;
      this.notice('hangs', 'it does not answer; names are missing until it does');
    } else if (error instanceof RuntimeApiError && error.status === GRPC_STATUS.UNIMPLEMENTED) {
      // Another service on that socket: containerd without its CRI plugin.
      this.#absentUntil = performance.now() + 60_000;
    } else if (error instanceof RuntimeApiError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED') {
      // A file left by a daemon that is gone.
      this.#absentUntil = performance.now() + 1000;
    } else if (error instanceof RuntimeApiError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'EACCES') {
      this.notice('access', `its socket ${this.socket} may not be opened by this user`);
    } else if (!(error instanceof RuntimeApiError)) {
      this.notice('garbage', `an answer makes no sense: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  async #follow(listener: (event: NameEvent) => void): Promise<void> {
    const { signal } = this.#abort;
    const backoff = new Backoff(100, 10_000);
    while (!signal.aborted) {
      if (existsSync(this.socket)) {
        try {
          if (!(await this.follow(listener, signal, () => backoff.reset()))) return;
        } catch (error) {
          this.#judge(error);
        }
      }
      await pause(backoff.next(), signal);
    }
  }
}

/** Runs `action` on every item, so many at a time; failures are left out. */
export async function mapSome<T, R>(items: readonly T[], action: (item: T) => Promise<R | null>, atOnce = 8): Promise<R[]> {
  const results: R[] = [];
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      try {
        const result = await action(item);
        if (result !== null) results.push(result);
      } catch (error) {
        if (!(error instanceof RuntimeApiError)) throw error;
        if (error.timedOut) return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
  return results;
}

/** Keeps the newest answers, so many of them; null, what is not known yet, is not kept. */
export class SmallCache<T> {
  readonly #entries = new Map<string, T>();
  readonly #size: number;

  constructor(size: number) {
    this.#size = size;
  }

  async get(key: string, load: () => Promise<T | null>): Promise<T | null> {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const value = await load();
    if (value === null) return null;
    this.#entries.set(key, value);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#size) break;
      this.#entries.delete(oldest);
    }
    return value;
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }
}
