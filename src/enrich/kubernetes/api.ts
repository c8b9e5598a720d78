import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { parseJson, type Json } from '../json.ts';
import type { ClusterAccess } from './access.ts';
import { KubernetesApiError } from './error.ts';

/** Limits of one question. */
export interface ApiLimits {
  /** Without a byte for so long it is given up; 30 s unless said. */
  readonly idleMs?: number;
  /** Of a whole answer, or of one line of a watch; 64 MiB unless said. */
  readonly maxBytes?: number;
}

const tokenHoldsMs = 60_000;

/** Reads from a Kubernetes API server; writes nothing. Errors are {@link KubernetesApiError}s. */
export class KubernetesApi {
  readonly server: string;
  readonly #access: ClusterAccess;
  readonly #agent: http.Agent;
  #token: string | null = null;
  #tokenReadAt = Number.NEGATIVE_INFINITY;

  constructor(access: ClusterAccess) {
    this.server = access.server;
    this.#access = access;
    const { ca, clientCertificate, clientKey, serverName, insecure } = access;
    this.#agent = access.server.startsWith('https:')
      ? new https.Agent({
          keepAlive: true,
          maxSockets: 16,
          rejectUnauthorized: !insecure,
          ...(ca === null ? {} : { ca }),
          ...(clientCertificate === null ? {} : { cert: clientCertificate }),
          ...(clientKey === null ? {} : { key: clientKey }),
          ...(serverName === null ? {} : { servername: serverName }),
        })
      : new http.Agent({ keepAlive: true, maxSockets: 16 });
  }

  /** The JSON at a path. */
  async get(path: string, signal: AbortSignal, accept = 'application/json', limits: ApiLimits = {}): Promise<Json> {
    const parts: Buffer[] = [];
    await this.#read(path, accept, signal, limits, (part) => parts.push(part), true);
    const value = parseJson(Buffer.concat(parts).toString('utf8'));
    if (value === undefined) throw this.#error(path, 'the answer is no JSON', { garbage: true });
    return value;
  }

  /** Every line of a watch, as JSON; resolves when the server ends it, or the signal is aborted. */
  async lines(
    path: string,
    onLine: (line: Json) => void,
    signal: AbortSignal,
    limits: ApiLimits = {},
    onOpen: () => void = () => {},
  ): Promise<void> {
    const maxBytes = limits.maxBytes ?? defaultMax;
    let rest: Buffer[] = [];
    let length = 0;
    const onData = (part: Buffer): void => {
      let start = 0;
      for (let end = part.indexOf(10); end >= 0; end = part.indexOf(10, start)) {
        rest.push(part.subarray(start, end));
        const line = Buffer.concat(rest).toString('utf8');
        [rest, length, start] = [[], 0, end + 1];
        if (line.trim() === '') continue;
        const value = parseJson(line);
        if (value === undefined) throw this.#error(path, 'a line is no JSON', { garbage: true });
        onLine(value);
      }
      rest.push(part.subarray(start));
      length += part.length - start;
      if (length > maxBytes) throw this.#error(path, `a line is longer than ${maxBytes} bytes`, { garbage: true });
    };
    await this.#read(path, 'application/json', signal, limits, onData, false, onOpen);
  }

  close(): void {
    this.#agent.destroy();
  }

  #read(
    path: string,
    accept: string,
    signal: AbortSignal,
    limits: ApiLimits,
    onData: (part: Buffer) => void,
    whole: boolean,
    onOpen: () => void = () => {},
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(this.#error(path, 'it was given up'));
        return;
      }
      const token = this.#currentToken();
      const headers = { accept, 'user-agent': 'rawbpf', ...(token === null ? {} : { authorization: `Bearer ${token}` }) };
      const client = this.server.startsWith('https:') ? https : http;
      const request = client.get(`${this.server}${path}`, { agent: this.#agent, headers });
      const done = (error: KubernetesApiError | null): void => {
        signal.removeEventListener('abort', onAbort);
        request.destroy();
        if (error === null) resolve();
        else reject(error);
      };
      const onAbort = (): void => done(whole ? this.#error(path, 'it was given up') : null);
      signal.addEventListener('abort', onAbort);
      request.setTimeout(limits.idleMs ?? 30_000, () => done(this.#error(path, `nothing came for ${(limits.idleMs ?? 30_000) / 1000} s`)));
      request.on('error', (error) => done(this.#error(path, error.message, { cause: error })));
      request.on('response', (response) => {
        const status = response.statusCode ?? 0;
        let size = 0;
        let message = '';
        if (status === 200) onOpen();
        response.on('data', (part: Buffer) => {
          size += part.length;
          try {
            if (status !== 200) message += message.length < 4096 ? part.toString('utf8') : '';
            else if (whole && size > (limits.maxBytes ?? defaultMax))
              throw this.#error(path, `the answer is longer than ${limits.maxBytes ?? defaultMax} bytes`);
            else onData(part);
          } catch (error) {
            done(
              error instanceof KubernetesApiError
                ? error
                : this.#error(path, error instanceof Error ? error.message : String(error), { garbage: true, cause: error }),
            );
          }
        });
        response.on('error', (error) => done(this.#error(path, error.message, { cause: error })));
        response.on('aborted', () => done(this.#error(path, 'the answer ends too early')));
        response.on('end', () => {
          if (status === 401) this.#tokenReadAt = Number.NEGATIVE_INFINITY;
          done(status === 200 ? null : this.#error(path, `HTTP status ${status}: ${statusMessage(message)}`, { status }));
        });
      });
    });
  }

  #currentToken(): string | null {
    const { token, tokenFile } = this.#access;
    if (tokenFile === null) return token;
    const now = performance.now();
    if (now - this.#tokenReadAt >= tokenHoldsMs) {
      this.#tokenReadAt = now;
      try {
        this.#token = readFileSync(tokenFile, 'utf8').trim();
      } catch {
        // The one before may still do.
      }
    }
    return this.#token ?? token;
  }

  #error(
    path: string,
    why: string,
    more: { readonly status?: number; readonly garbage?: boolean; readonly cause?: unknown } = {},
  ): KubernetesApiError {
    return new KubernetesApiError(`GET ${this.server}${path.split('?')[0] ?? ''} failed`, why, more);
  }
}

const defaultMax = 64 * 1024 * 1024;

/** The sentence in a Status object; else the first line. */
function statusMessage(body: string): string {
  const value = parseJson(body);
  const message = typeof value === 'object' && value !== null ? Reflect.get(value, 'message') : undefined;
  return (typeof message === 'string' ? message : (body.split('\n')[0] ?? '')).slice(0, 300);
}
