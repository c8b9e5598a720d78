import http from 'node:http';
import { patiently } from './patience.ts';
import { RuntimeApiError } from './error.ts';
import { parseJson, type Json } from '../json.ts';

/** What one question may cost. */
export interface AskLimits {
  /** From connecting to the last byte; 1000 unless said. */
  readonly timeoutMs?: number;
  /** Of an answer's body, in bytes; 16 MiB unless said. */
  readonly maxBytes?: number;
}

/** The longest line of a stream, in bytes. */
const maxLine = 1024 * 1024;

/** HTTP over a unix socket: JSON answers, and streams of JSON lines. Errors are {@link RuntimeApiError}s. */
export class UnixHttp {
  readonly socket: string;
  /** Made for the first question: most sockets are looked for, and not there. */
  #agent: http.Agent | null = null;

  constructor(socket: string) {
    this.socket = socket;
  }

  /** The JSON that a GET answers. */
  async json(path: string, limits: AskLimits = {}): Promise<Json> {
    const timeoutMs = limits.timeoutMs ?? 1000;
    const body = await this.#collect(path, timeoutMs, limits.maxBytes ?? 16 * 1024 * 1024);
    const value = parseJson(body);
    if (value === undefined) throw new RuntimeApiError(`GET ${path} of ${this.socket} failed`, 'the answer is no JSON');
    return value;
  }

  /** Gives every line of an answer that does not end; resolves when it does, or the signal is aborted. `onOpen` is called when headers came. */
  lines(path: string, onLine: (line: Json) => void, signal: AbortSignal, onOpen: () => void = () => {}): Promise<void> {
    return new Promise((resolve, reject) => {
      const fail = (why: string, cause?: unknown): void => {
        request.destroy();
        reject(new RuntimeApiError(`GET ${path} of ${this.socket} failed`, why, { cause }));
      };
      // A connection of its own: it stays busy.
      const request = http.get({ socketPath: this.socket, path, agent: false, signal });
      request.on('error', (error) => (signal.aborted ? resolve() : fail(error.message, error)));
      request.on('response', (response) => {
        if (response.statusCode !== 200) {
          fail(`HTTP status ${response.statusCode ?? 0}`);
          return;
        }
        onOpen();
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => {
          const lines = (rest + part).split('\n');
          rest = lines.pop() ?? '';
          if (rest.length > maxLine) fail(`a line is longer than ${maxLine} bytes`);
          for (const line of lines) if (line.trim() !== '') onLine(parseJson(line));
        });
        response.on('error', (error) => (signal.aborted ? resolve() : fail(error.message, error)));
        response.on('close', () => resolve());
      });
    });
  }

  close(): void {
    this.#agent?.destroy();
  }

  #collect(path: string, timeoutMs: number, maxBytes: number): Promise<string> {
    return new Promise((resolve, reject) => {
      let ended = false;
      const fail = (why: string, more: { readonly status?: number; readonly timedOut?: boolean; readonly cause?: unknown } = {}): void => {
        if (ended) return;
        ended = true;
        callOff();
        request.destroy();
        reject(new RuntimeApiError(`GET ${path} of ${this.socket} failed`, why, more));
      };
      const callOff = patiently(timeoutMs, () => fail(`no whole answer in ${timeoutMs} ms`, { timedOut: true }));
      this.#agent ??= new http.Agent({ keepAlive: true, maxSockets: 8, timeout: 30_000 });
      const request = http.get({ socketPath: this.socket, path, agent: this.#agent });
      request.on('error', (error) => fail(error.message, { cause: error }));
      request.on('response', (response) => {
        const status = response.statusCode ?? 0;
        const parts: Buffer[] = [];
        let size = 0;
        response.on('error', (error) => fail(error.message, { cause: error }));
        response.on('data', (part: Buffer) => {
          size += part.length;
          if (size > maxBytes) fail(`the answer is longer than ${maxBytes} bytes`);
          else parts.push(part);
        });
        response.on('aborted', () => fail('the answer ends too early'));
        response.on('end', () => {
          if (status !== 200) {
            fail(`HTTP status ${status}`, { status });
            return;
          }
          if (ended) return;
          ended = true;
          callOff();
          resolve(Buffer.concat(parts).toString('utf8'));
        });
      });
    });
  }
}
