import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import t from 'tap';
import { Netns, until } from '../support/netns.ts';
import { slowness } from '../support/patience.ts';
import { RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/** The first flight of a client, as this Node's OpenSSL makes it: as long as wanted, by protocols of ALPN. */
async function realHello(servername: string, protocols: number): Promise<Buffer> {
  const server = net.createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as net.AddressInfo;
  const names = Array.from({ length: protocols }, (_, i) => `protocol-${String(i).padStart(20, '0')}`);
  const client = tls.connect({ host: '127.0.0.1', port, servername, ...(names.length > 0 ? { ALPNProtocols: names } : {}) });
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  const bytes: Buffer[] = [];
  socket.on('data', (data: Buffer) => bytes.push(data));
  await until('all of the hello has come', () => {
    const all = Buffer.concat(bytes);
    return all.length >= 5 && all.length >= 5 + all.readUInt16BE(3);
  });
  client.destroy();
  socket.destroy();
  server.close();
  return Buffer.concat(bytes);
}

/** Sends streams, one a line in hexadecimal with commas between what is sent at once; the server reads each before the next. */
const sendPerl = String.raw`
  socket(my $l, AF_INET, SOCK_STREAM, 0) or die $!; bind($l, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $!; listen($l, 5); my $to = getsockname $l;
  while (my $line = <STDIN>) {
    chomp $line;
    socket(my $s, AF_INET, SOCK_STREAM, 0) or die $!; setsockopt($s, IPPROTO_TCP, TCP_NODELAY, 1); connect($s, $to) or die $!; accept(my $c, $l) or die $!;
    for my $part (map { pack "H*", $_ } split /,/, $line) { syswrite($s, $part) == length $part or die $!; my $read = 0; while ($read < length $part) { $read += sysread($c, my $x, 65536) || die $! } }
    print((unpack_sockaddr_in getsockname $s)[0], "\n"); close $s; close $c;
  }
`;

void t.test('names of hellos in several segments', async (t) => {
  const name = 'a-name-in-pieces.example';
  const short = await realHello(name, 0);
  const long = await realHello(name, 90);
  t.ok(long.length > 2000, `as long as one with key shares against quantum computers: ${long.length} bytes`);
  const at = (hello: Buffer): number => hello.indexOf(name);
  /** Each with what it should give. */
  const streams: { readonly what: string; readonly parts: readonly Buffer[]; readonly told: boolean }[] = [];
  const split = (hello: Buffer, ...places: readonly number[]): Buffer[] =>
    [0, ...places].map((from, i) => hello.subarray(from, places[i] ?? hello.length));
  for (const [which, hello] of [
    ['short', short],
    ['long', long],
  ] as const) {
    const begin = at(hello);
    const places = [0, 1, 5, 6, 43, 44, 76, 100, begin - 9, begin - 8, begin - 2, begin, begin + 5, begin + name.length - 1];
    for (const place of new Set(places)) {
      streams.push({ what: `${which}, split at ${place}`, parts: place === 0 ? [hello] : split(hello, place), told: true });
    }
    streams.push({ what: `${which}, three parts`, parts: split(hello, 40, begin + 3), told: true });
    const bytewise = Array.from({ length: begin + name.length }, (_, i) => i + 1);
    if (which === 'short') streams.push({ what: 'byte by byte', parts: split(hello, ...bytewise), told: true });
    streams.push({ what: `${which}, cut off in the name`, parts: split(hello.subarray(0, begin + 4), 50), told: false });
  }
  streams.push({ what: 'segments of 1400', parts: split(long, 1400), told: true });
  // What is no hello, or has no name.
  const other = Buffer.from(short);
  other[5] = 2;
  streams.push({ what: 'a hello of a server', parts: split(other, 4), told: false });
  const hidden = Buffer.from(short);
  hidden.writeUInt16BE(0xfafa, at(short) - 9);
  streams.push({ what: 'an extension of another kind', parts: split(hidden, 60), told: false });
  const loud = Buffer.from(short);
  loud.writeUInt16BE(0xffff, at(short) - 2);
  streams.push({ what: 'a name longer than its extensions', parts: split(loud, 60), told: false });
  for (let i = 0; i < 8; i++) {
    const noise = Buffer.from(long.subarray(0, 1200));
    for (let k = 43; k < noise.length; k++) noise[k] = (k * 131 + i * 71 + ((k * k) >> 3)) & 0xff;
    streams.push({ what: `noise ${i}`, parts: split(noise, 300 + i), told: false });
  }

  const gadget = await RunningGadget.start('trace_sni', ['--no-containers']);
  const netns = await Netns.make();
  t.teardown(() => netns.close());
  let ports: readonly number[] = [];
  let output;
  let pid = 0;
  try {
    await until('the gadget looks', () => netns.isWatchedBy(gadget.pid));
    const child = netns.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${sendPerl}`]);
    pid = child.pid ?? 0;
    let text = '';
    child.stdout?.on('data', (data: Buffer) => (text += data.toString()));
    child.stdin?.end(streams.map(({ parts }) => `${parts.map((part) => part.toString('hex')).join(',')}\n`).join(''));
    const [code] = (await once(child, 'close')) as [number];
    t.equal(code, 0);
    ports = text.trim().split('\n').map(Number);
  } finally {
    output = await gadget.stop();
  }
  t.equal(ports.length, streams.length);
  t.equal(output.lost, 0);
  const rows = output.events.filter((event) => event['netns_id'] === netns.inode);
  for (const [i, { what, told }] of streams.entries()) {
    const mine = rows.filter((row) => (row['src'] as { port: number }).port === ports[i]);
    // As it leaves, and as it comes.
    t.same(
      mine.map((row) => `${String(row['pkt_type'])} ${String(row['name'])} ${row.proc.pid}`).toSorted(),
      told ? [`HOST ${name} ${pid}`, `OUTGOING ${name} ${pid}`] : [],
      what,
    );
  }
});
