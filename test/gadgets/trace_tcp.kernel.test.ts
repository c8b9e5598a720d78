import t, { type Test } from 'tap';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../support/process.ts';
import { runProgram } from '../support/calls.ts';
import { inNetwork } from '../support/network.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

const skip = process.arch === 'x64' ? false : 'the numbers of system calls are those of x86-64';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// One process that listens, connects and accepts; prints of each connection what the C library says of both its sockets.
const common = String.raw`
  use Socket qw(:all);
  sub text {
    my ($address) = @_;
    return "0.0.0.0 0" unless $address;
    my $is4 = sockaddr_family($address) == AF_INET;
    my ($port, $ip) = $is4 ? unpack_sockaddr_in($address) : unpack_sockaddr_in6($address);
    return inet_ntop($is4 ? AF_INET : AF_INET6, $ip) . " $port";
  }
  sub at { my ($family, $ip, $port) = @_; $ip = inet_pton($family, $ip); $family == AF_INET ? pack_sockaddr_in($port, $ip) : pack_sockaddr_in6($port, $ip) }
  sub tell_of { my ($what, $socket, @rest) = @_; print join(" ", $what, fileno $socket, text(getsockname $socket), text(getpeername $socket), @rest), "\n" }
  sub listener {
    my ($family, $ip, $backlog) = @_;
    socket(my $server, $family, SOCK_STREAM, 0) or die $!;
    bind($server, at($family, $ip, 0)) or die $!;
    listen($server, $backlog // 5) or die $!;
    return ($server, ((text getsockname $server) =~ / (\d+)/)[0]);
  }
`;

const connections = String.raw`
  ${common}
  for ([AF_INET, "127.0.0.1", AF_INET, "127.0.0.1"], [AF_INET6, "::1", AF_INET6, "::1"], [AF_INET6, "::", AF_INET6, "::ffff:127.0.0.1"]) {
    my ($family, $ip, $client_family, $target) = @$_;
    my ($server, $port) = listener($family, $ip);
    socket(my $client, $client_family, SOCK_STREAM, 0) or die $!;
    connect($client, at($client_family, $target, $port)) or die $!;
    accept(my $accepted, $server) or die $!;
    tell_of("client", $client);
    tell_of("accepted", $accepted, fileno $server);
    close $client;
    sysread $accepted, my $byte, 1;
    close $accepted;
  }
`;

/** One line of what the program printed. */
interface Told {
  readonly what: string;
  readonly fd: number;
  readonly local: { readonly addr: string; readonly port: number };
  readonly peer: { readonly addr: string; readonly port: number };
  readonly rest: readonly string[];
}

function parse(text: string): readonly Told[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [what = '', fd, addr = '', port, peerAddr = '', peerPort, ...rest] = line.split(' ');
      // What is IPv4 on the wire is shown as IPv4.
      const plain = (address: string): string => address.replace('::ffff:', '');
      return {
        what,
        fd: Number(fd),
        local: { addr: plain(addr), port: Number(port) },
        peer: { addr: plain(peerAddr), port: Number(peerPort) },
        rest,
      };
    });
}

function ends(event: JsonEvent | undefined): { src: Told['local']; dst: Told['local'] } {
  return { src: event?.['src'] as Told['local'], dst: event?.['dst'] as Told['local'] };
}

function duration(event: JsonEvent | undefined): number {
  return Number(event?.['duration_raw']) / 1e6;
}

function only(t: Test, events: readonly JsonEvent[], what: string): JsonEvent | undefined {
  t.equal(events.length, 1, `${what}: one event`);
  return events[0];
}

void t.test('connections of IPv4, IPv6, and IPv4 within IPv6', async (t) => {
  const { events, lost, made } = await traced('trace_tcp', [], () => runPerl(connections));
  t.equal(lost, 0);
  const own = events.filter((event) => event.proc.pid === made.pid);
  const told = parse(made.text);
  t.equal(told.length, 6);
  t.equal(own.length, 2 * told.length, 'each side has two events');
  for (const { what, fd, local, peer, rest } of told) {
    const both = own.filter(
      (event) => (event['src'] as Told['local']).port === local.port && (event['dst'] as Told['local']).port === peer.port,
    );
    const [begin, end] = both;
    const version = local.addr.includes(':') ? 6 : 4;
    const side = { proto: 'TCP', proto_raw: 6, version };
    for (const event of [begin, end]) {
      t.match(ends(event), { src: { ...local, ...side }, dst: { ...peer, ...side } }, `${what} ${local.addr}: both ends`);
      t.match(event, { error: '', error_raw: 0, netns_id: namespaceOf('net') }, what);
      expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
      expectTime(t, event, made, what);
      t.ok(duration(event) < made.to - made.from + 1, `${what}: duration`);
    }
    const calls =
      what === 'client'
        ? { type: 'connect', type_raw: 0, fd, accept_fd: -1 }
        : { type: 'accept', type_raw: 1, fd: Number(rest[0]), accept_fd: fd };
    t.match(begin, calls, what);
    t.match(end, { type: 'close', type_raw: 2, fd: -1, accept_fd: -1 }, what);
    t.equal(duration(begin) > 0, what === 'client', `${what}: connecting takes time`);
    const between = (Number(end?.['timestamp_raw']) - Number(begin?.['timestamp_raw'])) / 1e6 + duration(begin);
    t.ok(Math.abs(duration(end) - between) < 1, `${what}: how long it lasted`);
  }
});

// What the peer, a signal of time, or the caller itself brings to an end.
const failures = String.raw`
  ${common}
  my $CONNECT = 42;
  sub try {
    my ($what, $socket, $address) = @_;
    my $result = syscall($CONNECT, fileno $socket, $address, length $address);
    tell_of($what, $socket, $result < 0 ? $!+0 : 0, text($address));
  }
  sub fresh { socket(my $socket, $_[0] // AF_INET, SOCK_STREAM, 0) or die $!; $socket }
  # A port that nobody listens on: bound, so that nobody else gets it.
  my $nobody = fresh; bind($nobody, at(AF_INET, "127.0.0.1", 0)) or die;
  my ($closed) = (text getsockname $nobody) =~ / (\d+)/;
  try("refused", fresh, at(AF_INET, "127.0.0.1", $closed));
  my $far = fresh; bind($far, at(AF_INET, "127.0.0.1", 0)) or die;
  try("invalid", $far, at(AF_INET, "192.0.2.1", 9));
  my $again = fresh; my ($server, $port) = listener(AF_INET, "127.0.0.1");
  connect($again, at(AF_INET, "127.0.0.1", $port)) or die; accept(my $first, $server) or die;
  try("connected", $again, at(AF_INET, "127.0.0.1", $port));
  my $late = fresh; fcntl($late, 4, 04000);
  try("later", $late, at(AF_INET, "127.0.0.1", $port));
  accept(my $second, $server) or die;
  # One place in the queue, and it is taken: nobody answers.
  my ($full, $full_port) = listener(AF_INET, "127.0.0.1", 0);
  my $fits = fresh; connect($fits, at(AF_INET, "127.0.0.1", $full_port)) or die;
  my $left = fresh; fcntl($left, 4, 04000);
  try("abandoned", $left, at(AF_INET, "127.0.0.1", $full_port));
  close $left;
  # A connection that is thrown away, and its other end.
  tell_of("thrower", $again); tell_of("thrown", $first);
  setsockopt($again, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0);
  close $again; select undef, undef, undef, 0.05;
  close $first;
  # No descriptor is left for a new connection.
  my $waits = fresh; connect($waits, at(AF_INET, "127.0.0.1", $port)) or die;
  my ($limit, $old) = (pack("QQ", 3, 3), "\0" x 16);
  syscall(302, 0, 7, $limit, $old) == 0 or die;
  my $refused = syscall(43, fileno $server, 0, 0);
  tell_of("crowded", $server, $refused < 0 ? $!+0 : 0);
`;

void t.test('what fails, and what is ended from outside', { skip }, async (t) => {
  const { events, made } = await traced('trace_tcp', [], () => runPerl(failures));
  const own = events.filter((event) => event.proc.pid === made.pid);
  const told = new Map(parse(made.text).map((line) => [line.what, line]));
  const find = (what: string, fits: (event: JsonEvent) => boolean): JsonEvent | undefined => only(t, own.filter(fits), what);
  const rows: readonly (readonly [what: string, error: string | null])[] = [
    ['refused', 'ECONNREFUSED'],
    // EINVAL, or ENETUNREACH where there is no way to other machines.
    ['invalid', null],
    ['connected', 'EISCONN'],
    ['abandoned', 'ECONNABORTED'],
  ];
  for (const [what, error] of rows) {
    const line = told.get(what);
    const [errno, addr, port] = line?.rest ?? [];
    const event = find(
      what,
      (each) =>
        each['type'] === 'connect' &&
        each['fd'] === line?.fd &&
        (error === null ? each['error_raw'] === Number(errno) : each['error'] === error),
    );
    t.match(ends(event).dst, { addr, port: Number(port), version: 4 }, what);
    // The call that was left alone had said that it goes on.
    t.equal(what === 'abandoned' ? 115 : event?.['error_raw'], Number(errno), `${what}: errno`);
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
    expectTime(t, event, made, what);
    if (what === 'connected') t.match(ends(event).src, line?.local ?? {}, what);
  }
  const later = told.get('later');
  t.equal(later?.rest[0], '115', 'EINPROGRESS');
  t.match(
    find('later', (each) => each['fd'] === later?.fd && each['type'] === 'connect'),
    { error: '' },
    'a call that does not wait',
  );

  const thrower = told.get('thrower');
  const closes =
    (line: Told | undefined) =>
    (event: JsonEvent): boolean =>
      event['type'] === 'close' && ends(event).src.port === line?.local.port && ends(event).dst.port === line?.peer.port;
  t.match(find('thrower', closes(thrower)), { error: '' }, 'who throws a connection away sees no error');
  const thrown = find('thrown', closes(told.get('thrown')));
  t.match(thrown, { error: 'ECONNRESET', error_raw: 104 }, 'its other end was reset, and is still known by who accepted it');
  expectProcess(t, thrown?.proc, { pid: made.pid, comm: 'perl' }, 'thrown');

  const crowded = told.get('crowded');
  const event = find('crowded', (each) => each['type'] === 'accept' && each['error'] !== '');
  t.match(event, { error: 'EMFILE', error_raw: Number(crowded?.rest[0]), fd: crowded?.fd, accept_fd: -1 });
  t.match(ends(event), { src: crowded?.local ?? {}, dst: { addr: '0.0.0.0', port: 0 } });
});

void t.test('another network namespace, another user, another process that closes', { skip }, async (t) => {
  const work = () =>
    runPerl(String.raw`
      ${common}
      syscall(272, 0x40000000) == 0 or die;
      print "netns ", readlink("/proc/self/ns/net") =~ /(\d+)/, "\n";
      socket(my $socket, AF_INET, SOCK_STREAM, 0) or die $!;
      my $address = at(AF_INET, "127.0.0.1", 7);
      my $result = syscall(42, fileno $socket, $address, 16);
      print "errno ", $!+0, "\n";
      # The loopback device is up from here on: SIOCSIFFLAGS.
      socket(my $control, AF_INET, SOCK_DGRAM, 0); my $up = pack "a16sx22", "lo", 1; ioctl($control, 0x8914, $up) or die;
      my ($server, $port) = listener(AF_INET, "127.0.0.1");
      socket(my $client, AF_INET, SOCK_STREAM, 0) or die;
      connect($client, at(AF_INET, "127.0.0.1", $port)) or die; accept(my $accepted, $server);
      my $child = fork // die;
      if (!$child) { $( = $) = "65534 65534"; $< = $> = 65534; shutdown $client, 1; exit }
      waitpid $child, 0;
      print "child $child\n";
      tell_of("client", $client);
    `);
  const { events, made } = await traced('trace_tcp', [], work);
  const lines = new Map(
    made.text
      .trim()
      .split('\n')
      .map((line) => [line.split(' ')[0] ?? '', line.split(' ').slice(1)]),
  );
  const netns = Number(lines.get('netns')?.[0]);
  const inside = inNetwork(events, netns, made);
  t.not(netns, namespaceOf('net'));
  const failed = only(
    t,
    inside.filter((event) => event['error'] !== ''),
    'no way',
  );
  t.match(failed, { type: 'connect', error: 'ENETUNREACH', error_raw: Number(lines.get('errno')?.[0]), proc: { pid: made.pid } });
  t.match(ends(failed).dst, { addr: '127.0.0.1', port: 7 });

  const child = Number(lines.get('child')?.[0]);
  const port = Number(lines.get('client')?.[2]);
  const close = only(
    t,
    inside.filter((event) => event['type'] === 'close' && ends(event).src.port === port),
    'the client',
  );
  const parent = { pid: made.pid, comm: 'perl' };
  expectProcess(t, close?.proc, { pid: child, comm: 'perl', uid: 65534, gid: 65534, parent }, 'the process that closes');
});

void t.test('parameters', async (t) => {
  const kinds = async (...args: string[]): Promise<readonly string[]> => {
    const { events, made } = await traced('trace_tcp', args, () => runPerl(connections));
    return [...new Set(events.filter((event) => event.proc.pid === made.pid).map((event) => String(event['type'])))];
  };
  t.same(await kinds('--connect-only'), ['connect']);
  t.same(await kinds('--accept-only'), ['accept']);
  t.same(await kinds('--close-only', '--connect-only'), ['connect', 'close']);
  t.same(await kinds('--failure-only'), []);
  t.same(await kinds('--comm', 'no-such-name'), []);
  t.same(await kinds('--uid', '65533'), []);
});

void t.test('many at once: each is shown once, and none is lost', async (t) => {
  const count = 500;
  const script = `${common} my ($server, $port) = listener(AF_INET, "127.0.0.1", 100); for (1 .. ${count}) {
    socket(my $client, AF_INET, SOCK_STREAM, 0) or die; connect($client, at(AF_INET, "127.0.0.1", $port)) or die; accept(my $accepted, $server) or die }`;
  const { events, lost, made } = await traced('trace_tcp', ['--comm', 'perl'], () => runProgram('/usr/bin/perl', ['-e', script]));
  t.equal(lost, 0);
  const own = events.filter((event) => event.proc.pid === made.pid);
  for (const [type, times] of [
    ['connect', count],
    ['accept', count],
    ['close', 2 * count],
  ] as const) {
    t.equal(own.filter((event) => event['type'] === type).length, times, type);
  }
});
