// Stands between a client and an API server, real or not: records what passes, and lets tests break it off.
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { StringDecoder } from 'node:string_decoder';
import type { ClusterAccess } from '../../../src/enrich/kubernetes/access.ts';

export interface RelayedRequest {
  readonly url: string;
  readonly at: number;
  /** Lines of the answer: events of a watch. */
  readonly lines: string[];
  /** 0 until the server has answered. */
  status: number;
}

/** Asks the server with the client's token, or with the certificate of `access`. */
export class Relay {
  readonly requests: RelayedRequest[] = [];
  /** Requests for which it says true are broken off without an answer. */
  broken: (url: string) => boolean = () => false;
  /** What is waited for before a request is passed on. */
  before: (url: string) => Promise<unknown> = () => Promise.resolve();
  readonly #access: ClusterAccess;
  readonly #agent: http.Agent;
  readonly #server: http.Server;
  readonly #open = new Map<http.ServerResponse, string>();

  private constructor(access: ClusterAccess) {
    this.#access = access;
    const { ca, clientCertificate, clientKey } = access;
    this.#agent = access.server.startsWith('https:')
      ? new https.Agent({
          keepAlive: true,
          ...(ca === null ? {} : { ca }),
          ...(clientCertificate === null ? {} : { cert: clientCertificate }),
          ...(clientKey === null ? {} : { key: clientKey }),
        })
      : new http.Agent({ keepAlive: true });
    this.#server = http.createServer((request, response) => void this.#pass(request, response));
  }

  static async start(access: ClusterAccess): Promise<Relay> {
    const relay = new Relay(access);
    await new Promise<void>((resolve) => relay.#server.listen(0, '127.0.0.1', resolve));
    return relay;
  }

  /** How to reach the server through the relay. */
  get access(): ClusterAccess {
    const { port } = this.#server.address() as AddressInfo;
    return { ...this.#access, server: `http://127.0.0.1:${port}`, ca: null, clientCertificate: null, clientKey: null };
  }

  /** Requests whose path begins so, in their order. */
  asked(start: string): readonly RelayedRequest[] {
    return this.requests.filter(({ url }) => url.startsWith(start));
  }

  /** Breaks off what is being answered and begins so. */
  cut(start: string): void {
    for (const [response, url] of this.#open) if (url.startsWith(start)) response.destroy();
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
    this.#agent.destroy();
  }

  async #pass(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const url = request.url ?? '/';
    const record: RelayedRequest = { url, at: performance.now(), lines: [], status: 0 };
    this.requests.push(record);
    if (this.broken(url)) {
      response.destroy();
      return;
    }
    this.#open.set(response, url);
    response.on('close', () => this.#open.delete(response));
    await this.before(url);
    const { accept, authorization } = request.headers;
    const headers = { ...(accept === undefined ? {} : { accept }), ...(authorization === undefined ? {} : { authorization }) };
    const client = this.#access.server.startsWith('https:') ? https : http;
    const upstream = client.get(`${this.#access.server}${url}`, { agent: this.#agent, headers }, (answer) => {
      record.status = answer.statusCode ?? 0;
      response.writeHead(record.status, answer.headers);
      response.flushHeaders();
      const decoder = new StringDecoder('utf8');
      let rest = '';
      answer.on('data', (part: Buffer) => {
        const lines = (rest + decoder.write(part)).split('\n');
        rest = lines.pop() ?? '';
        // Recorded before it is passed on: who has seen its effect finds it.
        if (url.includes('watch=true')) record.lines.push(...lines);
        response.write(part);
      });
      answer.on('end', () => response.end());
      answer.on('error', () => response.destroy());
    });
    upstream.on('error', () => response.destroy());
    response.on('close', () => upstream.destroy());
  }
}
