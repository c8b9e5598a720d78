import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import t, { type Test } from 'tap';
import { Netns, toolPath } from '../support/netns.ts';
import { networkPerl } from '../support/network.ts';
import { slowness } from '../support/patience.ts';
import { expectProcess, expectTime, namespaceOf } from '../support/process.ts';
import { type GadgetOutput, type JsonEvent, rawbpfPath, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/**
 * A receiver with two UDP sockets on loopback, and a child of it that sends: to the first port five packets, each with a mark of
 * its own, to the second one three. The receiver captures what goes out to the first port, as tcpdump does.
 */
const script = String.raw`
  use Time::HiRes 'time';
  sub receiver { socket(my $socket, AF_INET, SOCK_DGRAM, 0); bind($socket, at(AF_INET, "127.0.0.1", 0)) or die $!; $socket }
  my ($wanted, $other) = (receiver(), receiver());
  my ($port, $not) = (port_of($wanted), port_of($other));
  socket(my $capture, 17, SOCK_RAW, unpack "n", pack "S", 3) or die $!; nonblocking $capture;
  print "ports $port $not\n";
  <STDIN>;
  print "from ", time * 1000, "\n";
  my $child = fork // die $!;
  if (!$child) {
    # A socket that two hold is nobody's.
    close $_ for $wanted, $other, $capture;
    socket(my $socket, AF_INET, SOCK_DGRAM, 0);
    for my $i (1 .. 5) { send $socket, "mark $i " . "x" x ($i * 100), 0, at(AF_INET, "127.0.0.1", $port) }
    for my $i (1 .. 3) { send $socket, "other $i", 0, at(AF_INET, "127.0.0.1", $not) }
    <STDIN>;
    exit 0;
  }
  for (1 .. 5) { recv $wanted, my $data, 65535, 0 }
  for (1 .. 3) { recv $other, my $data, 65535, 0 }
  while (defined(my $from = recv $capture, my $frame, 65535, 0)) {
    next unless unpack("x10 C", $from) == 4 and unpack("x12 n", $frame) == 0x800 and unpack("x23 C", $frame) == 17 and unpack("x36 n", $frame) == $port;
    print "frame ", unpack("H*", $frame), "\n";
  }
  print "child $child\nto ", time * 1000, "\n";
  <STDIN>;
  waitpid $child, 0;
`;

interface Traffic {
  readonly receiver: number;
  readonly sender: number;
  readonly from: number;
  readonly to: number;
  /** What went out to the first port, in hexadecimal. */
  readonly frames: readonly string[];
}

/** A running receiver, to be told when to begin and when to end. */
class Talk {
  readonly #child: ChildProcess = spawn('/usr/bin/perl', ['-e', `use strict; $| = 1; ${networkPerl} ${script}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  readonly #ended = once(this.#child, 'close');
  #out = '';

  constructor() {
    this.#child.stdout?.on('data', (data: Buffer) => (this.#out += data.toString()));
  }

  async #line(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(this.#out);
      if (found !== null) return found;
      await Promise.race([once(this.#child.stdout as NodeJS.EventEmitter, 'data'), this.#ended]);
      if (this.#child.exitCode !== null) throw new Error(`the receiver ended: ${this.#out}`);
    }
  }

  async ports(): Promise<readonly [wanted: number, other: number]> {
    const [, wanted, other] = await this.#line(/^ports (\d+) (\d+)$/m);
    return [Number(wanted), Number(other)];
  }

  /** Sends and receives everything; both processes go on. */
  async send(): Promise<Traffic> {
    this.#child.stdin?.write('go\n');
    await this.#line(/^to /m);
    const number = (name: string): number => Number(new RegExp(`^${name} (.*)$`, 'm').exec(this.#out)?.[1]);
    return {
      receiver: this.#child.pid ?? 0,
      sender: number('child'),
      from: number('from'),
      to: number('to'),
      frames: [...this.#out.matchAll(/^frame ([0-9a-f]+)$/gm)].map(([, frame]) => frame ?? ''),
    };
  }

  async end(): Promise<void> {
    this.#child.stdin?.end();
    await this.#ended;
  }
}

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

interface Block {
  readonly type: number;
  readonly body: Buffer;
}

/** The blocks of a pcap-ng file; throws where one is not as the specification has it (draft-ietf-opsawg-pcapng, section 3.1). */
function blocksOf(file: Buffer): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < file.length;) {
    const length = file.readUInt32LE(at + 4);
    if (length % 4 !== 0 || at + length > file.length) throw new Error(`a block of ${length} bytes at ${at} of ${file.length}`);
    if (file.readUInt32LE(at + length - 4) !== length) throw new Error(`the lengths of the block at ${at} differ`);
    blocks.push({ type: file.readUInt32LE(at), body: file.subarray(at + 8, at + length - 4) });
    at += length;
  }
  return blocks;
}

/** Options by their codes, up to the one that ends them. */
function optionsOf(body: Buffer, from: number): ReadonlyMap<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = from; at < body.length;) {
    const [code, length] = [body.readUInt16LE(at), body.readUInt16LE(at + 2)];
    if (code === 0) return options;
    options.set(code, body.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
  throw new Error('the options have no end');
}

void t.test('-o pcap-ng: the very bytes of the packets, their times, directions, devices and processes', async (test) => {
  const talk = new Talk();
  const [port] = await talk.ports();
  const args = ['run', 'tcpdump', '-v', '--iface', 'lo', '--pf', `udp dst port ${port}`, '--snaplen', '200', '-o', 'pcap-ng'];
  const child = spawn(process.execPath, [rawbpfPath, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  const chunks: Buffer[] = [];
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => chunks.push(data));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  while (!/: attached$/m.test(stderr) && child.exitCode === null) await Promise.race([once(child.stderr, 'data'), ended]);
  const traffic = await talk.send();
  child.kill('SIGINT');
  test.same(await ended, [0, null], 'it ends as it should');
  await talk.end();
  const [section, device, ...packets] = blocksOf(Buffer.concat(chunks));
  test.equal(section?.type, 0x0a0d0d0a);
  test.equal(section?.body.readUInt32LE(0), 0x1a2b3c4d, 'the byte order');
  test.equal(device?.type, 1);
  test.equal(device?.body.readUInt16LE(0), 1, 'LINKTYPE_ETHERNET');
  const ofDevice = optionsOf(device?.body ?? Buffer.alloc(0), 8);
  test.equal(ofDevice.get(2)?.toString(), 'lo', 'if_name');
  test.same(ofDevice.get(9), Buffer.of(9), 'if_tsresol: nanoseconds');
  test.equal(packets.length, 10);
  const seen = { EGRESS: [] as string[], INGRESS: [] as string[] };
  for (const { type, body } of packets) {
    test.equal(type, 6, 'an enhanced packet block');
    test.equal(body.readUInt32LE(0), 0, 'of that device');
    const time = Number((BigInt(body.readUInt32LE(4)) << 32n) | BigInt(body.readUInt32LE(8))) / 1e6;
    test.ok(time >= traffic.from - 1 && time <= traffic.to + 1, 'its time');
    const [captured, length] = [body.readUInt32LE(12), body.readUInt32LE(16)];
    const options = optionsOf(body, 20 + ((captured + 3) & ~3));
    const direction = (options.get(2)?.readUInt32LE(0) ?? 0) === 2 ? 'EGRESS' : 'INGRESS';
    seen[direction].push(`${length} ${body.subarray(20, 20 + captured).toString('hex')}`);
    const pid = direction === 'EGRESS' ? traffic.sender : traffic.receiver;
    test.match(options.get(1)?.toString(), new RegExp(`^comm=perl pid=${pid} tid=${pid} `), 'its process');
  }
  const wanted = traffic.frames.map((frame) => `${frame.length / 2} ${frame.slice(0, 400)}`);
  test.same(seen.EGRESS, wanted, 'what goes out, as the capture beside it has it');
  test.same(seen.INGRESS, wanted, 'what comes in');
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
