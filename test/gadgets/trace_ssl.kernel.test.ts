import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { commOf, expectProcess } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { RunningGadget, type GadgetOutput, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// A server and a client of one process, with a key that both know instead of certificates; tells what either sent.
const both = String.raw`
  const tls = require('node:tls');
  const psk = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
  const settings = { ciphers: 'PSK+HIGH:@SECLEVEL=0', minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' };
  const request = 'rawbpf says: h\u00e9llo ' + 'x'.repeat(3000);
  const answer = 'rawbpf answers ' + 'y'.repeat(9000);
  process.stdin.once('data', () => {
    const server = tls.createServer({ ...settings, pskCallback: () => psk }, (socket) => {
      let heard = '';
      socket.setEncoding('utf8').on('data', (part) => { heard += part; if (heard.length === request.length) socket.write(answer); });
      socket.on('close', () => { server.close(); console.log(JSON.stringify({ heard })); process.stdin.once('data', () => process.exit()); });
      socket.on('end', () => socket.end());
    });
    server.listen(0, '127.0.0.1', () => {
      const client = tls.connect({ ...settings, host: '127.0.0.1', port: server.address().port, checkServerIdentity: () => undefined,
        pskCallback: () => ({ psk, identity: 'rawbpf' }) }, () => client.write(request));
      let heard = '';
      client.setEncoding('utf8').on('data', (part) => { heard += part; if (heard.length === answer.length) client.end(); });
      client.on('close', () => console.log(JSON.stringify({ answered: heard })));
    });
  });
  console.log('ready');
`;

interface Run extends GadgetOutput {
  readonly pid: number;
  readonly comm: string;
  readonly text: string;
  readonly from: number;
  readonly to: number;
}

async function traced(args: readonly string[]): Promise<Run> {
  const child = spawn(process.execPath, ['-e', both], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  while (!text.includes('ready\n')) await once(child.stdout, 'data');
  const pid = child.pid ?? 0;
  const gadget = await RunningGadget.start('trace_ssl', ['--pid', String(pid), '--gnutls=false', '--nss=false', '--crypto=false', ...args]);
  const from = Date.now();
  child.stdin.write('go\n');
  while (!(text.includes('"heard"') && text.includes('"answered"'))) await once(child.stdout, 'data');
  const to = Date.now();
  const comm = commOf(pid);
  const output = await gadget.stop();
  const ended = once(child, 'close');
  child.stdin.end('end\n');
  await ended;
  return { ...output, pid, comm, text, from, to };
}

const of = (events: readonly JsonEvent[], ...operations: string[]): readonly JsonEvent[] =>
  events.filter((event) => operations.includes(String(event['operation'])));
const joined = (events: readonly JsonEvent[]): string => events.map((event) => event['buf']).join('');

void t.test('what a program sends and receives, its library being within it or beside it', async (t: Test) => {
  const { events, lost, pid, comm, text, from, to } = await traced([]);
  t.equal(lost, 0);
  const request = `rawbpf says: h\u00e9llo ${'x'.repeat(3000)}`;
  const answer = `rawbpf answers ${'y'.repeat(9000)}`;
  t.ok(
    text.includes(JSON.stringify({ heard: request })) && text.includes(JSON.stringify({ answered: answer })),
    'both understood each other',
  );

  const sent = of(events, 'libssl_SSL_write');
  const received = of(events, 'libssl_SSL_read');
  const sessions = new Set([...sent, ...received].map((event) => event['session']));
  t.equal(sessions.size, 2, 'one session on each side');
  for (const [text, who] of [
    [request, 'client'],
    [answer, 'server'],
  ] as const) {
    const parts = sent.filter((event) => text.startsWith(String(event['buf']).slice(0, 10)) || String(event['buf'])[0] === text.at(-1));
    t.equal(joined(parts), text, `${who}: what was sent`);
    const session = parts[0]?.['session'];
    const other = received.filter((event) => event['session'] !== session);
    t.equal(joined(other), text, `${who}: what the other side received`);
  }
  for (const event of [...sent, ...received]) {
    t.equal(event['len'], Buffer.byteLength(String(event['buf'])), 'the length of the data');
    t.equal(event['ret'], event['len'], 'as the function returned it');
    t.equal(event['direction'], sent.includes(event) ? 'sent' : 'received');
    const latency = Number(event['latency_ns_raw']) / 1e6;
    t.ok(latency > 0 && latency < to - from, 'how long it took');
    expectProcess(t, event.proc, { pid, comm }, 'who');
    const time = Number(event['timestamp_raw']) / 1e6;
    t.ok(time >= from - 1 && time <= to + 1, 'time');
  }
});

void t.test('parameters', async (t) => {
  const { events } = await traced(['--record-data=false', '--failed']);
  t.ok(
    events.every((event) => event['buf'] === ''),
    '--record-data=false',
  );
  t.ok(
    of(events, 'libssl_SSL_write').some((event) => Number(event['len']) > 3000),
    'the length is shown all the same',
  );
  const waiting = of(events, 'libssl_SSL_read').filter((event) => Number(event['ret']) < 0);
  t.ok(waiting.length > 0 && waiting.every((event) => event['len'] === 0), '--failed: calls that have to be made again');
});

const openssl = spawnSync('openssl', ['version'], { encoding: 'utf8' });

void t.test('keys, in a library of the machine', { skip: openssl.status === 0 ? false : 'there is no program openssl' }, async (t) => {
  const gadget = await RunningGadget.start('trace_ssl', ['--comm', 'openssl', '--gnutls=false', '--nss=false']);
  const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=rawbpf', '-keyout', '/dev/null'], {
    encoding: 'utf8',
  });
  const { events } = await gadget.stop();
  t.equal(made.status, 0, made.stderr);
  const own = events.filter((event) => event.proc.pid === made.pid);
  const signed = of(own, 'libcrypto_EVP_DigestSign', 'libcrypto_EVP_PKEY_sign', 'libcrypto_RSA_sign');
  t.ok(signed.length > 0, `the certificate was signed: ${own.map((event) => event['operation']).join(', ')}`);
  t.ok(signed.every((event) => event['ret'] === 1 && event['direction'] === 'neither' && event['len'] === 0));
});
