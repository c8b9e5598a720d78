import { setMaxListeners } from 'node:events';
import { Backoff, pause } from '../backoff.ts';
import { at, elements, integer, member, text, type Json } from '../json.ts';
import type { KubernetesApi } from './api.ts';
import { KubernetesApiError } from './error.ts';

/** What a {@link ListWatch} tells of one kind of objects. */
export interface ObjectListener {
  /** A list begins: what is not told again until listed() is gone. */
  listing(): void;
  changed(object: Json): void;
  deleted(object: Json): void;
  listed(): void;
}

/** Options of a {@link ListWatch}; times are for tests. */
export interface ListWatchOptions {
  /** How many objects an answer may hold. */
  readonly pageSize?: number;
  /** Seconds after which the server is asked to end a watch, which is then opened again; a random part is added. */
  readonly watchSeconds?: number;
  /** Without a byte for so long a question is given up. */
  readonly idleMs?: number;
  readonly minBackoffMs?: number;
  readonly maxBackoffMs?: number;
  /** Told, once for each kind of trouble, why there are no objects. */
  readonly onNotice?: (message: string) => void;
}

/** The resource version that a list or a watch has come to is too old: everything is listed anew. */
const GONE = 410;
const FORBIDDEN = 403;
const UNAUTHORIZED = 401;
const NOT_FOUND = 404;

/**
 * Follows all objects of one kind: lists them in pages, then watches for changes from there on; lists again when the server has forgotten
 * where we were (kubernetes.io/docs/reference/using-api/api-concepts, "Efficient detection of changes").
 */
export class ListWatch {
  readonly #api: KubernetesApi;
  readonly #paths: readonly string[];
  readonly #listener: ObjectListener;
  readonly #options: ListWatchOptions;
  readonly #abort = new AbortController();
  readonly #told = new Set<string>();
  #path: string;
  #listedOnce = false;
  /** Where the watch has come to; null: a list is needed. */
  #version: string | null = null;
  #lastContact = performance.now();
  #open = false;
  #wake: () => void = () => {};

  /** `paths` are those of the same objects in API groups and versions, the best first: the first that the server has is taken. */
  constructor(api: KubernetesApi, paths: readonly [string, ...string[]], listener: ObjectListener, options: ListWatchOptions = {}) {
    this.#api = api;
    this.#paths = paths;
    this.#path = paths[0];
    this.#listener = listener;
    this.#options = options;
    setMaxListeners(0, this.#abort.signal);
  }

  /** Whether a whole list has been taken. */
  get synced(): boolean {
    return this.#listedOnce;
  }

  /** For how many milliseconds nothing has been heard from the server; 0 while a watch is open. */
  get silentMs(): number {
    return this.#open ? 0 : performance.now() - this.#lastContact;
  }

  /** Starts; the promise resolves when the first list is complete or has failed once: there is nothing to wait for then. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      void this.#run();
    });
  }

  close(): void {
    this.#abort.abort();
    this.#wake();
  }

  async #run(): Promise<void> {
    const { signal } = this.#abort;
    const backoff = new Backoff(this.#options.minBackoffMs ?? 200, this.#options.maxBackoffMs ?? 30_000);
    while (!signal.aborted) {
      try {
        if (this.#version === null) {
          this.#version = await this.#list(signal);
          this.#listedOnce = true;
          this.#told.clear();
          this.#wake();
        }
        const started = performance.now();
        await this.#watch(this.#version, signal, () => backoff.reset());
        // A watch that ends at once, without a word, is no reason to ask a hundred times a second.
        if (performance.now() - started < 1000) await pause(backoff.next(), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (this.#takesOtherPath(error)) continue;
        if (this.#judge(error)) this.#version = null;
        this.#wake();
        await pause(backoff.next(), signal);
      } finally {
        if (this.#open) this.#lastContact = performance.now();
        this.#open = false;
      }
    }
  }

  /** Gives the resource version of the list. */
  async #list(signal: AbortSignal): Promise<string> {
    this.#listener.listing();
    let continued = '';
    let version = '';
    do {
      const query = `limit=${this.#options.pageSize ?? 500}${continued === '' ? '' : `&continue=${encodeURIComponent(continued)}`}`;
      const page = await this.#api.get(`${this.#path}?${query}`, signal, 'application/json', this.#limits(30_000));
      version = text(at(page, 'metadata', 'resourceVersion'));
      if (version === '' || !Array.isArray(member(page, 'items')))
        throw new KubernetesApiError(`listing ${this.#path} failed`, 'the answer is no list', { garbage: true });
      for (const item of elements(member(page, 'items'))) this.#listener.changed(item);
      const next = text(at(page, 'metadata', 'continue'));
      if (next !== '' && next === continued)
        throw new KubernetesApiError(`listing ${this.#path} failed`, 'the list never ends', { garbage: true });
      continued = next;
    } while (continued !== '');
    this.#listener.listed();
    return version;
  }

  /** Follows changes until the server ends the watch. */
  async #watch(from: string, signal: AbortSignal, alive: () => void): Promise<void> {
    // Spread, so that not all watches of all clients are opened again at the same moment.
    const base = this.#options.watchSeconds ?? 300;
    const seconds = Math.ceil(base + base * Math.random());
    const query = `watch=true&allowWatchBookmarks=true&resourceVersion=${encodeURIComponent(from)}&timeoutSeconds=${seconds}`;
    // The server ends it; one that does not is given up a while later.
    const own = AbortSignal.any([signal, AbortSignal.timeout(seconds * 1000 + 30_000)]);
    await this.#api.lines(
      `${this.#path}?${query}`,
      (event) => {
        const object = member(event, 'object');
        const type = text(member(event, 'type'));
        if (type === 'ERROR') {
          const code = integer(member(object, 'code'));
          throw new KubernetesApiError(`watching ${this.#path} failed`, text(member(object, 'message')), { status: code });
        }
        const now = text(at(object, 'metadata', 'resourceVersion'));
        if (type === 'ADDED' || type === 'MODIFIED') this.#listener.changed(object);
        else if (type === 'DELETED') this.#listener.deleted(object);
        else if (type !== 'BOOKMARK')
          throw new KubernetesApiError(`watching ${this.#path} failed`, 'an event is of no known type', { garbage: true });
        if (now !== '') this.#version = now;
        alive();
      },
      own,
      // Servers send a bookmark every minute: without a word for longer the connection may be dead.
      this.#limits(150_000),
      () => {
        this.#open = true;
      },
    );
  }

  /** An older server has the objects elsewhere: it is asked there at once. */
  #takesOtherPath(error: unknown): boolean {
    if (!(error instanceof KubernetesApiError) || error.status !== NOT_FOUND) return false;
    const next = this.#paths[this.#paths.indexOf(this.#path) + 1];
    if (next === undefined) return false;
    this.#path = next;
    this.#version = null;
    return true;
  }

  /** Says what is wrong; whether everything must be listed again. */
  #judge(error: unknown): boolean {
    const status = error instanceof KubernetesApiError ? error.status : null;
    const message = error instanceof Error ? error.message : String(error);
    if (status === GONE) return true;
    if (status === FORBIDDEN || status === UNAUTHORIZED) {
      this.#tell('refused', `Kubernetes refuses ${this.#path}: names from there are missing (${message})`);
    } else this.#tell('failed', `Kubernetes cannot be asked for ${this.#path}: names may be old or missing (${message})`);
    // A connection that broke is resumed where it was.
    return error instanceof KubernetesApiError ? error.garbage || status !== null : true;
  }

  #tell(kind: string, message: string): void {
    if (this.#told.has(kind)) return;
    this.#told.add(kind);
    this.#options.onNotice?.(message);
  }

  #limits(idleMs: number): { readonly idleMs: number } {
    return { idleMs: this.#options.idleMs ?? idleMs };
  }
}
