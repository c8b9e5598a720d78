import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { networkPerl } from './network.ts';

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

/** What was said. */
export interface Traffic {
  readonly receiver: number;
  readonly sender: number;
  readonly from: number;
  readonly to: number;
  /** What went out to the first port, in hexadecimal. */
  readonly frames: readonly string[];
}

/** A running receiver, to be told when to begin and when to end. */
export class Talk {
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
