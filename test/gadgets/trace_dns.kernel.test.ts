import t from 'tap';
import { Netns, until } from '../support/netns.ts';
import { expectProcess, expectTime } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { type JsonEvent, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/** Each message with the number that it goes under, on UDP unless said; those that lie have a name's beginning that must not be believed. */
const script = String.raw`
  my $id = 100;
  sub name { join("", map { pack "C/a", $_ } split /\./, shift) . "\0" }
  sub head { pack "n6", @_ }
  socket(my $server, AF_INET, SOCK_DGRAM, 0) or die $!; bind($server, pack_sockaddr_in(53, INADDR_LOOPBACK)) or die $!;
  socket(my $mdns, AF_INET, SOCK_DGRAM, 0) or die $!; bind($mdns, pack_sockaddr_in(5353, INADDR_LOOPBACK)) or die $!;
  sub put { my ($case, $message, $port) = @_; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; my $n = $id++; substr($message, 0, 2) = pack "n", $n;
    send($s, $message, 0, pack_sockaddr_in($port // 53, INADDR_LOOPBACK)) or die "$case $!";
    print "$n $case\nport $n ", (unpack_sockaddr_in(getsockname $s))[0], "\n" }
  my $question = name("plain.example") . pack("nn", 1, 1);
  put("plain", head(0, 0x100, 1, 0, 0, 0) . $question);
  put("edns", head(0, 0x100, 1, 0, 0, 1) . name("edns.example") . pack("nn", 28, 1) . "\0" . pack("nnNn", 41, 4096, 0x8000, 12) . pack("nn", 10, 8) . "cookie12");
  put("mdns", head(0, 0, 1, 0, 0, 0) . name("_http._tcp.local") . pack("nn", 12, 0x8001), 5353);
  put("answer", head(0, 0x8180, 1, 2, 0, 0) . name("two.example") . pack("nn", 1, 1) . pack("nnnNn", 0xc00c, 1, 1, 60, 4) . inet_aton("192.0.2.1") . pack("nnnNn", 0xc00c, 1, 1, 60, 4) . inet_aton("192.0.2.2"));
  put("nxdomain", head(0, 0x8183, 1, 0, 0, 0) . name("none.example") . pack("nn", 1, 1));
  put("truncated", head(0, 0x8300, 1, 0, 0, 0) . name("cut-short.example") . pack("nn", 16, 1));
  put("loop", head(0, 0x100, 1, 0, 0, 0) . pack("n", 0xc00c) . pack("nn", 1, 1));
  put("loop-two", head(0, 0x100, 1, 0, 0, 0) . pack("C/a n C/a n", "a", 0xc010, "b", 0xc00c) . pack("nn", 1, 1));
  put("forward", head(0, 0x100, 1, 0, 0, 0) . pack("n", 0xc0ff) . pack("nn", 1, 1));
  put("cut-name", head(0, 0x100, 1, 0, 0, 0) . pack("C", 63) . "short");
  put("cut-type", head(0, 0x100, 1, 0, 0, 0) . name("cut.example") . "\0");
  put("label-kind", head(0, 0x100, 1, 0, 0, 0) . "\x80abc" . pack("nn", 1, 1));
  put("too-long", head(0, 0x100, 1, 0, 0, 0) . name(join ".", ("x" x 60) x 6) . pack("nn", 1, 1));
  put("counts", head(0, 0x8180, 1, 65535, 65535, 65535) . name("counts.example") . pack("nn", 1, 1));
  put("answer-loop", head(0, 0x8180, 1, 1, 0, 0) . name("aloop.example") . pack("nn", 5, 1) . pack("nnnNn", 0xc00c, 5, 1, 60, 2) . pack("n", 0xc02b));
  put("answer-cut", head(0, 0x8180, 1, 1, 0, 0) . name("acut.example") . pack("nn", 1, 1) . pack("nnnNn", 0xc00c, 1, 1, 60, 400) . "x");
  put("none", head(0, 0x100, 0, 0, 0, 0));
  # Over TCP: the length first, an answer of more than one segment's worth.
  socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(53, INADDR_LOOPBACK)) or die $!; listen $l, 5;
  socket(my $c, AF_INET, SOCK_STREAM, 0); connect($c, pack_sockaddr_in(53, INADDR_LOOPBACK)) or die $!; accept(my $a, $l) or die $!;
  my $n = $id++; print "$n tcp\n"; use Time::HiRes "time"; my $asked = time; my $m = pack("n6", $n, 0x100, 1, 0, 0, 0) . name("tcp.example") . pack("nn", 1, 1); syswrite $c, pack("n", length $m) . $m; sysread $a, my $x, 9999;
  $m = pack("n6", $n, 0x8180, 1, 150, 0, 0) . name("tcp.example") . pack("nn", 1, 1) . join "", map { pack("nnnNn", 0xc00c, 1, 1, 60, 4) . inet_aton("192.0.2.$_") } 1 .. 150;
  syswrite $a, pack("n", length $m) . $m; my $got = 0; while ($got < 2 + length $m) { $got += sysread($c, $x, 9999) || die }
  print "took ", int((time - $asked) * 1e9), "\n";
  print "last $id\n";
`;

void t.test('DNS over TCP, EDNS, mDNS, and messages that lie, as they come from the wire', async (t) => {
  const space = await Netns.make();
  t.teardown(() => space.close());
  const gadget = await RunningGadget.start('trace_dns', ['--no-containers']);
  t.teardown(() => gadget.stop());
  await until('the gadget looks', () => space.isWatchedBy(gadget.pid));
  const from = Date.now();
  const { code, text, pid } = await space.perl(script);
  const to = Date.now();
  t.equal(code, 0, text);
  const { events, lost, code: ended } = await gadget.stop();
  t.same([lost, ended], [0, 0]);
  const cases = new Map(Array.from(text.matchAll(/^(\d+) (\S+)$/gm), ([, id, name = '']) => [Number(id), name]));
  const rows = new Map<string, JsonEvent[]>();
  for (const event of events.filter((each) => each['netns_id'] === space.inode)) {
    const id = typeof event['id'] === 'string' ? Number.parseInt(event['id'], 16) : Number(event['id']);
    const name = cases.get(id) ?? `id ${id}`;
    rows.set(name, [...(rows.get(name) ?? []), event]);
    expectProcess(t, event.proc, { pid, comm: 'perl' }, name);
    expectTime(t, event, { from, to }, name);
  }
  const seen = (name: string): unknown[] => (rows.get(name) ?? []).map((row) => row['name']);
  for (const [name, said] of [
    ['plain', 'plain.example.'],
    ['edns', 'edns.example.'],
    ['mdns', '_http._tcp.local.'],
    ['answer', 'two.example.'],
    ['nxdomain', 'none.example.'],
  ] as const)
    t.same(seen(name), [said, said], `${name}: as it leaves and as it comes`);
  t.same(new Set(seen('tcp')), new Set(['tcp.example.']), 'over TCP');
  t.same(new Set((rows.get('tcp') ?? []).map((row) => row['qr'])), new Set(['Q', 'R']), 'question and answer');
  for (const row of rows.get('answer') ?? []) t.equal(row['addresses'], '192.0.2.1,192.0.2.2');
  for (const row of rows.get('edns') ?? []) t.match(row, { qr: 'Q', qtype: 'AAAA' });
  for (const row of (rows.get('tcp') ?? []).filter(({ qr }) => qr === 'R'))
    t.equal(String(row['addresses']).split(',').length, 150, 'all of a long answer');
  // As the program put it into each message; the kernel said which port each was sent from.
  const ports = new Map(Array.from(text.matchAll(/^port (\d+) (\d+)$/gm), ([, id, port]) => [cases.get(Number(id)), Number(port)]));
  const quad = { addr: '127.0.0.1', proto: 'UDP', proto_raw: 17, version: 4 };
  const asked = { qr: 'Q', rcode: '', rcode_raw: 0, rd: true, ra: false, tc: false, malformed: false, num_answers: 0 };
  const told = { ...asked, qr: 'R', rcode: 'Success', ra: true };
  for (const [name, said] of [
    ['plain', { ...asked, qtype: 'A', qtype_raw: 1 }],
    ['edns', { ...asked, qtype: 'AAAA', qtype_raw: 28 }],
    ['mdns', { ...asked, qtype: 'PTR', qtype_raw: 12, rd: false }],
    ['answer', { ...told, qtype: 'A', qtype_raw: 1, num_answers: 2 }],
    ['nxdomain', { ...told, qtype: 'A', qtype_raw: 1, rcode: 'NameError', rcode_raw: 3 }],
    ['truncated', { ...told, qtype: 'TXT', qtype_raw: 16, ra: false, tc: true }],
  ] as const) {
    const number = Array.from(cases).find(([, each]) => each === name)?.[0] ?? 0;
    const row = {
      ...said,
      id: number.toString(16).padStart(4, '0'),
      src: { ...quad, port: ports.get(name) },
      dst: { ...quad, port: name === 'mdns' ? 5353 : 53 },
      // Nothing was asked before.
      latency_ns: '0ns',
      latency_ns_raw: 0,
    };
    const sent = { ...row, pkt_type: 'OUTGOING', pkt_type_raw: 4 };
    t.match(rows.get(name), [sent, { ...row, pkt_type: 'HOST', pkt_type_raw: 0 }], `${name}: every field`);
    for (const { nameserver } of rows.get(name) ?? []) t.same(nameserver, { addr: '127.0.0.1', version: 4 }, `${name}: who is asked`);
  }
  const took = Number(/^took (\d+)$/m.exec(text)?.[1]);
  for (const row of (rows.get('tcp') ?? []).filter(({ qr }) => qr === 'R')) {
    const latency = Number(row['latency_ns_raw']);
    t.ok(latency > 0 && latency <= took, `an answer after ${latency} ns, of ${took} ns by the program's own clock`);
    t.match(row, { src: { proto: 'TCP', proto_raw: 6, port: 53 }, dst: { proto: 'TCP', proto_raw: 6 } }, 'the ends of an answer');
  }
  // What lies is shown as a message of its process, with nothing made up.
  for (const name of ['loop', 'loop-two', 'forward', 'cut-name', 'cut-type', 'label-kind', 'too-long', 'none'])
    t.match(rows.get(name), Array(2).fill({ name: '', malformed: name !== 'none' }), `${name}: no name`);
  for (const [name, said] of [
    ['counts', 'counts.example.'],
    ['answer-loop', 'aloop.example.'],
    ['answer-cut', 'acut.example.'],
  ] as const) {
    t.same(seen(name), [said, said], `${name}: what is in order is told`);
    for (const row of rows.get(name) ?? []) t.equal(row['addresses'], '', `${name}: no address`);
  }
});
