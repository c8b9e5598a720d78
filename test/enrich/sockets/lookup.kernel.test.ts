// What a gadget of somebody else finds with <gadget/sockets-map.h>: by a packet, however its headers are, and by a socket.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { compileBpf, hasCompiler } from '../../support/compile.ts';
import { Netns, until } from '../../support/netns.ts';
import { slowness } from '../../support/patience.ts';
import { type JsonEvent, RunningGadget } from '../../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);
const skip = !hasCompiler('clang-19') && 'clang-19 is not here';

const head = `
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <gadget/buffer.h>
#include <gadget/macros.h>
#include <gadget/types.h>
struct event { gadget_timestamp timestamp_raw; struct gadget_process proc; gadget_netns_id netns_id; __u32 pkt_type; __u32 vlan_tci; __u16 port; char mark[16]; };
GADGET_TRACER_MAP(events, 1024 * 256);
GADGET_TRACER(packets, events, event);
char LICENSE[] SEC("license") = "GPL";
`;

/** Every packet whose last sixteen bytes begin with "mark ". */
const bySkb = `${head}
#define GADGET_TYPE_NETWORKING
#include <gadget/sockets-map.h>
SEC("socket1")
int look(struct __sk_buff *skb)
{
	struct event event = {};

	if (skb->len < 16 || bpf_skb_load_bytes(skb, skb->len - 16, event.mark, 16))
		return 0;
	if (event.mark[0] != 'm' || event.mark[1] != 'a' || event.mark[2] != 'r' || event.mark[3] != 'k' || event.mark[4] != ' ')
		return 0;
	event.timestamp_raw = bpf_ktime_get_boot_ns();
	event.netns_id = skb->cb[0];
	event.pkt_type = skb->pkt_type;
	event.vlan_tci = skb->vlan_tci;
	gadget_process_populate_from_socket(gadget_socket_lookup(skb), &event.proc);
	gadget_output_buf(skb, &events, &event, sizeof(event));
	return 0;
}
`;

/** Every packet that a socket sends, looked up by its socket. */
const bySock = `${head}
#define GADGET_TYPE_TRACING
#include <gadget/sockets-map.h>
SEC("tp_btf/net_dev_queue")
int BPF_PROG(look, struct sk_buff *skb)
{
	struct sock *sk = BPF_CORE_READ(skb, sk);
	struct event event = {};
	__u32 length = BPF_CORE_READ(skb, len);

	if (!sk || length < 16)
		return 0;
	/* What TCP sends for a process lies in other pieces, where no mark is to be had. */
	if (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_protocol) == IPPROTO_TCP) {
		if (BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_ESTABLISHED || !BPF_CORE_READ(skb, data_len))
			return 0;
		event.port = BPF_CORE_READ(sk, __sk_common.skc_num);
	} else {
		bpf_probe_read_kernel(event.mark, 16, BPF_CORE_READ(skb, data) + length - 16);
		if (event.mark[0] != 'm' || event.mark[1] != 'a' || event.mark[2] != 'r' || event.mark[3] != 'k' || event.mark[4] != ' ')
			return 0;
	}
	event.timestamp_raw = bpf_ktime_get_boot_ns();
	event.netns_id = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	gadget_process_populate_from_socket(gadget_socket_lookup(sk, event.netns_id), &event.proc);
	gadget_output_buf(ctx, &events, &event, sizeof(event));
	return 0;
}
`;

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-lookup-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));

async function start(name: string, source: string): Promise<RunningGadget> {
  const { object, stderr } = compileBpf(source, { flags: ['-mcpu=v2'] });
  if (object === null) throw new Error(stderr);
  const file = path.join(folder, `${name}.bpf.o`);
  writeFileSync(file, object);
  return await RunningGadget.start(file, ['--no-containers']);
}

/** A UDP server that only stays. */
const stayPerl = String.raw`
  socket(my $s, AF_INET6, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_in6(4000, IN6ADDR_ANY)) or die $!; print "ready\n"; <STDIN>;
`;

/**
 * Holds a socket of port 3000 and writes frames onto eth0 that look as if they came from it, to port 4000: what the kernel would
 * not send by itself.
 */
const framesPerl = String.raw`
  my $to = pack "H12", shift; my $from = pack "H12", shift;
  socket(my $s, AF_INET6, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_in6(3000, IN6ADDR_ANY)) or die $!;
  socket(my $p, 17, SOCK_RAW, 0) or die $!;
  my $mac = $to . $from;
  sub put { my $frame = shift; send($p, $frame, 0, pack("SnlSCCa8", 17, unpack("x12 n", $frame), 2, 1, 0, 6, $to)) or die "send: $!" }
  sub mark { my $m = "mark $_[0]"; substr $m . "." x 16, 0, 16 }
  sub udp { my $m = mark(shift); pack("n4", 3000, 4000, 8 + length $m, 0) . $m }
  sub ip4 { my ($case, $options, $fragment) = @_; my $u = udp($case); my $words = 5 + length($options) / 4;
    $mac . pack("n", 0x800) . pack("CCnnnCCna4a4", 0x40 | $words, 0, $words * 4 + length $u, 1, $fragment, 64, 17, 0, inet_aton("10.5.0.1"), inet_aton("10.5.0.2")) . $options . $u }
  # Headers of IPv6: each a number, and what is behind its first byte.
  sub ip6 { my ($case, @headers) = @_; my $u = udp($case); my ($next, $body) = (17, $u);
    for (reverse @headers) { my ($number, $rest) = @$_; $body = pack("C", $next) . $rest . $body; $next = $number }
    $mac . pack("n", 0x86dd) . pack("NnCCa16a16", 0x60000000, length $body, $next, 64, inet_pton(AF_INET6, "fd05::1"), inet_pton(AF_INET6, "fd05::2")) . $body }
  sub tag { my ($frame, $kind) = @_; substr($frame, 0, 12) . pack("nn", $kind, 5) . substr $frame, 12 }
  my $pad = pack "CCCx4", 0, 1, 4;
  my @hop = (0, $pad); my @destination = (60, $pad); my @routing = (43, pack "CCCx20", 2, 4, 0); my @long = (60, pack "CCCx252", 31, 1, 252);
  sub fragment { my $offset = shift; [44, pack("CnN", 0, $offset, 7)] }
  my @auth = (51, pack "Cx22", 4);
  put(ip4("ip4", "", 0)); put(ip4("options 4", "\x01" x 4, 0)); put(ip4("options 40", "\x01" x 40, 0));
  put(ip4("first", "", 0x2000)); put(ip4("no later", "", 0x2001)); put(ip4("no last", "\x01" x 8, 0x0100));
  put(ip6("ip6")); put(ip6("routing", [@routing])); put(ip6("hop", [@hop])); put(ip6("dest", [@destination])); put(ip6("long", [@long])); put(ip6("auth", [@auth]));
  put(ip6("fragment", fragment(1))); put(ip6("atomic", fragment(0))); put(ip6("no later6", fragment(0x0409))); put(ip6("no tiny6", fragment(8)));
  put(ip6("all", [@hop], [@destination], [@routing], fragment(1), [@auth], [@destination]));
  put(ip6("no seven", map { [@destination] } 1 .. 7));
  put(ip6("no esp", [50, pack "x7"])); put(ip6("no next", [59, pack "x7"]));
  put(tag(ip4("tag", "", 0), 0x8100)); put(tag(ip4("tag options", "\x01" x 12, 0), 0x8100)); put(tag(ip6("tag6", [@routing]), 0x88a8));
  put(tag(tag(ip4("tags", "\x01" x 8, 0), 0x8100), 0x88a8)); put(tag(tag(ip6("tags6", [@hop], fragment(1)), 0x8100), 0x8100));
  put(tag(ip4("no tag late", "", 0x2001), 0x8100)); put(tag(tag(tag(ip4("three", "", 0), 0x8100), 0x8100), 0x88a8));
  put(tag(tag(tag(tag(ip4("no tag four", "", 0), 0x8100), 0x8100), 0x8100), 0x88a8));
  put(tag($mac . pack("n", 0x88b5) . mark("no tag else"), 0x8100)); put($mac . pack("nn", 0x8100, 5) . mark("no tag cut"));
  # Cut off within the headers: the mark stands where more of them would.
  my $cut = $mac . pack("n", 0x86dd) . pack("NnCCa16a16", 0x60000000, 16, 0, 64, inet_pton(AF_INET6, "fd05::1"), inet_pton(AF_INET6, "fd05::2")) . mark("no cut");
  put($cut);
  my $short = $mac . pack("n", 0x800) . pack("CCnnnCCn", 0x4f, 0, 36, 1, 0, 64, 17, 0) . mark("no short"); put($short);
  print "sent\n"; <STDIN>;
`;

void t.test('a packet finds its socket behind every header that the kernel passes over, and no other socket', { skip }, async (t) => {
  const [here, there] = [await Netns.make(), await Netns.make()];
  t.teardown(() => Promise.all([here.close(), there.close()]));
  here.join(there, 'eth0', ['10.5.0.1/24', 'fd05::1/64'], ['10.5.0.2/24', 'fd05::2/64']);
  const gadget = await start('skb', bySkb);
  t.teardown(() => gadget.stop());
  for (const each of [here, there]) await until('the gadget looks', () => each.isWatchedBy(gadget.pid));
  const perl = (at: Netns, script: string, ...args: readonly string[]): ReturnType<Netns['spawn']> =>
    at.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${script}`, '--', ...args]);
  const said = new Set<unknown>();
  const server = perl(there, stayPerl);
  server.stdout?.once('data', () => said.add(server));
  await until('the server is there', () => said.has(server));
  const mac = (at: Netns): string => at.link('eth0').address.replaceAll(':', '');
  const client = perl(here, framesPerl, mac(there), mac(here));
  client.stdout?.once('data', () => said.add(client));
  await until('all is sent', () => said.has(client) || client.exitCode !== null);
  const { events, lost } = await gadget.stop();
  for (const each of [client, server]) each.kill('SIGKILL');
  t.equal(lost, 0);
  // What the kernel answers by itself has the mark in it too.
  const told = (at: Netns, type: number): Map<string, JsonEvent> =>
    new Map(
      events
        .filter((event) => event['netns_id'] === at.inode && event['pkt_type'] === type)
        .map((event) => [String(event['mark']).slice(5).replace(/\.*$/, ''), event]),
    );
  const [sent, received] = [told(here, 4), told(there, 0)];
  for (const [name, event] of sent) {
    // What comes has lost one of its tags, so that two are left of three.
    const named = !name.startsWith('no ') && name !== 'three';
    t.match(event, { proc: { pid: named ? client.pid : 0, comm: named ? 'perl' : '' } }, `${name}: sent`);
  }
  for (const [name, event] of received) {
    const named = !name.startsWith('no ');
    t.match(event, { proc: { pid: named ? server.pid : 0, comm: named ? 'perl' : '' } }, `${name}: received`);
    t.equal(event['vlan_tci'], name.includes('tag') || name === 'three' ? 5 : 0, `${name}: the first tag is taken out`);
  }
  const all = framesPerl.match(/(?:ip4|ip6|mark)\("[^"]+"/g)?.map((each) => each.slice(each.indexOf('"') + 1, -1)) ?? [];
  t.same([...sent.keys()].toSorted(), all.toSorted(), 'each is seen as it leaves');
  t.same([...received.keys()].toSorted(), all.toSorted(), 'and as it comes');
});

/** TCP over either protocol, and UDP connected and not, each sending its own mark, in children of its own. */
const socksPerl = String.raw`
  use POSIX ();
  sub at { my ($family, $ip, $port) = @_; $ip = inet_pton($family, $ip); $family == AF_INET ? pack_sockaddr_in($port, $ip) : pack_sockaddr_in6($port, $ip) }
  sub mark { my $m = "mark $$ $_[0]"; substr $m . "." x 16, 0, 16 }
  sub told { my ($s, $case) = @_; my $name = getsockname $s; my $port = length $name > 16 ? (unpack_sockaddr_in6 $name)[0] : (unpack_sockaddr_in $name)[0]; print "mark $$ $case port $port\n" }
  sub child { my $work = shift; my $pid = fork; return $pid if $pid; $work->(); POSIX::_exit(0) }
  for (["t4", AF_INET, "127.0.0.1"], ["t6", AF_INET6, "::1"], ["tm", AF_INET6, "::ffff:127.0.0.1"]) {
    my ($case, $family, $ip) = @$_; socket(my $l, $family, SOCK_STREAM, 0) or die $!; bind($l, at($family, $ip, 0)) or die $!; listen($l, 5); my $to = getsockname $l;
    my $server = child(sub { accept(my $s, $l) or die $!; close $l; sysread $s, my $m, 16; told($s, "$case-a"); syswrite $s, mark("$case-a"); sysread $s, $m, 1 });
    close $l;
    my $client = child(sub { socket(my $s, $family, SOCK_STREAM, 0); connect($s, $to) or die $!; told($s, "$case-q"); syswrite $s, mark("$case-q"); sysread $s, my $m, 16 });
    waitpid $_, 0 for $server, $client;
  }
  for (["u4", AF_INET, "127.0.0.1"], ["u6", AF_INET6, "::1"]) {
    my ($case, $family, $ip) = @$_; socket(my $l, $family, SOCK_DGRAM, 0) or die $!; bind($l, at($family, $ip, 0)) or die $!; my $to = getsockname $l;
    my $server = child(sub { for (1 .. 2) { my $from = recv $l, my $m, 16, 0; send $l, mark("$case-a"), 0, $from } });
    close $l;
    for my $connected (0, 1) { my $c = child(sub { socket(my $s, $family, SOCK_DGRAM, 0);
      if ($connected) { connect($s, $to); send $s, mark("$case-c"), 0 } else { send $s, mark("$case-q"), 0, $to } recv $s, my $m, 16, 0 }); waitpid $c, 0 }
    waitpid $server, 0;
  }
`;

void t.test('a program about sockets finds who holds the one that sends', { skip }, async (t) => {
  const space = await Netns.make();
  t.teardown(() => space.close());
  const gadget = await start('sock', bySock);
  t.teardown(() => gadget.stop());
  const { code, text } = await space.perl(socksPerl);
  t.equal(code, 0, text);
  const { events, lost } = await gadget.stop();
  t.equal(lost, 0);
  const byPort = new Map(Array.from(text.matchAll(/^(mark .*) port (\d+)$/gm), ([, mark = '', port]) => [Number(port), mark]));
  const seen = new Set<string>();
  for (const event of events.filter((each) => each['netns_id'] === space.inode)) {
    const mark = byPort.get(Number(event['port'])) ?? String(event['mark']);
    const [, pid = '', name = ''] = /^mark (\d+) (\w+-\w)/.exec(mark) ?? [];
    seen.add(name);
    t.match(event.proc, { pid: Number(pid), comm: 'perl', parent: { comm: 'perl' } }, name);
  }
  const expected = ['t4', 't6', 'tm'].flatMap((each) => [`${each}-q`, `${each}-a`]);
  expected.push(...['u4', 'u6'].flatMap((each) => [`${each}-q`, `${each}-c`, `${each}-a`]));
  t.same([...seen].toSorted(), expected.toSorted());
});
