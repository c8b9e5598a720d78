// What trace_ssl shows of the three libraries: clients of OpenSSL, GnuTLS and NSS (libcurl is built with each) speak to a TLS
// server of Node's. The plain text that the server heard and said is the truth.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:tls';
import t from 'tap';
import { findLibraries } from '../../src/bpf/link/library.ts';
import { slowness } from '../support/patience.ts';
import { commOf, expectProcess, expectTime } from '../support/process.ts';
import { RunningGadget, type JsonEvent } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

const koffi = createRequire(import.meta.url).resolve('koffi');
const fixture = (name: string): Buffer => readFileSync(new URL(`../../../fixtures/loader/${name}`, import.meta.url));
// The certificate of fixtures/loader; clients are told not to ask who it is of.
const pem = `-----BEGIN CERTIFICATE-----\n${fixture('cert.der').toString('base64')}\n-----END CERTIFICATE-----\n`;

// Sends what it is told by libraries of the machine, one after the other. Numbers of options: curl/curl.h.
const client = String.raw`
  const koffi = require(process.argv[1]);
  const libraries = process.argv.slice(2).map((path) => koffi.load(path));
  console.log('ready');
  process.stdin.once('data', (data) => {
    const { urls, body } = JSON.parse(data.toString());
    for (const [i, curl] of libraries.entries()) {
      const setopt = curl.func('int curl_easy_setopt(void *, int, ...)');
      const handle = curl.func('void *curl_easy_init()')();
      setopt(handle, 64, 'long', 0); setopt(handle, 81, 'long', 0);
      setopt(handle, 84, 'long', 2); setopt(handle, 13, 'long', 60);
      setopt(handle, 10002, 'str', urls[i]);
      setopt(handle, 10015, 'str', body);
      console.log('\nresult ' + i + ' ' + curl.func('int curl_easy_perform(void *)')(handle));
      curl.func('void curl_easy_cleanup(void *)')(handle);
    }
    process.stdin.once('data', () => process.exit());
    console.log('done');
  });
`;

interface Library {
  readonly name: string;
  /** The build of libcurl that uses it. */
  readonly curl: string;
  readonly handshake: string;
  readonly sends: string;
  readonly receives: string;
  /** What the handshake returns where it succeeds. */
  readonly good: number;
}

const libraries: readonly Library[] = [
  {
    name: 'OpenSSL',
    curl: 'libcurl.so.4',
    handshake: 'libssl_SSL_do_handshake',
    sends: 'libssl_SSL_write',
    receives: 'libssl_SSL_read',
    good: 1,
  },
  {
    name: 'GnuTLS',
    curl: 'libcurl-gnutls.so.4',
    handshake: 'libgnutls_gnutls_handshake',
    sends: 'libgnutls_gnutls_record_send',
    receives: 'libgnutls_gnutls_record_recv',
    good: 0,
  },
  {
    name: 'NSS',
    curl: 'libcurl-nss.so.4',
    handshake: 'libssl3_SSL_ForceHandshakeWithTimeout',
    sends: 'libnspr4_PR_Send',
    receives: 'libnspr4_PR_Recv',
    good: 0,
  },
];

const request = `rawbpf asks: héllo ${'x'.repeat(3000)}`;
const answer = `rawbpf answers ${'y'.repeat(9000)}`;

void t.test('handshakes, what is sent and what is received', async (t) => {
  const here = libraries.flatMap((library) => {
    const [path] = findLibraries(library.curl);
    if (path === undefined) t.comment(`there is no ${library.curl}: ${library.name} is not tested`);
    return path === undefined ? [] : [{ ...library, path, heard: '' }];
  });
  t.ok(here.length > 0, 'libcurl is here');
  const said = `HTTP/1.1 200 OK\r\nContent-Length: ${answer.length}\r\nConnection: close\r\n\r\n${answer}`;
  const servers = await Promise.all(
    here.map(async (library) => {
      const server = createServer({ key: fixture('key.pem'), cert: pem }, (socket) => {
        socket.setEncoding('utf8').on('data', (part: string) => {
          library.heard += part;
          if (library.heard.endsWith(request)) socket.end(said);
        });
        socket.on('error', () => {});
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }),
  );
  const urls = servers.map((server) => `https://127.0.0.1:${(server.address() as AddressInfo).port}/`);

  const child = spawn(process.execPath, ['-e', client, '--', koffi, ...here.map(({ path }) => path)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  while (!text.includes('ready\n')) await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const gadget = await RunningGadget.start('trace_ssl', ['--pid', String(pid), '--crypto=false']);
  const from = Date.now();
  child.stdin.write(JSON.stringify({ urls, body: request }));
  while (!text.includes('done\n')) await once(child.stdout, 'data');
  const to = Date.now();
  const comm = commOf(pid);
  const { events, lost, stderr } = await gadget.stop();
  child.stdin.end('end\n');
  await once(child, 'close');
  for (const server of servers) server.close();
  t.equal(lost, 0);
  t.equal(text.split(answer).length - 1, here.length, 'all clients have the answer');

  for (const [i, { name, handshake, sends, receives, good, heard }] of here.entries()) {
    t.match(text, new RegExp(`result ${i} 0\n`), `${name}: the client is content`);
    const of = (operation: string): readonly JsonEvent[] => events.filter((event) => event['operation'] === operation);
    const joined = (list: readonly JsonEvent[]): string => list.map((event) => event['buf']).join('');
    const shaken = of(handshake);
    t.equal(shaken.length, 1, `${name}: one handshake that succeeded: ${events.map((event) => event['operation']).join(', ')} ${stderr}`);
    t.match(shaken[0], { ret: good, len: 0, buf: '', direction: 'neither' }, `${name}: handshake`);
    t.equal(joined(of(sends)), heard, `${name}: what was sent is what the server heard`);
    t.equal(joined(of(receives)), said, `${name}: what was received is what the server said`);
    const all = [...shaken, ...of(sends), ...of(receives)];
    t.equal(new Set(all.map((event) => event['session'])).size, 1, `${name}: all of one session`);
    for (const event of [...of(sends), ...of(receives)]) {
      t.equal(event['len'], Buffer.byteLength(String(event['buf'])), 'length');
      t.equal(event['ret'], event['len'], 'as it was returned');
      t.equal(event['direction'], event['operation'] === sends ? 'sent' : 'received');
    }
    for (const event of all) {
      const latency = Number(event['latency_ns_raw']) / 1e6;
      t.ok(latency > 0 && latency <= to - from + 1, 'how long it took');
      expectProcess(t, event.proc, { pid, comm }, String(event['operation']));
      expectTime(t, event, { from, to }, String(event['operation']));
    }
    t.ok(Number(shaken[0]?.['timestamp_raw']) <= Number(of(sends)[0]?.['timestamp_raw']), `${name}: the handshake comes first`);
  }
});
