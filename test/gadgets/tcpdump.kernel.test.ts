import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { Netns, toolPath } from '../support/netns.ts';
import { slowness } from '../support/patience.ts';
import { expectProcess, expectTime, namespaceOf } from '../support/process.ts';
import { type GadgetOutput, type JsonEvent, rawbpfPath, RunningGadget } from '../support/run-gadget.ts';
import { Talk, type Traffic } from '../support/talk.ts';

t.setTimeout(110_000 * slowness);

function expectPackets(test: Test, output: GadgetOutput, traffic: Traffic): void {
  test.equal(output.lost, 0);
  test.equal(traffic.frames.length, 5, 'the capture beside it has all five');
  for (const direction of ['EGRESS', 'INGRESS']) {
    const rows = output.events.filter((event) => event['packet_type'] === direction);
    test.same(
      rows.map((row) => [row['packet_size'], row['payload_len']]),
      traffic.frames.map((frame) => [frame.length / 2, frame.length / 2]),
      `${direction}: sizes`,
    );
    test.same(
      rows.map((row) => row['payload']),
      traffic.frames,
      `${direction}: the packets`,
    );
    for (const row of rows) expectRow(test, row, direction, traffic);
  }
}

function expectRow(test: Test, row: JsonEvent, direction: string, { sender, receiver, from, to }: Traffic): void {
  const parent = { pid: receiver, comm: 'perl' };
  const expected = direction === 'EGRESS' ? { pid: sender, comm: 'perl', parent } : { pid: receiver, comm: 'perl' };
  expectProcess(test, row.proc, expected, direction);
  expectTime(test, row, { from, to }, direction);
  test.equal(row['ifindex'], 1, 'loopback is the first device');
  test.equal(row['netns_id'], namespaceOf('net'), 'the namespace that all of them are in');
}

void t.test('packets that match an expression, with who sends and who receives them', async (test) => {
  const talk = new Talk();
  const [port] = await talk.ports();
  const gadget = await RunningGadget.start('tcpdump', ['--iface', 'lo', '--pf', `udp dst port ${port}`]);
  const traffic = await talk.send();
  // Both are asked for their fields while they live.
  const output = await gadget.stop();
  await talk.end();
  test.equal(output.events.length, 10, 'five go out, five come in; of the other port none');
  expectPackets(test, output, traffic);
});

void t.test('bytes of packets in the message decide too', async (test) => {
  const talk = new Talk();
  const [port] = await talk.ports();
  // The fifth byte of the mark "mark N": its number, in ASCII.
  const gadget = await RunningGadget.start('tcpdump', [
    '--iface',
    'lo',
    '--pf',
    `udp[2:2] = ${port} and udp[13] >= 0x33 and udp[13] != 52`,
  ]);
  const traffic = await talk.send();
  const output = await gadget.stop();
  await talk.end();
  const wanted = [traffic.frames[2], traffic.frames[4]].map((frame) => (frame?.length ?? 0) / 2);
  test.same(
    output.events.filter((event) => event['packet_type'] === 'EGRESS').map((event) => event['packet_size']),
    wanted,
  );
});

void t.test('an expression that cannot be understood ends it before anything is attached', async (test) => {
  const child = spawn(process.execPath, [rawbpfPath, 'run', 'tcpdump', '--pf', 'tcp prot 80'], { stdio: ['ignore', 'pipe', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  test.same(await once(child, 'close'), [2, null]);
  test.match(stderr, /the packet filter cannot be understood \(position 5\)/);
  test.match(stderr, /\n {2}tcp prot 80\n {2} {4}\^/);
});

void t.test("--iface with the host's end of a veth: its packets in both directions, and no others", async (test) => {
  const [space, other] = [await Netns.make(), await Netns.make()];
  test.teardown(() => Promise.all([space.close(), other.close()]));
  const ip = (...args: readonly string[]): void => {
    const { status, stderr } = spawnSync(toolPath('ip') ?? '', args, { encoding: 'utf8' });
    if (status !== 0) throw new Error(`ip ${args.join(' ')}: ${stderr}`);
  };
  // Two of them, as with two containers; they go with their namespaces.
  const devices = [`rawbpf-a${process.pid}`, `rawbpf-b${process.pid}`].map((name) => name.slice(0, 15));
  for (const [i, each] of [space, other].entries()) {
    const name = devices[i] ?? '';
    each.ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', name, 'netns', String(process.pid));
    each.ip('addr', 'add', `10.79.${i}.2/24`, 'dev', 'eth0');
    each.ip('link', 'set', 'eth0', 'up');
    ip('addr', 'add', `10.79.${i}.1/24`, 'dev', name);
    ip('link', 'set', name, 'up');
  }
  const server = spawn('perl', [
    '-e',
    `use strict; use Socket; $| = 1; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_in(0, INADDR_ANY)) or die $!;
    print +(unpack_sockaddr_in getsockname $s)[0], "\\n"; while (my $from = recv $s, my $m, 99, 0) { send $s, $m, 0, $from }`,
  ]);
  test.teardown(() => server.kill('SIGKILL'));
  const [line] = (await once(server.stdout, 'data')) as [Buffer];
  const port = Number(line.toString());
  const gadget = await RunningGadget.start('tcpdump', ['--iface', devices[0] ?? '', '--pf', `udp port ${port}`]);
  test.teardown(() => gadget.stop());
  for (const [i, each] of [space, other].entries()) {
    const { text, code } = await each.perl(`
      for my $n (1 .. 3) { socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; send($s, "x" x (10 * $n), 0, pack_sockaddr_in(${port}, inet_aton "10.79.${i}.1")) or die $!;
        my $in = ""; vec($in, fileno $s, 1) = 1; select($in, undef, undef, 30) or die "no answer"; recv $s, my $m, 99, 0; print length $m, " " }`);
    test.same([text, code], ['10 20 30 ', 0], `answered in ${devices[i]}`);
  }
  const { events, lost } = await gadget.stop();
  test.equal(lost, 0);
  test.same(
    events.map((event) => [event['packet_type'], event['packet_size'], event.proc.pid, event['netns_id']]),
    [10, 20, 30].flatMap((size) => ['INGRESS', 'EGRESS'].map((type) => [type, 42 + size, server.pid, namespaceOf('net')])),
  );
});

void t.test(
  '--iface with a device that is not there, or a gadget that looks at no packets, ends it before anything is attached',
  async (test) => {
    for (const [args, message] of [
      [['tcpdump', '--iface', 'no-such-0'], /no-such-0/],
      [['trace_exec', '--iface', 'lo'], /this gadget does not look at packets/],
    ] as const) {
      const child = spawn(process.execPath, [rawbpfPath, 'run', ...args, '--no-containers'], { stdio: ['ignore', 'pipe', 'pipe'] });
      let stderr = '';
      child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
      const [code] = (await once(child, 'close')) as [number | null];
      test.ok(code !== null && code > 0, `${args.join(' ')}: exit code ${code}`);
      test.match(stderr, message);
    }
  },
);
