import type { Test } from 'tap';
import { Kernel } from '../../../src/bpf/index.ts';
import { SocketEnricher } from '../../../src/enrich/sockets/index.ts';
import { networkPerl } from '../../support/network.ts';
import { runPerl } from '../../support/process.ts';

const entriesOf = (enricher: SocketEnricher, netns: number): number =>
  [enricher.sockets, enricher.flows].reduce(
    (sum, map) =>
      sum + Array.from(map.keys()).filter((key) => new DataView(key.buffer, key.byteOffset).getUint32(0, true) === netns).length,
    0,
  );

/** Where struct socket_state has its network namespace, and struct holding the process. */
const stateNetns = 196;
const statesOf = (enricher: SocketEnricher, netns: number): number =>
  Array.from(enricher.states.entries()).filter(
    ([, value]) => new DataView(value.buffer, value.byteOffset).getUint32(stateNetns, true) === netns,
  ).length;
const holdingsOf = (enricher: SocketEnricher, pid: number): number =>
  Array.from(enricher.holdings.keys()).filter((key) => new DataView(key.buffer, key.byteOffset).getUint32(0, true) === pid).length;

/** Makes connections one after the other; once they are forgotten no entry of their namespace is left. */
export async function connectionsLeaveNothing(t: Test, count: number): Promise<void> {
  const kernel = new Kernel();
  const enricher = new SocketEnricher(kernel, { keepMs: 300, sweepMs: 100 });
  t.teardown(() => {
    enricher.close();
    kernel.close();
  });
  const { text } = await runPerl(`${networkPerl} own_network;
    my $l = listener(AF_INET, "127.0.0.1", 50); my $to = getsockname $l;
    # A connection that overflows the listener's queue never comes to be for its acceptor, so the client stays at most 25 ahead of it.
    pipe my $accepted, my $tell; my $done = 0;
    my $p = fork; if (!$p) { close $accepted; for (1 .. ${count}) { accept(my $s, $l) or die; syswrite $tell, "a"; sysread $s, my $x, 1; close $s } exit }
    close $tell;
    for my $made (1 .. ${count}) { my $s = fresh; setsockopt($s, SOL_SOCKET, SO_LINGER, pack "ii", 1, 0); connect($s, $to) or die $!; close $s;
      while ($made - $done > 25) { $done += sysread($accepted, my $x, 64) || die "nobody accepts" } } waitpid $p, 0; print "accepted ", $done + length join("", <$accepted>), "\\n";
    # Sockets of UDP too, each of them held by a child for a moment.
    for (1 .. ${count} / 50) { socket(my $s, AF_INET, SOCK_DGRAM, 0); send($s, "x", 0, at(AF_INET, "127.0.0.1", 9)); my $c = fork; exit unless $c; waitpid $c, 0; close $s } print "made $$\\n";`);
  t.match(text, /made/);
  t.equal(Number(/accepted (\d+)/.exec(text)?.[1]), count, 'every connection was accepted');
  const netns = Number(/netns (\d+)/.exec(text)?.[1]);
  for (let i = 0; i < 200 && entriesOf(enricher, netns) > 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(entriesOf(enricher, netns), 0);
  t.equal(statesOf(enricher, netns), 0, 'no socket is remembered');
  t.equal(holdingsOf(enricher, Number(/made (\d+)/.exec(text)?.[1])), 0, 'nor who held it');
  t.equal(enricher.counters.notFitting, 0);
}
