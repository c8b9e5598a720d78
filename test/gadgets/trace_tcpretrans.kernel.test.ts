import t from 'tap';
import { flagsText, inNetwork, networkPerl, parseNetwork } from '../support/network.ts';
import { expectProcess, expectTime, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// Segments that nobody answers: data to a deaf socket, an opening to a full queue, an answer that counts as unheard.
const unanswered = String.raw`
  ${networkPerl}
  own_network();
  start_capture();
  my $server = listener(AF_INET, "127.0.0.1");
  my $client = fresh; connect($client, at(AF_INET, "127.0.0.1", port_of $server)) or die; accept(my $accepted, $server) or die;
  deafen($accepted);
  setsockopt($client, IPPROTO_TCP, TCP_NODELAY, 1) or die;
  syswrite $client, "x" x 100;
  my $full = listener(AF_INET6, "::1", 0);
  my $fits = fresh AF_INET6; connect($fits, at(AF_INET6, "::1", port_of $full)) or die;
  my $left = nonblocking(fresh AF_INET6); connect($left, at(AF_INET6, "::1", port_of $full));
  # TCP_DEFER_ACCEPT: the last packet of the opening does not count.
  my $deferring = listener(AF_INET, "127.0.0.1"); setsockopt($deferring, IPPROTO_TCP, 9, 1) or die;
  my $silent = fresh; connect($silent, at(AF_INET, "127.0.0.1", port_of $deferring)) or die;
  select undef, undef, undef, 1.6;
  my @of = (["data", $client, port_of $client], ["opening", $left, port_of $left], ["answer", $deferring, port_of $deferring]);
  my @info = map { getsockopt($_->[1], IPPROTO_TCP, TCP_INFO) } @of[0, 1];
  # Nothing is sent again after this: a socket with data would go on when its process has ended, but for SO_LINGER. The deaf one
  # hears of no end either, and would send its own again until the namespace is gone.
  for my $socket ($client, $accepted, $left, $deferring, $silent) { setsockopt($socket, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0); close $socket }
  for (0, 1) {
    my ($state, $congestion, $in_a_row) = unpack "C3", $info[$_];
    print join(" ", $of[$_][0], $of[$_][2], $state, $congestion, $in_a_row, unpack "x100 L", $info[$_]), "\n";
  }
  print "answer $of[2][2]\n";
  print_capture();
`;

const portOf = (event: JsonEvent): number => (event['src'] as { port: number }).port;

void t.test('segments that are sent again', async (t) => {
  const { events, lost, received, stderr, made } = await traced('trace_tcpretrans', [], () => runPerl(unanswered));
  t.equal(lost, 0);
  t.equal(received, events.length, stderr);
  const { packets, lines } = parseNetwork(made.text);
  const netns = Number(lines.get('netns')?.[0]);
  const own = inNetwork(events, netns, made);

  // What went over the wire more than once: all but the first time of each.
  const seen = new Set<string>();
  const again = packets.filter(({ src, dst, seq, flags, len }) => {
    // An acknowledgement without data may be sent as often as one likes, and each reset answers a packet of its own.
    if (len === 0 && ((flags & 0x07) === 0 || (flags & 0x04) !== 0)) return false;
    const key = `${src.port} ${dst.port} ${seq} ${flags & 0x03}`;
    if (seen.has(key)) return true;
    seen.add(key);
    return false;
  });
  t.ok(again.length >= 4, `enough was sent again: ${again.length}`);
  t.equal(
    own.length,
    again.length,
    `an event for each: ${events.map((event) => `${String(event['type'])} ${portOf(event)} ${String(event['netns_id'])}`).join(', ')}`,
  );
  for (const [i, packet] of again.entries()) {
    const event = own[i];
    const what = `${flagsText(packet.flags)} of ${packet.src.port}`;
    const version = packet.src.addr.includes(':') ? 6 : 4;
    const side = { proto: 'TCP', proto_raw: 6, version };
    t.match(event, { src: { ...packet.src, ...side }, dst: { ...packet.dst, ...side }, seq: packet.seq, len: packet.len }, what);
    t.equal(event?.['tcpflags'], flagsText(packet.flags), what);
    t.equal(event?.['tcpflags_raw'], packet.flags, what);
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
    expectTime(t, event, made, what);
  }

  for (const [name, stateText] of [
    ['data', 'tcp_established'],
    ['opening', 'tcp_syn_sent'],
  ] as const) {
    const [port, state, congestion, inARow, total] = (lines.get(name) ?? []).map(Number);
    const mine = own.filter((event) => portOf(event) === port);
    t.equal(mine.length, total, `${name}: as many as the socket counts (TCP_INFO)`);
    t.ok(
      mine.every((event) => event['state'] === stateText && event['state_raw'] === state),
      `${name}: state`,
    );
    const last = mine.at(-1);
    t.match(last, { retransmits: inARow, reason_raw: congestion, reason: 'ca_loss', type: 'RETRANS' }, `${name}: as the socket says`);
    const timeouts = mine.filter((event) => event['type'] === 'RETRANS');
    t.same(
      timeouts.map((event) => event['retransmits']),
      timeouts.map((_, index) => index + 1),
      `${name}: one after the other`,
    );
    // A probe comes once, before the first time-out.
    const probes = mine.filter((event) => event['type'] === 'LOSS');
    t.ok(probes.length <= 1 && (probes.length === 0 || mine[0] === probes[0]), `${name}: probes`);
    t.ok(
      probes.every((event) => event['reason'] === 'ca_open' && event['retransmits'] === 0),
      `${name}: before anything is lost`,
    );
  }
  const answers = own.filter((event) => portOf(event) === Number(lines.get('answer')?.[0]));
  t.ok(answers.length > 0, 'an answer was sent again');
  t.ok(answers.every((event) => event['type'] === 'SYNACK' && event['state'] === 'tcp_new_syn_recv'));
  t.match(answers[0], { reason_raw: 0, retransmits: 0 });
});

// Attempts that fail, for the way to the other end is gone: since Linux 6.17 the tracepoint tells these as well.
const failing = String.raw`
  ${networkPerl}
  own_network();
  my $server = listener(AF_INET, "127.0.0.1");
  my $client = fresh; connect($client, at(AF_INET, "127.0.0.1", port_of $server)) or die; accept(my $accepted, $server) or die;
  deafen($accepted);
  setsockopt($client, IPPROTO_TCP, TCP_NODELAY, 1) or die;
  syswrite $client, "x" x 100;
  sub info { (unpack("C3", $_[0]))[2], unpack("x100 L", $_[0]) }
  # After the first that was sent again, whatever it takes.
  my ($in_a_row, $total) = (0, 0);
  while ($total == 0) { select undef, undef, undef, 0.02; ($in_a_row, $total) = info(getsockopt($client, IPPROTO_TCP, TCP_INFO)) }
  system("ip", "address", "flush", "dev", "lo") == 0 or die;
  my ($before) = (info(getsockopt($client, IPPROTO_TCP, TCP_INFO)));
  my $port = port_of $client;
  # Until it has tried twice more.
  my $tried = $before;
  for (1 .. 300) { ($tried, $total) = info(getsockopt($client, IPPROTO_TCP, TCP_INFO)); last if $tried > $before + 1; select undef, undef, undef, 0.02 }
  setsockopt($client, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0); close $client;
  print "tried $port $before $tried $total\n";
`;

void t.test('segments that could not be sent again are left out', async (t) => {
  const { events, made } = await traced('trace_tcpretrans', [], () => runPerl(failing));
  const { lines } = parseNetwork(made.text);
  const [port, before = 0, tried = 0, total] = (lines.get('tried') ?? []).map(Number);
  t.ok(tried > before + 1, `it tried: ${before}, ${tried}`);
  const own = inNetwork(events, Number(lines.get('netns')?.[0]), made);
  t.equal(own.filter((event) => portOf(event) === port).length, total, 'as many as the socket counts (TCP_INFO)');
});

void t.test('parameters', async (t) => {
  const { events } = await traced('trace_tcpretrans', ['--comm', 'no-such-name'], () => runPerl(unanswered));
  t.same(events, [], '--comm');
});
