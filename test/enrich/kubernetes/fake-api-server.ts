// An API server of this process: lists in pages, watches with bookmarks, merge patches, RBAC by name, and every kind of misbehaviour.
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ClusterAccess } from '../../../src/enrich/kubernetes/access.ts';
import type { TestAccount, TestObject, TestServer } from './server.ts';

interface Stored {
  readonly [key: string]: unknown;
  readonly metadata: Record<string, unknown> & { uid: string; name: string; namespace?: string; resourceVersion: string };
}

interface Change {
  readonly version: number;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly collection: string;
  readonly object: Stored;
}

interface Watcher {
  readonly collection: string;
  readonly response: http.ServerResponse;
}

/** What the server does instead of answering a question. */
export type Misdeed = 'garbage' | 'stall' | 'cut' | 'no-list' | 'error-500' | 'empty-event' | 'endless';

/** Collections by path: those of a namespace are parts of `/api/v1/pods` and the like. */
export class FakeApiServer implements TestServer {
  readonly requests: string[] = [];
  /** Answers GETs of a path this way, until it is deleted from here. */
  readonly misdeeds: Map<string, Misdeed> = new Map();
  /** Paths that this server has none of. */
  readonly absent: Set<string> = new Set();
  readonly #server: http.Server;
  readonly #objects = new Map<string, Map<string, Stored>>();
  readonly #changes: Change[] = [];
  readonly #watchers = new Set<Watcher>();
  readonly #pages = new Map<string, readonly Stored[]>();
  /** Users by their tokens; whether they may do anything. */
  readonly #tokens = new Map<string, { granted: boolean }>();
  #version = 100;
  #compacted = 0;

  private constructor() {
    this.#server = http.createServer((request, response) => this.#serve(request, response));
  }

  static async start(): Promise<FakeApiServer> {
    const fake = new FakeApiServer();
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  access(user: 'admin' | 'reader' | 'nobody'): ClusterAccess {
    const { port } = this.#server.address() as AddressInfo;
    const none = { ca: null, clientCertificate: null, clientKey: null, tokenFile: null, serverName: null, insecure: false };
    return { ...none, server: `http://127.0.0.1:${port}`, token: user };
  }

  create(path: string, object: object): Promise<TestObject> {
    const given = object as { metadata: { name: string } };
    const namespace = /\/namespaces\/([^/]+)\//.exec(path)?.[1];
    const metadata = { ...given.metadata, uid: randomUUID(), ...(namespace === undefined ? {} : { namespace }), resourceVersion: '' };
    const stored: Stored = { ...given, metadata };
    this.#change('ADDED', collectionOf(path), stored);
    return Promise.resolve(structuredClone(stored));
  }

  patchStatus(path: string, status: object): Promise<void> {
    const { collection, stored } = this.#find(path);
    const before = stored['status'] ?? {};
    this.#change('MODIFIED', collection, { ...stored, status: { ...before, ...status } });
    return Promise.resolve();
  }

  read(path: string): Promise<unknown> {
    return Promise.resolve(structuredClone(this.#find(path).stored));
  }

  terminate(path: string): Promise<void> {
    this.patchMetadata(path, { deletionTimestamp: '2026-01-01T00:00:00Z', deletionGracePeriodSeconds: 30 });
    return Promise.resolve();
  }

  forget(): Promise<void> {
    this.compact();
    return Promise.resolve();
  }

  account(): Promise<TestAccount> {
    const user = { granted: false };
    return Promise.resolve({
      token: () => {
        const text = randomUUID();
        this.#tokens.set(text, user);
        return Promise.resolve({ text, revoke: () => Promise.resolve(void this.#tokens.delete(text)) });
      },
      grant: () => Promise.resolve(void (user.granted = true)),
      remove: () => Promise.resolve(),
    });
  }

  /** Merges into the metadata. */
  patchMetadata(path: string, metadata: object): void {
    const { collection, stored } = this.#find(path);
    this.#change('MODIFIED', collection, { ...stored, metadata: { ...stored.metadata, ...metadata } });
  }

  remove(path: string): Promise<void> {
    const { collection, stored } = this.#find(path);
    this.#change('DELETED', collection, stored);
    return Promise.resolve();
  }

  /** Forgets everything before now: watches from there, and pages begun, are gone. */
  compact(): void {
    this.#compacted = this.#version;
    this.#pages.clear();
  }

  /** Ends every watch without a word. */
  dropWatches(): void {
    for (const { response } of this.#watchers) response.destroy();
    this.#watchers.clear();
  }

  /** Sends a line to every watch of a collection. */
  say(collection: string, line: string): void {
    for (const watcher of this.#watchers) if (watcher.collection === collection) watcher.response.write(`${line}\n`);
  }

  bookmark(collection: string): void {
    for (const watcher of this.#watchers) if (watcher.collection === collection) this.#mark(watcher);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #mark({ response }: Watcher): void {
    response.write(`${JSON.stringify({ type: 'BOOKMARK', object: { metadata: { resourceVersion: String(this.#version) } } })}\n`);
  }

  #find(path: string): { readonly collection: string; readonly stored: Stored } {
    const collection = collectionOf(path.slice(0, path.lastIndexOf('/')));
    const name = path.slice(path.lastIndexOf('/') + 1);
    const namespace = /\/namespaces\/([^/]+)\//.exec(path)?.[1];
    const stored = [...(this.#objects.get(collection)?.values() ?? [])].find(
      ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
    );
    if (stored === undefined) throw new Error(`no ${path}`);
    return { collection, stored };
  }

  #change(type: Change['type'], collection: string, object: Stored): void {
    const version = ++this.#version;
    const stored: Stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const objects = this.#objects.get(collection) ?? new Map<string, Stored>();
    this.#objects.set(collection, objects);
    if (type === 'DELETED') objects.delete(stored.metadata.uid);
    else objects.set(stored.metadata.uid, stored);
    this.#changes.push({ version, type, collection, object: stored });
    this.say(collection, JSON.stringify({ type, object: stored }));
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const url = new URL(request.url ?? '/', 'http://server');
    this.requests.push(request.url ?? '');
    const user = request.headers.authorization?.replace('Bearer ', '') ?? '';
    const collection = collectionOf(url.pathname);
    const single = this.#single(url.pathname);
    const refuse = (code: number, message: string): void => {
      response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify({ kind: 'Status', code, message }));
    };
    const account = this.#tokens.get(user);
    if (account === undefined && !['admin', 'reader', 'nobody'].includes(user)) return refuse(401, 'Unauthorized');
    if (user === 'nobody' || account?.granted === false || (user === 'reader' && collection !== '/api/v1/pods'))
      return refuse(403, 'this user cannot list it');
    if (this.absent.has(collection)) return refuse(404, 'the server could not find the requested resource');
    const misdeed = this.misdeeds.get(url.searchParams.has('watch') ? `watch ${collection}` : collection);
    if (misdeed !== undefined) return misbehave(misdeed, response);
    if (single !== null) return void response.writeHead(200).end(JSON.stringify(single));
    if (/\/namespaces\/[^/]+\/[^/]+\/[^/]+$/.test(url.pathname)) return refuse(404, 'not found');
    if (url.searchParams.get('watch') === 'true') return this.#watch(collection, url.searchParams, response);
    return this.#list(collection, url.searchParams, response, refuse);
  }

  #single(path: string): Stored | null {
    try {
      return this.#find(path).stored;
    } catch {
      return null;
    }
  }

  #list(collection: string, query: URLSearchParams, response: http.ServerResponse, refuse: (code: number, message: string) => void): void {
    const continued = query.get('continue') ?? '';
    const limit = Number(query.get('limit') ?? '500');
    const rest = continued === '' ? [...(this.#objects.get(collection)?.values() ?? [])] : this.#pages.get(continued);
    if (rest === undefined) return refuse(410, 'The provided continue parameter is too old');
    const next = rest.length > limit ? randomUUID() : '';
    if (next !== '') this.#pages.set(next, rest.slice(limit));
    const metadata = { resourceVersion: String(this.#version), ...(next === '' ? {} : { continue: next }) };
    return void response.writeHead(200).end(JSON.stringify({ kind: 'List', metadata, items: rest.slice(0, limit) }));
  }

  #watch(collection: string, query: URLSearchParams, response: http.ServerResponse): void {
    const from = Number(query.get('resourceVersion'));
    response.writeHead(200);
    response.flushHeaders();
    if (from < this.#compacted) {
      // As real servers: status 200, and the error in the stream.
      response.end(`${JSON.stringify({ type: 'ERROR', object: { kind: 'Status', code: 410, message: 'too old resource version' } })}\n`);
      return;
    }
    for (const change of this.#changes) {
      if (change.version > from && change.collection === collection)
        response.write(`${JSON.stringify({ type: change.type, object: change.object })}\n`);
    }
    const watcher = { collection, response };
    this.#watchers.add(watcher);
    // As real servers: a bookmark two seconds before the watch ends, where bookmarks were asked for.
    const ms = Number(query.get('timeoutSeconds') ?? '300') * 1000;
    const timers = [setTimeout(() => response.end(), ms)];
    if (query.get('allowWatchBookmarks') === 'true') timers.push(setTimeout(() => this.#mark(watcher), Math.max(0, ms - 2000)));
    response.on('close', () => {
      this.#watchers.delete(watcher);
      for (const timer of timers) clearTimeout(timer);
    });
  }
}

/** `/api/v1/namespaces/shop/pods` is a part of `/api/v1/pods`. */
function collectionOf(path: string): string {
  return path.replace(/\/namespaces\/[^/]+(?=\/)/, '');
}

function misbehave(misdeed: Misdeed, response: http.ServerResponse): void {
  switch (misdeed) {
    case 'garbage':
      response.writeHead(200).end('\u0000\u0001 this is { no JSON\n');
      return;
    case 'cut':
      response.writeHead(200, { 'content-length': '10000' });
      response.write('{"metadata":{"resourceVersion":"1"},"items":[');
      setTimeout(() => response.destroy(), 5);
      return;
    case 'no-list':
      response.writeHead(200).end('{"items":"many","metadata":[]}\n');
      return;
    case 'endless':
      response.writeHead(200).end('{"metadata":{"resourceVersion":"1","continue":"again"},"items":[]}\n');
      return;
    case 'error-500':
      response.writeHead(500).end('etcdserver: leader changed');
      return;
    case 'empty-event':
      response.writeHead(200).end('{}\n');
      return;
    case 'stall':
      response.writeHead(200);
      response.flushHeaders();
  }
}
