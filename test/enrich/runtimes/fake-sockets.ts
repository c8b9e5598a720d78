// Sockets that give recorded answers again, or misbehave.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** One question and its answer, as scripts/containers/record.mjs writes them. */
export interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly namespace?: string;
  readonly request?: string;
  readonly answer?: unknown;
  readonly status?: number;
}

/** A recording, with what the runtime's own client said of the same containers. */
export interface Recording<T> {
  readonly oracle: T;
  readonly asked: readonly Asked[];
}

export function fixturePath(name: string): string {
  return fileURLToPath(new URL(`../../../../fixtures/runtimes/${name}`, import.meta.url));
}

export function recording<T>(name: string): Recording<T> {
  return JSON.parse(readFileSync(fixturePath(`${name}.json`), 'utf8'));
}

/** A socket in a folder of its own; close() takes both away. */
export class FakeSocket {
  readonly path: string;
  readonly #folder: string;
  readonly #server: net.Server | http.Server | http2.Http2Server;
  readonly #connections = new Set<net.Socket>();
  /** Connections taken so far. */
  connected = 0;

  private constructor(server: net.Server | http.Server | http2.Http2Server) {
    this.#folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-socket-'));
    this.path = path.join(this.#folder, 's');
    this.#server = server;
    server.on('connection', (socket: net.Socket) => {
      this.connected++;
      this.#connections.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => this.#connections.delete(socket));
    });
  }

  static async listen(server: net.Server | http.Server | http2.Http2Server): Promise<FakeSocket> {
    const fake = new FakeSocket(server);
    await new Promise<void>((resolve) => server.listen(fake.path, resolve));
    return fake;
  }

  /** As a daemon that is killed: the file stays. */
  dropConnections(): void {
    for (const socket of this.#connections) socket.destroy();
  }

  async close(): Promise<void> {
    this.dropConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** HTTP answers by path; what was not recorded is 404. `events` gets the responses of paths that have /events. */
export function httpReplay(asked: readonly Asked[], events: (response: http.ServerResponse) => void = () => {}): http.Server {
  return http.createServer((request, response) => {
    if (request.url?.includes('/events') === true) {
      response.writeHead(200);
      response.flushHeaders();
      events(response);
      return;
    }
    const found = asked.find((each) => each.path === request.url);
    response
      .writeHead(found === undefined ? 404 : (found.status ?? 200))
      .end(JSON.stringify(found?.answer ?? { message: 'no such thing' }));
  });
}

/** gRPC answers by method, containerd's namespace and request; what was not recorded is NOT_FOUND. `stream` gets the streams of the methods named there. */
export function grpcReplay(
  asked: readonly Asked[],
  streams: ReadonlyMap<string, (stream: http2.ServerHttp2Stream) => void> = new Map(),
): http2.Http2Server {
  const server = http2.createServer();
  server.on('stream', (stream, headers) => {
    const method = String(headers[':path']);
    const parts: Buffer[] = [];
    stream.on('error', () => {});
    stream.on('data', (part: Buffer) => parts.push(part));
    stream.on('end', () => {
      const open = streams.get(method);
      if (open !== undefined) {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        open(stream);
        return;
      }
      const request = Buffer.concat(parts).subarray(5).toString('base64');
      const namespace = String(headers['containerd-namespace'] ?? '');
      const found = asked.find((each) => each.method === method && each.namespace === namespace && each.request === request);
      if (typeof found?.answer !== 'string') {
        stream.respond(
          { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': String(found?.status ?? 5), 'grpc-message': 'not%20found' },
          { endStream: true },
        );
        return;
      }
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(grpcMessage(Buffer.from(found.answer, 'base64')));
    });
  });
  return server;
}

/** A message as it goes over the wire. */
export function grpcMessage(message: Uint8Array): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** What sockets of all protocols do when they are broken. */
export const brokenServers: ReadonlyMap<string, () => net.Server> = new Map([
  ['hangs', () => net.createServer((socket) => void socket.resume())],
  ['closes at once', () => net.createServer((socket) => void socket.destroy())],
  ['answers garbage', () => net.createServer((socket) => void socket.end('\u0000\u0001\u0002 what? \r\n\r\n{]'.repeat(50)))],
  [
    'answers endlessly',
    () =>
      net.createServer((socket) => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        const more = (): void => {
          while (!socket.destroyed && socket.write(Buffer.alloc(65536, '['))) {
            // Until its buffer is full.
          }
        };
        socket.on('drain', more).on('error', () => {});
        more();
      }),
  ],
  ['answers half', () => net.createServer((socket) => void socket.end('HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"Id":'))],
  ['answers another shape', () => http.createServer((_, response) => void response.end('{"Id":[],"Config":7,"State":null,"Names":{}}'))],
  ['answers 500', () => http.createServer((_, response) => void response.writeHead(500).end('no'))],
]);
