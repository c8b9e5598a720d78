import { spawn } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { networkPerl } from '../support/network.ts';
import { slowness } from '../support/patience.ts';
import { commOf, expectProcess, expectTime } from '../support/process.ts';
import { type GadgetOutput, type JsonEvent, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/** Node as client and as server; a pre-shared key spares the certificate. Each process says what it knows itself. */
const script = String.raw`
  const net = require('node:net'), tls = require('node:tls'), dgram = require('node:dgram'), fs = require('node:fs');
  const { once } = require('node:events');
  const tell = (what) => console.log(JSON.stringify({ pid: process.pid, comm: fs.readFileSync('/proc/self/comm', 'utf8').trimEnd(), ...what }));
  const psk = Buffer.alloc(32, 7), ciphers = 'PSK+HIGH', maxVersion = 'TLSv1.2';
  const server = async () => {
    const asked = [];
    const secure = tls.createServer({ ciphers, maxVersion, pskCallback: () => psk }, (socket) => { asked.push(socket.servername); socket.resume(); socket.end() });
    let received = 0;
    const plain = net.createServer((socket) => { socket.on('data', (data) => (received += data.length)); socket.on('end', () => socket.end()); socket.on('error', () => {}) });
    for (const each of [secure, plain]) await once(each.listen(0, '::'), 'listening');
    process.stdout.write('ready\n');
    const [line] = await once(require('node:readline').createInterface(process.stdin), 'line');
    const ports = JSON.stringify({ secure: secure.address().port, plain: plain.address().port });
    const client = require('node:child_process').spawn(process.execPath, ['-e', process.env.SCRIPT, 'client', ports], { stdio: ['pipe', 'inherit', 'inherit'] });
    client.stdin.end(line);
    const [code] = await once(client, 'close');
    tell({ role: 'server', asked, received, code });
    process.exit();
  };
  const client = async () => {
    const ports = JSON.parse(process.argv[2]), { names, messages } = JSON.parse(fs.readFileSync(0, 'utf8'));
    for (const { host, servername } of names) {
      const socket = tls.connect({ host, port: ports.secure, servername, ciphers, maxVersion, pskCallback: () => ({ psk, identity: 'test' }), checkServerIdentity: () => undefined });
      await once(socket, 'secureConnect'); socket.resume(); socket.end(); await once(socket, 'close');
    }
    for (const message of messages) {
      const socket = net.connect(ports.plain, '127.0.0.1'); await once(socket, 'connect');
      socket.resume(); socket.end(Buffer.from(message, 'hex')); await once(socket, 'close');
    }
    const udp = dgram.createSocket('udp4');
    await new Promise((resolve) => udp.send(Buffer.from(messages.at(-1), 'hex'), ports.plain, '127.0.0.1', resolve)); udp.close();
    tell({ role: 'client' });
  };
  (process.argv[1] === 'client' ? client : server)().catch((error) => { console.error(error); process.exit(1) });
`;

interface Told {
  readonly role: 'client' | 'server';
  readonly pid: number;
  readonly comm: string;
  /** The names that clients asked the TLS server for, as its library says; false where none. */
  readonly asked?: readonly (string | false)[];
  readonly received?: number;
  readonly code?: number;
}

interface Work {
  readonly names: readonly { readonly host: string; readonly servername?: string }[];
  readonly messages: readonly string[];
}

interface Talk extends GadgetOutput {
  readonly client: Told;
  readonly server: Told;
  /** Rows of the namespace in which it all happened. */
  readonly rows: readonly JsonEvent[];
  /** When they began to talk and when they had ended, in ms since 1970. */
  readonly from: number;
  readonly to: number;
}

/** Lets a client and a server talk in a network namespace of their own, while trace_sni looks. */
async function talk(work: Work): Promise<Talk> {
  const perl = `use strict; $| = 1; ${networkPerl} own_network; exec @ARGV or die $!`;
  const child = spawn('/usr/bin/perl', ['-e', perl, '--', process.execPath, '-e', script, 'server'], {
    env: { ...process.env, SCRIPT: script },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let out = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  const ended = once(child, 'close');
  try {
    while (!out.includes('ready\n')) {
      await Promise.race([once(child.stdout, 'data'), ended]);
      if (child.exitCode !== null) throw new Error(`the server ended: ${out}`);
    }
    const gadget = await RunningGadget.start('trace_sni');
    let output: GadgetOutput;
    const from = Date.now();
    let to = from;
    try {
      child.stdin.end(`${JSON.stringify(work)}\n`);
      await ended;
      to = Date.now();
    } finally {
      output = await gadget.stop();
    }
    const told = out
      .split('\n')
      .filter((line) => line.startsWith('{'))
      .map((line) => JSON.parse(line) as Told);
    const client = told.find(({ role }) => role === 'client');
    const server = told.find(({ role }) => role === 'server');
    if (client === undefined || server === undefined) throw new Error(`they did not come to an end: ${out}`);
    const netns = Number(/^netns (\d+)$/m.exec(out)?.[1]);
    return { ...output, client, server, from, to, rows: output.events.filter((event) => event['netns_id'] === netns) };
  } finally {
    // The client reads and writes over the server's loopback: it ends with it.
    child.kill('SIGKILL');
  }
}

const sorted = (all: readonly string[]): readonly string[] => all.toSorted((a, b) => a.localeCompare(b));

/** Each name has one row of the side that asks, and one of the side that is asked; there are no others. */
function expectRows(t: Test, { rows, lost, code, client, server, from, to }: Talk, names: readonly string[]): void {
  t.equal(lost, 0);
  t.equal(code, 0, 'the gadget ends as it should');
  t.same(sorted(rows.map((row) => String(row['name']))), sorted([...names, ...names]), 'these names, and no others');
  for (const row of rows) {
    const asks = row['pkt_type'] === 'OUTGOING';
    const what = `${String(row['name'])}, ${asks ? 'asks' : 'is asked'}`;
    t.equal(row['pkt_type'], asks ? 'OUTGOING' : 'HOST', what);
    expectTime(t, row, { from, to }, what);
    if (asks) expectProcess(t, row.proc, { ...client, parent: server }, what);
    else expectProcess(t, row.proc, { ...server, parent: { pid: process.pid, comm: commOf('self') } }, what);
  }
  t.equal(rows.filter((row) => row['pkt_type'] === 'OUTGOING').length, names.length, 'half of them of the side that asks');
}

const u16 = (value: number): readonly number[] => [value >> 8, value & 255];

/** A ClientHello made by hand (RFC 8446, section 4.1.2; RFC 6066, section 3): the name is the last thing in it. */
function hello(name: string, extensionsBefore: readonly number[] = [0, 10, 0, 4, 0, 2, 0, 29]): number[] {
  const text = [...Buffer.from(name)];
  const entry = [0, ...u16(text.length), ...text];
  const list = [...u16(entry.length), ...entry];
  const extensions = [...extensionsBefore, 0, 0, ...u16(list.length), ...list];
  const filler = Array.from({ length: 32 }, () => 0xee);
  const body = [3, 3, ...filler, 32, ...filler, 0, 4, 0x13, 1, 0x13, 2, 1, 0, ...u16(extensions.length), ...extensions];
  const handshake = [1, 0, ...u16(body.length), ...body];
  return [22, 3, 1, ...u16(handshake.length), ...handshake];
}

const hex = (bytes: readonly number[]): string => Buffer.from(bytes).toString('hex');

// Where things are in hello().
const at = { sessionId: 43, suites: 76, compression: 82, otherSize: 88, nameType: 94, kind: 100, nameSize: 101, name: 103 };

/** What is wrong, and the bytes that make it so. */
const wrongs: readonly (readonly [what: string, offset: number, bytes: readonly number[]])[] = [
  ['application data', 0, [23]],
  ['a version of 2', 1, [2]],
  ['a ServerHello', 5, [2]],
  ['a session id that leads behind the end', at.sessionId, [255]],
  ['cipher suites that lead behind the end', at.suites, [255, 255]],
  ['compression methods that lead behind the end', at.compression, [255]],
  ['an extension that leads behind the end', at.otherSize, [255, 255]],
  ['no server name', at.nameType, [0, 23]],
  ['a name of another kind', at.kind, [1]],
  ['an empty name', at.nameSize, [0, 0]],
  ['a name one byte longer than what is there', at.nameSize, u16('wrong.test'.length + 1)],
  ['a name of 65,535 bytes', at.nameSize, [255, 255]],
];

void t.test("hellos of node's own TLS are named with who asks and who is asked", async (t) => {
  const names = [
    { host: '127.0.0.1', servername: 'four.rawbpf.test' },
    { host: '::1', servername: 'six.rawbpf.test' },
    { host: '127.0.0.1', servername: 'again.rawbpf.test' },
    // An address is no server name (RFC 6066): the hello has none.
    { host: '127.0.0.1' },
  ];
  const made = await talk({ names, messages: ['00'] });
  t.equal(made.server.code, 0, 'the client has done all');
  t.same(made.server.asked, ['four.rawbpf.test', 'six.rawbpf.test', 'again.rawbpf.test', false], 'what the server was asked for');
  expectRows(t, made, ['four.rawbpf.test', 'six.rawbpf.test', 'again.rawbpf.test']);
  for (const row of made.rows) {
    const six = row['name'] === 'six.rawbpf.test';
    t.match(row, { src: { addr: six ? '::1' : '127.0.0.1' }, dst: { addr: six ? '::1' : '127.0.0.1', proto: 'TCP' } });
  }
});

void t.test('malformed and cut hellos give no row, and those around them are still seen', async (t) => {
  const wrong = hello('wrong.test');
  t.equal(Buffer.from(wrong).toString('latin1', at.name), 'wrong.test', 'offsets are those of the message');
  const malformed = wrongs.map(([, offset, bytes]) => wrong.with(offset, bytes[0] ?? 0).toSpliced(offset, bytes.length, ...bytes));
  const cuts = Array.from({ length: wrong.length - 1 }, (_, length) => wrong.slice(0, length + 1));
  const zeros = Array.from({ length: 2000 }, () => 0);
  const emptyExtensions = Array.from({ length: 500 }, () => [0xee, 0xee, 0, 0]).flat();
  const noList = hello('', []).slice(0, 90);
  const long = 'n'.repeat(300);
  const messages = [
    hello('before.test'),
    ...malformed,
    ...cuts,
    zeros,
    [...wrong.slice(0, 86), ...emptyExtensions],
    [...wrong.slice(0, 86), ...zeros],
    noList,
    hello(long),
    hello('without.test', []),
    hello('after.test'),
  ];
  const made = await talk({ names: [], messages: messages.map(hex) });
  t.equal(made.server.code, 0, 'the client has done all');
  t.equal(
    made.server.received,
    messages.reduce((sum, message) => sum + message.length, 0),
    'every message has arrived whole',
  );
  // The last message also goes out over UDP, which is not TLS.
  expectRows(t, made, ['before.test', long.slice(0, 255), 'without.test', 'after.test']);
});
