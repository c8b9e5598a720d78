import http2 from 'node:http2';
import net from 'node:net';
import { patiently } from './patience.ts';
import { RuntimeApiError } from './error.ts';

/** Statuses of gRPC that are told apart here (https://grpc.io/docs/guides/status-codes). */
export const GRPC_STATUS = { OK: 0, NOT_FOUND: 5, UNIMPLEMENTED: 12 } as const;

/** The longest message taken, in bytes. */
const maxMessage = 16 * 1024 * 1024;

/** gRPC over a unix socket, without code made from .proto files. Errors are {@link RuntimeApiError}s. */
export class GrpcClient {
  readonly socket: string;
  readonly #timeoutMs: number;
  #session: http2.ClientHttp2Session | null = null;
  #timeouts = 0;

  /** `timeoutMs` is how long one call may take, connecting included; 1000 unless said. */
  constructor(socket: string, timeoutMs = 1000) {
    this.socket = socket;
    this.#timeoutMs = timeoutMs;
  }

  /** Calls `/package.Service/Method` with one message; its one answer. */
  async call(method: string, request: Uint8Array, metadata: Readonly<Record<string, string>> = {}): Promise<Uint8Array> {
    let answer: Uint8Array | null = null;
    const late = new AbortController();
    const callOff = patiently(this.#timeoutMs, () => late.abort());
    try {
      await this.#request(method, request, metadata, (message) => (answer = message), late.signal, true);
    } finally {
      callOff();
    }
    if (answer === null) throw new RuntimeApiError(`${method} of ${this.socket} failed`, 'there was no answer');
    return answer;
  }

  /** Gives every message of a stream; resolves when it ends, or the signal is aborted. */
  stream(method: string, request: Uint8Array, onMessage: (message: Uint8Array) => void, signal: AbortSignal): Promise<void> {
    return this.#request(method, request, {}, onMessage, signal, false);
  }

  close(): void {
    this.#session?.destroy();
    this.#session = null;
  }

  #request(
    method: string,
    request: Uint8Array,
    metadata: Readonly<Record<string, string>>,
    onMessage: (message: Uint8Array) => void,
    signal: AbortSignal,
    limited: boolean,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const session = this.#connected();
      const fail = (why: string, more: { readonly status?: number; readonly timedOut?: boolean; readonly cause?: unknown } = {}): void => {
        signal.removeEventListener('abort', onAbort);
        reject(new RuntimeApiError(`${method} of ${this.socket} failed`, why, more));
      };
      const onAbort = (): void => {
        stream.close(http2.constants.NGHTTP2_CANCEL);
        if (limited) {
          // One call may hang alone, behind a lock of the server's; a connection on which all hang is given up.
          if (++this.#timeouts >= 3 || session.connecting) session.destroy();
          fail('no answer in time', { timedOut: true });
        } else {
          signal.removeEventListener('abort', onAbort);
          resolve();
        }
      };
      const headers = { ':method': 'POST', ':path': method, 'content-type': 'application/grpc', te: 'trailers', ...metadata };
      const stream = session.request(headers);
      let status: Readonly<Record<string, unknown>> = {};
      let rest: Uint8Array = new Uint8Array(0);
      signal.addEventListener('abort', onAbort);
      if (signal.aborted) onAbort();
      // A call that fails at once has its status in the headers, others in the trailers.
      stream.on('response', (answer) => (status = answer));
      stream.on('trailers', (trailers) => (status = trailers));
      stream.on('data', (part: Uint8Array) => {
        try {
          rest = takeMessages(rest.length === 0 ? part : Buffer.concat([rest, part]), onMessage);
        } catch (error) {
          fail(error instanceof Error ? error.message : String(error), { cause: error });
          stream.close(http2.constants.NGHTTP2_CANCEL);
        }
      });
      stream.on('error', (error) => fail(error.message, { cause: error }));
      stream.on('close', () => {
        signal.removeEventListener('abort', onAbort);
        const code = Number(status['grpc-status'] ?? Number.NaN);
        if (!Number.isNaN(code)) this.#timeouts = 0;
        if (code === GRPC_STATUS.OK) resolve();
        else if (Number.isNaN(code)) fail('the connection ended without a status');
        else fail(decodeMessage(status['grpc-message']), { status: code });
      });
      stream.end(request.length === 0 ? Buffer.alloc(5) : Buffer.concat([messageHead(request.length), request]));
    });
  }

  #connected(): http2.ClientHttp2Session {
    const before = this.#session;
    if (before !== null && !before.closed && !before.destroyed) return before;
    const session = http2.connect('http://localhost', { createConnection: () => net.connect(this.socket) });
    // Streams tell what became of them; an error of the session alone is of no interest.
    session.on('error', () => this.#forget(session));
    session.on('goaway', () => this.#forget(session));
    session.on('close', () => this.#forget(session));
    this.#session = session;
    this.#timeouts = 0;
    return session;
  }

  #forget(session: http2.ClientHttp2Session): void {
    if (this.#session === session) this.#session = null;
    if (!session.destroyed) session.close();
  }
}

/** Each message follows its length: a flag for compression, then 32 bits (PROTOCOL-HTTP2 of gRPC, "Length-Prefixed-Message"). */
function messageHead(length: number): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  return head;
}

/** Gives whole messages on; what is left of an unfinished one. */
function takeMessages(bytes: Uint8Array, onMessage: (message: Uint8Array) => void): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let offset = 0;
  while (bytes.length - offset >= 5) {
    const length = view.getUint32(offset + 1);
    if (view.getUint8(offset) !== 0) throw new Error('a message is compressed, though that was not offered');
    if (length > maxMessage) throw new Error(`a message of ${length} bytes is too long`);
    if (bytes.length - offset - 5 < length) break;
    onMessage(bytes.subarray(offset + 5, offset + 5 + length));
    offset += 5 + length;
  }
  return bytes.subarray(offset);
}

/** The message is percent-encoded. */
function decodeMessage(message: unknown): string {
  const text = typeof message === 'string' ? message : '';
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
