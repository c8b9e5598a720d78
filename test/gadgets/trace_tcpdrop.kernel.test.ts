import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t from 'tap';
import { flagsText, inNetwork, networkPerl, parseNetwork, type Packet } from '../support/network.ts';
import { expectProcess, expectTime, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// Packets that nobody wants: to ports where nobody listens, to a deaf socket.
const unwanted = String.raw`
  ${networkPerl}
  own_network();
  start_capture();
  my $closed = 0;
  for ([AF_INET, "127.0.0.1"], [AF_INET6, "::1"]) {
    my ($family, $ip) = @$_;
    my $nobody = fresh $family; bind($nobody, at($family, $ip, 0)) or die;
    my $client = fresh $family; connect($client, at($family, $ip, port_of $nobody)) and die;
    print "closed", $closed++, " ", port_of($nobody), "\n";
  }
  my $server = listener(AF_INET, "127.0.0.1");
  my $client = fresh; connect($client, at(AF_INET, "127.0.0.1", port_of $server)) or die; accept(my $accepted, $server) or die;
  deafen($accepted);
  syswrite $client, "x" x 100;
  print "deaf ", port_of($server), "\n";
  select undef, undef, undef, 0.1;
  print_capture();
`;

/** What the tracepoint's format says: the numbers of reasons by name, and which fields it has. */
function tracepointFormat(): string {
  const at = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-tracefs-'));
  try {
    const script = 'mount -t tracefs none "$0" && cat "$0/events/skb/kfree_skb/format"';
    return spawnSync('unshare', ['-m', 'sh', '-c', script, at], { encoding: 'utf8' }).stdout;
  } finally {
    rmdirSync(at);
  }
}

const format = tracepointFormat();
const hasReason = format.includes('enum skb_drop_reason reason');
const hasSocket = format.includes('rx_sk');

function numberOf(reason: string): number {
  return Number(new RegExp(`\\{ (\\d+), "${reason}" \\}`).exec(format)?.[1]);
}

void t.test('packets that are dropped', async (t) => {
  const { events, lost, made } = await traced('trace_tcpdrop', [], () => runPerl(unwanted));
  t.equal(lost, 0);
  t.ok(format.includes('skbaddr'), 'the format of the tracepoint can be read');
  const { packets, lines } = parseNetwork(made.text);
  const netns = Number(lines.get('netns')?.[0]);
  const own = inNetwork(events, netns, made);
  const isOf = (event: JsonEvent, packet: Packet): boolean =>
    event['seq'] === packet.seq && (event['src'] as Packet['src']).port === packet.src.port && event['tcpflags_raw'] === packet.flags;

  for (const [name, reason, flags, function_] of [
    ['closed0', 'NO_SOCKET', 'SYN', 'tcp_v4_rcv'],
    ['closed1', 'NO_SOCKET', 'SYN', 'tcp_v6_rcv'],
    ['deaf', 'SOCKET_FILTER', 'PSH|ACK', 'tcp_v4_rcv'],
  ] as const) {
    const port = Number(lines.get(name)?.[0]);
    const sent = packets.filter(({ dst, flags: bits }) => dst.port === port && flagsText(bits) === flags);
    const packet = sent.at(-1);
    t.ok(packet, `${name}: was sent`);
    if (packet === undefined) continue;
    const event = own.find((each) => isOf(each, packet));
    const side = { proto: 'TCP', proto_raw: 6, version: name === 'closed1' ? 6 : 4 };
    t.match(event, { src: { ...packet.src, ...side }, dst: { ...packet.dst, ...side }, len: packet.len, tcpflags: flags }, name);
    expectTime(t, event, made, name);
    const stack = String(event?.['kernel_stack']);
    t.ok(Number(event?.['kernel_stack_raw']) >= 0 && stack.split('; ').includes(function_), `${name}: ${stack}`);
    if (!hasReason) t.equal(event?.['reason'], 'SKB_DROP_REASON_NOT_SPECIFIED', `${name}: this kernel knows no reasons`);
    else t.match(event, { reason: `SKB_DROP_REASON_${reason}`, reason_raw: numberOf(reason) }, `${name}: reason`);
    if (name === 'deaf' && hasSocket) {
      t.match(event, { state: 'tcp_established', state_raw: 1 }, name);
      expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, name);
    } else if (name.startsWith('closed') || name === 'deaf') {
      t.match(event, { state: 'no_socket', proc: { pid: 0, comm: '', creds: { uid: 0xffffffff } } }, `${name}: nobody`);
    }
  }
  t.same(
    // Of what opens connections or carries data: their ends come after the capture.
    own.filter(
      (event) =>
        (Number(event['tcpflags_raw']) === 2 || (Number(event['len']) > 0 && (Number(event['tcpflags_raw']) & 5) === 0)) &&
        !packets.some((packet) => isOf(event, packet)),
    ),
    [],
    'nothing is shown that was not sent',
  );
});

void t.test('parameters', async (t) => {
  const bare = await traced('trace_tcpdrop', ['--collect-kstack=false'], () => runPerl(unwanted));
  t.ok(bare.events.length > 0 && bare.events.every((event) => event['kernel_stack_raw'] === 0), '--collect-kstack=false');
  const named = await traced('trace_tcpdrop', ['--comm', 'no-such-name'], () => runPerl(unwanted));
  t.same(named.events, [], '--comm');
});
