import { spawn } from 'node:child_process';
import { once } from 'node:events';
import '../../support/process.ts';
import { networkPerl } from '../../support/network.ts';
import { RunningGadget } from '../../support/run-gadget.ts';

/**
 * Talks over sockets in every way that makes it hard to tell whose they are, in a network namespace of its own. Each message is
 * shaped as DNS, and its name holds the number of the process that sends it: the truth that the gadget's rows are compared with.
 */
const script = String.raw`
  use strict; $| = 1;
  ${networkPerl}
  use POSIX ();
  my $port = 53;
  sub message { my ($response, $case) = @_; pack("n6", 7, $response ? 0x8180 : 0x0100, 1, 0, 0, 0) . pack("C/a C/a C n n", "p$$-$case", "mark", 0, 1, 1) }
  sub framed { my $m = message(@_); pack("n", length $m) . $m }
  sub udp { my ($ip, $number, %o) = @_; my $f = $ip =~ /:/ ? AF_INET6 : AF_INET; socket(my $s, $f, SOCK_DGRAM, 0) or die $!;
    setsockopt($s, SOL_SOCKET, SO_REUSEPORT, 1) if $o{reuse}; bind($s, at($f, $ip, $number)) or die "$ip $number: $!"; $s }
  sub serve { my ($s, $case, $n) = @_; for (1 .. $n // 1) { my $from = recv($s, my $m, 4096, 0) or die $!; send($s, message(1, $case), 0, $from) or die $! } print "receives $case $$\n" }
  sub ask { my ($case, $ip, $number, %o) = @_; my $f = $ip =~ /:/ ? AF_INET6 : AF_INET; socket(my $s, $f, SOCK_DGRAM, 0) or die $!;
    setsockopt($s, $_->[0], $_->[1], $_->[2]) or die "$case: $!" for @{ $o{options} // [] };
    if ($o{connect}) { connect($s, at($f, $ip, $number)) or die $!; send($s, message(0, $case), 0) or die $! } else { send($s, message(0, $case), 0, at($f, $ip, $number)) or die $! }
    my $in = ''; vec($in, fileno $s, 1) = 1; select($in, undef, undef, 5) or die "no answer: $case"; recv($s, my $m, 4096, 0); $s }
  sub child { my ($work) = @_; my $pid = fork; return $pid if $pid; $work->(); POSIX::_exit(0) }
  sub wake { my $w = shift; syswrite $w, "x" }  sub await { my $r = shift; sysread $r, my $x, 1 }
  own_network;
  # Older than rawbpf: bound.
  my $old = udp("127.0.0.1", $port);
  print "ready\n"; <STDIN>;

  my $c = child(sub { close $old; ask("old", "127.0.0.1", $port) }); serve($old, "old"); waitpid $c, 0; close $old;

  my $inherited = udp("127.0.0.1", $port); $c = child(sub { serve($inherited, "inherited") }); close $inherited; ask("inherited", "127.0.0.1", $port); waitpid $c, 0;

  # Passed: taken by pidfd_getfd(2) from a process that then closes it.
  pipe my $r, my $w; pipe my $r2, my $w2; pipe my $r3, my $w3;
  my $giver = child(sub { my $s = udp("127.0.0.1", $port); syswrite $w, pack "L", fileno $s; await($r2); close $s; wake($w3); sleep 20 });
  my $taker = child(sub { sysread $r, my $n, 4; my $fd = syscall(438, syscall(434, $giver, 0), unpack("L", $n), 0); wake($w2); await($r3); open(my $s, "+<&=", $fd) or die $!; wake($w3); serve($s, "passed", 2) });
  select undef, undef, undef, 0.3; ask("passed", "127.0.0.1", $port); ask("passed", "127.0.0.1", $port); kill 9, $giver; waitpid $taker, 0;

  my $dual = udp("::", $port); $c = child(sub { close $dual; ask("dual", "127.0.0.1", $port) }); serve($dual, "dual"); waitpid $c, 0;
  $c = child(sub { close $dual; ask("dual6", "::1", $port) }); serve($dual, "dual6"); waitpid $c, 0; close $dual;

  for my $i (1 .. 3) { pipe my $r, my $w; $c = child(sub { my $s = udp("127.0.0.1", $port); wake($w); serve($s, "reused$i") }); await($r); ask("reused$i", "127.0.0.1", $port); waitpid $c, 0 }

  # One port, two addresses, two processes.
  { pipe my $r, my $w; my @c = map { my $ip = $_; child(sub { my $s = udp($ip, $port); wake($w); serve($s, "address$ip") }) } "127.0.0.1", "127.0.0.2"; await($r) for @c;
    ask("address$_", $_, $port) for "127.0.0.1", "127.0.0.2"; waitpid $_, 0 for @c }

  # SO_REUSEPORT workers: of UDP, and listeners of TCP.
  { pipe my $r, my $w; my @c = map { child(sub { my $s = udp("127.0.0.1", $port, reuse => 1); wake($w); for (;;) { my $from = recv $s, my $m, 4096, 0; send $s, message(1, "workers"), 0, $from } }) } 1 .. 3; await($r) for @c;
    ask("workers", "127.0.0.1", $port) for 1 .. 6; kill 9, @c; waitpid $_, 0 for @c }
  sub tcp_ask { my ($case, $number, $ip) = @_; $ip //= "127.0.0.1"; my $s = fresh; connect($s, at(AF_INET, $ip, $number)) or die "$case $!"; syswrite $s, framed(0, $case); sysread $s, my $m, 4096; $s }
  sub tcp_serve { my ($l, $case, $n) = @_; for (1 .. $n // 1) { accept(my $s, $l) or die $!; sysread $s, my $m, 4096; syswrite $s, framed(1, $case); sysread $s, $m, 1 } }
  { pipe my $r, my $w; my @c = map { child(sub { my $l = fresh; setsockopt($l, SOL_SOCKET, SO_REUSEPORT, 1); setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1); bind($l, at(AF_INET, "127.0.0.1", $port)) or die $!; listen($l, 9); wake($w); tcp_serve($l, "listeners", 99) }) } 1 .. 3; await($r) for @c;
    close tcp_ask("listeners", $port) for 1 .. 6; kill 9, @c; waitpid $_, 0 for @c }

  # Workers that accept from one listener they have inherited.
  { my $l = fresh; setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1); bind($l, at(AF_INET, "127.0.0.1", $port)) or die $!; listen($l, 9); my @c = map { child(sub { tcp_serve($l, "prefork", 99) }) } 1 .. 2;
    close tcp_ask("prefork", $port) for 1 .. 6; kill 9, @c; waitpid $_, 0 for @c }

  
  # A listener that closes while its connection goes on.
  { my $l = fresh; setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1); bind($l, at(AF_INET, "127.0.0.1", $port)) or die $!; listen($l, 1);
    $c = child(sub { accept(my $s, $l) or die $!; close $l; sysread $s, my $m, 4096; syswrite $s, framed(1, "orphan"); print "receives orphan $$\n"; sysread $s, $m, 1 }); close $l; close tcp_ask("orphan", $port); waitpid $c, 0 }

  # As glibc's resolver: connected UDP, no bind.
  { my $s = udp("127.0.0.1", $port); $c = child(sub { close $s; ask("connected", "127.0.0.1", $port, connect => 1) }); serve($s, "connected"); waitpid $c, 0 }

  # A process that moves on to another namespace and still uses its socket.
  { my $s = udp("127.0.0.1", $port); $c = child(sub { close $s; socket(my $q, AF_INET, SOCK_DGRAM, 0); syscall($ENV{UNSHARE}, 0x40000000); send($q, message(0, "moved"), 0, at(AF_INET, "127.0.0.1", $port)) or die $!; recv $q, my $m, 4096, 0 });
    serve($s, "moved"); waitpid $c, 0 }

  # After an exec the process has another name.
  { my $s = udp("127.0.0.1", $port); $c = child(sub { exec "/usr/bin/perl", "-e", 'use Socket; socket(my $s, AF_INET, SOCK_DGRAM, 0); send($s, pack("n6", 7, 256, 1, 0, 0, 0) . pack("C/a C/a C n n", "p$$-exec", "mark", 0, 1, 1), 0, pack_sockaddr_in(shift, inet_aton("127.0.0.1"))); recv $s, my $m, 4096, 0', $port });
    serve($s, "exec"); waitpid $c, 0 }

  # A child that only reads what both it and its parent may read.
  { my $s = udp("127.0.0.1", $port); print "shared child-reads\n"; $c = child(sub { serve($s, "child-reads") }); ask("child-reads", "127.0.0.1", $port); waitpid $c, 0 }

  # As inetd: accept, fork, the parent closes; then comes the first data.
  sub listening { my $l = fresh; setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1); bind($l, at(AF_INET, "127.0.0.1", $port)) or die $!; listen($l, 9); $l }
  { my $l = listening; pipe my $r, my $w; my $client = child(sub { close $l; my $s = fresh; connect($s, at(AF_INET, "127.0.0.1", $port)) or die $!; await($r); syswrite $s, framed(0, "inetd"); sysread $s, my $m, 4096 });
    accept(my $s, $l) or die $!; my $server = child(sub { close $l; sysread $s, my $m, 4096; syswrite $s, framed(1, "inetd"); print "receives inetd $$\n"; sysread $s, $m, 1 });
    close $s; wake($w); waitpid $_, 0 for $client, $server; close $l }

  # A thread accepts what another one listens for.
  { pipe my $r, my $w; $c = child(sub { require threads; my $l = listening; wake($w); threads->create(sub { tcp_serve($l, "thread") })->join; print "receives thread $$\n" }); await($r); close tcp_ask("thread", $port); waitpid $c, 0 }

  # Passed in a message (SCM_RIGHTS), by a process that closes it then, or keeps it.
  sub message_with { my ($call, $socket, $fd) = @_; my $data = "x"; my $iov = pack "PQ", $data, 1; my $control = pack "QiiIx4", 20, 1, 1, $fd; my $m = pack "QLx4PQPQLx4", 0, 0, $iov, 1, $control, 24, 0;
    syscall($call, fileno $socket, $m, 0) == 1 or die "message: $!"; unpack "x16 I", $control }
  my ($sendmsg, $recvmsg) = $ENV{UNSHARE} == 97 ? (211, 212) : (46, 47);
  for my $kept (0, 1) { my $case = $kept ? "scm-kept" : "scm"; print "shared $case\n" if $kept;
    socketpair(my $here, my $there, AF_UNIX, SOCK_STREAM, 0) or die $!; pipe my $r, my $w; pipe my $r2, my $w2;
    my $giver = child(sub { close $there; my $s = udp("127.0.0.1", $port); message_with($sendmsg, $here, fileno $s); await($r2); close $s unless $kept; wake($w); sleep 20 });
    my $taker = child(sub { close $here; my $fd = message_with($recvmsg, $there, 0); open(my $s, "+<&=", $fd) or die $!; wake($w2); serve($s, $case) });
    await($r); ask($case, "127.0.0.1", $port); kill 9, $giver; waitpid $_, 0 for $giver, $taker }

  # As systemd: the service gets descriptor 3 through exec.
  { my $s = udp("127.0.0.1", $port); $c = child(sub { POSIX::dup2(fileno $s, 3); fcntl($s, 2, 1) if fileno $s != 3; open(my $third, "+<&=", 3); fcntl($third, 2, 0);
      exec "/usr/bin/perl", "-e", 'use Socket; open(my $s, "+<&=", 3) or die $!; my $from = recv $s, my $m, 4096, 0; print "receives activated $$\n"; send $s, pack("n6", 7, 0x8180, 1, 0, 0, 0) . pack("C/a C/a C n n", "p$$-activated", "mark", 0, 1, 1), 0, $from' });
    close $s; ask("activated", "127.0.0.1", $port); waitpid $c, 0 }

  # The holder is killed, its child still holds it.
  { pipe my $r, my $w; pipe my $ended, my $open; my $holder = child(sub { my $s = udp("127.0.0.1", $port); child(sub { serve($s, "killed") }); wake($w); sleep 20 }); await($r); kill 9, $holder; waitpid $holder, 0; close $open; ask("killed", "127.0.0.1", $port); sysread $ended, my $x, 1 }

  # Sockets that come to lie where others lay, held by the same process.
  for my $i (1 .. 8) { my $s = udp("127.0.0.1", $port); $c = child(sub { close $s; ask("again", "127.0.0.1", $port) }); serve($s, "again"); waitpid $c, 0 }

  # Headers before UDP's: options of IPv4; of IPv6 hop-by-hop, destination, and both.
  my $padding = pack "CCCCx4", 0, 0, 1, 4;
  for (["options4", "127.0.0.1", [0, 4, "\x01" x 4]], ["hop6", "::1", [41, 54, $padding]], ["destination6", "::1", [41, 59, $padding]], ["headers6", "::1", [41, 54, $padding], [41, 59, $padding]]) {
    my ($case, $ip, @options) = @$_; my $s = udp($ip, $port); setsockopt($s, $_->[0], $_->[1], $_->[2]) or die "$case: $!" for @options;
    $c = child(sub { close $s; ask($case, $ip, $port, options => \@options) }); serve($s, $case); waitpid $c, 0 }
  print "done\n";
`;

/** What a row says, and what is true. */
export interface Observation {
  /** Whose the packet is: of the process that sends it, or of the one that receives it. */
  readonly side: 'sends' | 'receives';
  readonly isAnswer: boolean;
  /**
   * The process that the payload, or the receiver itself, names. Who asks receives the answer, and who answers has received the
   * question; 0 where nobody answers.
   */
  readonly pid: number;
  /** Several processes hold the socket that it comes to: none may be named. */
  readonly isShared: boolean;
  /** The process that the row names; 0 where it names none. */
  readonly told: number;
  readonly comm: string;
}

/** Runs all cases; gives what was seen of each, and how many messages were lost. */
export async function runCases(args: readonly string[] = []): Promise<{ cases: Map<string, Observation[]>; lost: number }> {
  const child = spawn('/usr/bin/perl', ['-e', script], { stdio: ['pipe', 'pipe', 'pipe'] });
  let out = '';
  let errors = '';
  child.stdout.on('data', (data: Buffer) => (out += data.toString()));
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
  const ended = once(child, 'close');
  while (!out.includes('ready\n')) await Promise.race([once(child.stdout, 'data'), ended]);
  const gadget = await RunningGadget.start('trace_dns', args);
  child.stdin.end('\n');
  await ended;
  const { events, lost } = await gadget.stop();
  if (!out.includes('done\n')) throw new Error(`the cases did not end: ${errors}\n${out}`);
  const netns = Number(/netns (\d+)/.exec(out)?.[1]);
  const receivers = new Map(Array.from(out.matchAll(/receives (\S+) (\d+)/g), ([, name = '', pid]) => [name, Number(pid)]));
  const shared = new Set(Array.from(out.matchAll(/shared (\S+)/g), ([, name = '']) => name));
  const cases = new Map<string, Observation[]>();
  const messages = events.flatMap((event) => {
    const [, sender, name = ''] = /^p(\d+)-(.*)\.mark\.$/.exec(String(event['name']).replaceAll('\\', '')) ?? [];
    if (sender === undefined || event['netns_id'] !== netns) return [];
    const isAnswer = event['qr'] === 'R';
    // Questions and their answers have the port of who asks in common.
    const { port } = event[isAnswer ? 'dst' : 'src'] as { readonly port: number };
    return [{ event, name, sender: Number(sender), isAnswer, talk: `${name} ${port}` }];
  });
  const askers = new Map(messages.filter(({ isAnswer }) => !isAnswer).map(({ talk, sender }) => [talk, sender]));
  const answerers = new Map(messages.filter(({ isAnswer }) => isAnswer).map(({ talk, sender }) => [talk, sender]));
  for (const { event, name, sender, isAnswer, talk } of messages) {
    const side = event['pkt_type'] === 'OUTGOING' ? 'sends' : 'receives';
    const receiver = isAnswer ? askers.get(talk) : (receivers.get(name) ?? answerers.get(talk));
    const all = cases.get(name) ?? [];
    all.push({
      side,
      isAnswer,
      pid: side === 'sends' ? sender : (receiver ?? 0),
      isShared: side === 'receives' && !isAnswer && shared.has(name),
      told: event.proc.pid,
      comm: event.proc.comm,
    });
    cases.set(name, all);
  }
  return { cases, lost };
}
