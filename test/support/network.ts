import type { Ended } from './calls.ts';
import type { JsonEvent } from './run-gadget.ts';

/**
 * Perl: `ask_dns SERVER, NAME` sends one question for NAME.test from a fresh socket, with the process's own number as id, and gives
 * the port that it asked from and the last four bytes of the answer, an address. Wants Socket's names.
 */
export const dnsQuestionPerl: string = String.raw`
  sub ask_dns { my ($server, $name) = @_;
    socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
    send($s, pack("n6", $$ & 65535, 0x0100, 1, 0, 0, 0) . pack("C/a C/a C n n", $name, "test", 0, 1, 1), 0, pack_sockaddr_in(53, inet_aton $server)) or die $!;
    my $in = ""; vec($in, fileno $s, 1) = 1; select($in, undef, undef, 30) or die "no answer";
    recv($s, my $m, 4096, 0); my ($port) = unpack_sockaddr_in getsockname $s; ($port, inet_ntoa(substr $m, -4)) }
`;

/**
 * Perl for tests of gadgets about the network: helpers around sockets, a network namespace of the program's own, and a capture
 * of every packet that goes out over its loopback device, read by a packet socket as tcpdump does.
 */
export const networkPerl: string = String.raw`
  use Socket qw(:all);
  sub at { my ($family, $ip, $port) = @_; $ip = inet_pton($family, $ip); $family == AF_INET ? pack_sockaddr_in($port, $ip) : pack_sockaddr_in6($port, $ip) }
  sub port_of { my $name = getsockname $_[0]; sockaddr_family($name) == AF_INET ? (unpack_sockaddr_in $name)[0] : (unpack_sockaddr_in6 $name)[0] }
  sub fresh { socket(my $socket, $_[0] // AF_INET, SOCK_STREAM, 0) or die $!; $socket }
  sub listener { my ($family, $ip, $backlog) = @_; my $server = fresh $family; bind($server, at($family, $ip, 0)) or die $!; listen($server, $backlog // 5) or die $!; $server }
  sub nonblocking { fcntl($_[0], 4, 04000); $_[0] }
  # A namespace of its own, with its loopback device up.
  sub own_network {
    syscall($ENV{UNSHARE}, 0x40000000) == 0 or die $!;
    socket(my $control, AF_INET, SOCK_DGRAM, 0); my $up = pack "a16sx22", "lo", 1; ioctl($control, 0x8914, $up) or die $!;
    print "netns ", readlink("/proc/self/ns/net") =~ /(\d+)/, "\n";
  }
  # Waits until a process has a packet socket that runs in this namespace: a gadget comes to it only once it is there.
  sub await_watch {
    my ($pid) = @_;
    for (1 .. 3000) {
      my %held = map { (readlink($_) // "") =~ /^socket:\[(\d+)\]/ ? ($1 => 1) : () } glob "/proc/$pid/fd/*";
      open my $table, "<", "/proc/self/net/packet" or die $!;
      return if grep { my @row = split; $row[5] eq "1" && $held{$row[8]} } <$table>;
      select undef, undef, undef, 0.01;
    }
    die "process $pid does not look";
  }
  my $capture;
  sub start_capture { socket($capture, 17, SOCK_DGRAM, unpack "n", pack "S", 3) or die $!; nonblocking $capture }
  # Prints of each TCP packet that went out: addresses, ports, sequence number, flags, length of its data.
  sub print_capture {
    for (;;) {
      my $from = recv $capture, my $packet, 65535, 0;
      last unless defined $from;
      next unless unpack("x10 C", $from) == 4;
      my ($version) = unpack("C", $packet) >> 4;
      my ($src, $dst, $tcp, $length);
      if ($version == 4) { my $ihl = (unpack("C", $packet) & 15) * 4; next unless unpack("x9 C", $packet) == 6;
        ($length, $src, $dst) = unpack "x2 n x8 a4 a4", $packet; $length -= $ihl; $tcp = substr $packet, $ihl }
      else { next unless unpack("x6 C", $packet) == 6; ($length, $src, $dst) = unpack "x4 n x2 a16 a16", $packet; $tcp = substr $packet, 40 }
      my $family = $version == 4 ? AF_INET : AF_INET6;
      my ($sport, $dport, $seq, $offset, $flags) = unpack "n n N x4 C C", $tcp;
      print join(" ", "packet", inet_ntop($family, $src), $sport, inet_ntop($family, $dst), $dport, $seq, $flags, $length - ($offset >> 4) * 4), "\n";
    }
  }
  # A socket that takes no packet any more: SO_ATTACH_FILTER of one instruction, "return 0".
  sub deafen { my $code = pack "SCCL", 6, 0, 0, 0; my $program = pack "Sx6P", 1, $code; setsockopt($_[0], SOL_SOCKET, 26, $program) or die $! }
`;

/** A TCP packet as the capture saw it. */
export interface Packet {
  readonly src: { readonly addr: string; readonly port: number };
  readonly dst: { readonly addr: string; readonly port: number };
  readonly seq: number;
  readonly flags: number;
  readonly len: number;
}

/** What a program that uses {@link networkPerl} printed: its packets, and its other lines by their first word. */
export function parseNetwork(text: string): {
  readonly packets: readonly Packet[];
  readonly lines: ReadonlyMap<string, readonly string[]>;
} {
  const packets: Packet[] = [];
  const lines = new Map<string, readonly string[]>();
  for (const line of text.trim().split('\n')) {
    const [word = '', ...rest] = line.split(' ');
    if (word !== 'packet') lines.set(word, rest);
    else {
      const [from = '', sport, to = '', dport, seq, flags, len] = rest;
      packets.push({
        src: { addr: from, port: Number(sport) },
        dst: { addr: to, port: Number(dport) },
        seq: Number(seq),
        flags: Number(flags),
        len: Number(len),
      });
    }
  }
  return { packets, lines };
}

const flagNames = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR'];

/** Flags of a TCP header as the gadgets show them. */
export function flagsText(flags: number): string {
  return flagNames.filter((_, bit) => (flags & (1 << bit)) !== 0).join('|');
}

/** Events of a network namespace, while it was there: its number is given out again at once. */
export function inNetwork(events: readonly JsonEvent[], netns: number, { from, to }: Ended): readonly JsonEvent[] {
  return events.filter((event) => {
    const time = Number(event['timestamp_raw']) / 1e6;
    return event['netns_id'] === netns && time >= from - 1 && time <= to + 1;
  });
}
