import t from 'tap';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// Binds sockets of many kinds; prints of each the descriptor, the error, and what the C library says it is bound to.
const binds = String.raw`
  use Socket qw(:all);
  sub at { my ($family, $ip, $port) = @_; $ip = inet_pton($family, $ip); $family == AF_INET ? pack_sockaddr_in($port, $ip) : pack_sockaddr_in6($port, $ip) }
  my ($IP_TRANSPARENT, $IP_FREEBIND, $NO_PORT) = (19, 15, 24);
  sub try {
    my ($what, $family, $type, $ip, $port, @options) = @_;
    socket(my $socket, $family, $type, 0) or die $!;
    setsockopt($socket, $_->[0], $_->[1], $_->[2]) or die "$what: $!" for @options;
    my $bound = bind($socket, at($family, $ip, $port));
    my $errno = $bound ? 0 : $!+0;
    my $name = getsockname $socket;
    my ($real_port, $real) = $family == AF_INET ? unpack_sockaddr_in($name) : unpack_sockaddr_in6($name);
    print join(" ", $what, fileno $socket, $errno, inet_ntop($family, $real), $real_port), "\n";
    return ($socket, $real_port);
  }
  my ($tcp, $port) = try("tcp", AF_INET, SOCK_STREAM, "127.0.0.1", 0);
  my ($udp) = try("udp", AF_INET, SOCK_DGRAM, "127.0.0.1", $port);
  my ($tcp6) = try("tcp6", AF_INET6, SOCK_STREAM, "::1", 0);
  my ($udp6) = try("udp6", AF_INET6, SOCK_DGRAM, "::", 0);
  my ($mapped) = try("mapped", AF_INET6, SOCK_STREAM, "::ffff:127.0.0.1", 0);
  my ($used) = try("used", AF_INET, SOCK_STREAM, "127.0.0.1", $port);
  my ($reuse) = try("reuse", AF_INET, SOCK_STREAM, "127.0.0.1", 0, [SOL_SOCKET, SO_REUSEADDR, 1]);
  my ($reuseport) = try("reuseport", AF_INET, SOCK_DGRAM, "127.0.0.1", 0, [SOL_SOCKET, SO_REUSEPORT, 1]);
  my ($free) = try("freebind", AF_INET, SOCK_STREAM, "192.0.2.77", 0, [IPPROTO_IP, $IP_FREEBIND, 1]);
  my ($transparent) = try("transparent", AF_INET, SOCK_STREAM, "192.0.2.78", 0, [IPPROTO_IP, $IP_TRANSPARENT, 1]);
  my ($no_port) = try("no-port", AF_INET, SOCK_STREAM, "127.0.0.1", 0, [IPPROTO_IP, $NO_PORT, 1]);
  my ($all) = try("all", AF_INET, SOCK_STREAM, "127.0.0.1", 0, [SOL_SOCKET, SO_REUSEADDR, 1], [SOL_SOCKET, SO_REUSEPORT, 1], [IPPROTO_IP, $NO_PORT, 1],
    [IPPROTO_IP, $IP_FREEBIND, 1], [IPPROTO_IP, $IP_TRANSPARENT, 1]);
  my ($device) = try("device", AF_INET, SOCK_DGRAM, "127.0.0.1", 0, [SOL_SOCKET, 25, "lo\0"]);
  my ($elsewhere) = try("elsewhere", AF_INET, SOCK_STREAM, "192.0.2.79", 4242);
  # Not of IPv4 or IPv6: not shown.
  socket(my $local, AF_UNIX, SOCK_STREAM, 0); bind($local, pack_sockaddr_un("\0rawbpf-$$")) or die $!;
`;

interface Expected {
  readonly what: string;
  readonly proto?: string;
  readonly opts?: string;
  readonly error?: string;
  readonly asked?: { readonly addr: string; readonly port: number };
  readonly device?: number;
}

const expected: readonly Expected[] = [
  { what: 'tcp' },
  { what: 'udp', proto: 'UDP' },
  { what: 'tcp6' },
  { what: 'udp6', proto: 'UDP' },
  { what: 'mapped' },
  { what: 'used', error: 'EADDRINUSE' },
  { what: 'reuse', opts: 'REUSEADDRESS' },
  { what: 'reuseport', proto: 'UDP', opts: 'REUSEPORT' },
  { what: 'freebind', opts: 'FREEBIND' },
  { what: 'transparent', opts: 'TRANSPARENT' },
  { what: 'no-port', opts: 'BIND_ADDRESS_NO_PORT' },
  { what: 'all', opts: 'FREEBIND|TRANSPARENT|BIND_ADDRESS_NO_PORT|REUSEADDRESS|REUSEPORT' },
  // The loopback device is the first of every namespace.
  { what: 'device', proto: 'UDP', device: 1 },
  { what: 'elsewhere', error: 'EADDRNOTAVAIL', asked: { addr: '192.0.2.79', port: 4242 } },
];

void t.test('binds of every kind', async (t) => {
  const { events, lost, made } = await traced('trace_bind', ['--ignore-errors=false'], () => runPerl(binds));
  t.equal(lost, 0);
  const own = events.filter((event) => event.proc.pid === made.pid);
  const lines = made.text
    .trim()
    .split('\n')
    .map((line) => line.split(' '));
  t.equal(own.length, expected.length);
  t.equal(lines.length, expected.length);
  const tcpPort = Number(lines[0]?.[4]);
  for (const [i, { what, proto = 'TCP', opts = '', error = '', asked, device = 0 }] of expected.entries()) {
    const [name, fd, errno, ip = '', port] = lines[i] ?? [];
    t.equal(name, what);
    const event: JsonEvent | undefined = own[i];
    const failed = error === '' ? null : (asked ?? { addr: '127.0.0.1', port: tcpPort });
    const addr = failed?.addr ?? ip.replace('::ffff:', '');
    const place = {
      addr,
      port: failed?.port ?? Number(port),
      proto,
      proto_raw: proto === 'TCP' ? 6 : 17,
      version: addr.includes(':') ? 6 : 4,
    };
    t.match(event?.['addr'], place, `${what}: address`);
    t.match(event, { fd: Number(fd), error, error_raw: Number(errno), opts, bound_dev_if: device, netns_id: namespaceOf('net') }, what);
    t.equal(
      event?.['asked_port'],
      what === 'udp' || what === 'used' ? tcpPort : (asked?.port ?? 0),
      `${what}: the port that was asked for`,
    );
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
    expectTime(t, event, made, what);
  }
});

void t.test('parameters', async (t) => {
  const good = await traced('trace_bind', [], () => runPerl(binds));
  const own = good.events.filter((event) => event.proc.pid === good.made.pid);
  t.equal(own.length, expected.filter(({ error }) => error === undefined).length, 'failures are left out');

  const port = await traced('trace_bind', ['--port', '4242', '--ignore-errors=false'], () => runPerl(binds));
  t.match(
    port.events.filter((event) => event.proc.pid === port.made.pid),
    [{ error: 'EADDRNOTAVAIL', addr: { port: 4242 } }],
    '--port',
  );
  const nobody = await traced('trace_bind', ['--uid', '65533'], () => runPerl(binds));
  t.same(
    nobody.events.filter((event) => event.proc.pid === nobody.made.pid),
    [],
    '--uid',
  );
});
