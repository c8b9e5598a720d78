// Containers of real runtimes (scripts/containers/rig.mjs) with networks of their own, which run the host's Perl and openssl.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Rig } from '../enrich/runtimes/rig.ts';
import { toolPath, until } from './netns.ts';
import { namespaceOf } from './process.ts';

export type RealRuntime = 'docker' | 'containerd' | 'runc';

/** A container that runs. */
export interface RealContainer {
  readonly name: string;
  readonly runtime: RealRuntime;
  /** Its first process, as the host numbers it. */
  readonly pid: number;
  readonly netns: number;
  readonly mntns: number;
  /** The host's end of its veth pair. */
  readonly device: string;
  readonly ifindex: number;
}

/** What a process said through the socket, and which one the kernel says it was (SO_PEERCRED). */
export interface Told {
  readonly pid: number;
  readonly words: readonly string[];
}

/**
 * Perl for processes in containers: `whoami` gives the number that the host knows this process by, `tell` says something to the
 * test, `await_word` waits for a file. Both go through the folder /mark, which the host's other end is in.
 */
export const containerPerl: string = String.raw`
  use strict; use Socket qw(:all); $| = 1;
  my $link;
  sub whoami { socket($link, AF_UNIX, SOCK_STREAM, 0) or die $!; connect($link, pack_sockaddr_un("/mark/ask")) or die "ask: $!"; my $pid = <$link>; $pid + 0 }
  sub tell_test { whoami() unless $link; syswrite $link, join(" ", @_) . "\n"; close $link; undef $link }
  sub await_word { my $word = shift; for (1 .. 60000) { return if -e "/mark/$word"; select undef, undef, undef, 0.01 } die "nobody said $word" }
`;

/** Tells each process that connects which one it is to the host, and prints what it says after that. */
const registrar = String.raw`
  use strict; use Socket qw(:all); use POSIX (); $| = 1; $SIG{CHLD} = "IGNORE"; umask 0;
  socket(my $l, AF_UNIX, SOCK_STREAM, 0) or die $!; bind($l, pack_sockaddr_un("$ARGV[0]/ask")) or die $!; listen($l, 500) or die $!; print "ready\n";
  for (;;) { accept(my $s, $l) or next; my $child = fork; next if $child; close $l; my ($pid) = unpack "i", getsockopt($s, SOL_SOCKET, 17);
    syswrite $s, "$pid\n"; my $said = ""; 1 while sysread $s, $said, 4096, length $said; syswrite STDOUT, "$pid $said" if $said =~ /\n\z/; POSIX::_exit(0) }
`;

/** Containers of several runtimes, and the bridge of the host that their veth pairs lead to. */
export class RealContainers {
  readonly folder: string = mkdtempSync(path.join(os.tmpdir(), 'rbnet-'));
  readonly bridge: string = `rb${process.pid % 1_000_000}`;
  /** What the clients of the runtimes, and the containers' programs, wrote to stderr. */
  errors = '';
  readonly #rig: Rig;
  readonly #clients: ChildProcess[] = [];
  readonly #registrar: ChildProcess;
  readonly #told: Told[] = [];
  #pending = '';
  #made = 0;
  #closed = false;

  constructor(runtimes: readonly RealRuntime[]) {
    this.#rig = new Rig(...runtimes);
    // However it ends: a time limit runs no teardown.
    process.once('exit', () => this.close());
    process.once('SIGTERM', () => process.exit(1));
    mkdirSync(path.join(this.folder, 'mark'));
    this.#registrar = spawn('setpriv', ['--pdeathsig', 'KILL', 'perl', '-e', registrar, path.join(this.folder, 'mark')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#registrar.stdout?.on('data', (data: Buffer) => this.#hear(data.toString()));
    ip('link', 'add', this.bridge, 'type', 'bridge');
    ip('link', 'set', this.bridge, 'up');
  }

  /** Options of `rawbpf run` that lead it to these runtimes and to no others. */
  get flags(): readonly string[] {
    return ['docker', 'containerd', 'podman', 'crio'].flatMap((kind) => [
      `--${kind}-socketpath`,
      this.#rig.runtimes[kind]?.socket ?? '/nonexistent',
    ]);
  }

  /** All that was said so far. */
  get told(): readonly Told[] {
    return this.#told;
  }

  /** Writes a file that containers see as /mark/NAME. */
  say(name: string, text = ''): void {
    writeFileSync(path.join(this.folder, 'mark', name), text);
  }

  /** A container that runs a Perl script, which tells its name first; with an address on the bridge. */
  async start(runtime: RealRuntime, name: string, address: string, script: string, ...args: readonly string[]): Promise<RealContainer> {
    this.say(`${name}.pl`, `${containerPerl} tell_test("started", "${name}"); ${script}`);
    const [command = '', ...words] = this.#command(runtime, name, ['/usr/bin/perl', `/mark/${name}.pl`, ...args]);
    const client = spawn(command, words, { env: this.#rig.env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#clients.push(client);
    let errors = '';
    client.stderr?.on('data', (data: Buffer) => {
      errors += data.toString();
      this.errors += `${name}: ${data.toString()}`;
    });
    const started = (): Told | undefined => this.#told.find(({ words: said }) => said[0] === 'started' && said[1] === name);
    await until(`${name} started`, () => started() !== undefined || client.exitCode !== null);
    const pid = started()?.pid;
    if (pid === undefined) throw new Error(`${name} did not start: ${errors}`);
    const device = `${this.bridge}x${this.#made++}`.slice(-15);
    ip('link', 'add', device, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(pid));
    ip('link', 'set', device, 'master', this.bridge, 'up');
    const inside = (...line: readonly string[]): void => run('nsenter', '-t', String(pid), '-n', '--', ...line);
    inside('ip', 'addr', 'add', address, 'dev', 'eth0');
    inside('ip', 'link', 'set', 'lo', 'up');
    inside('ip', 'link', 'set', 'eth0', 'up');
    return { name, runtime, pid, netns: namespaceOf('net', pid), mntns: namespaceOf('mnt', pid), device, ifindex: indexOf(device) };
  }

  /** Ends every container, takes the bridge and the rig away. Harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const { pid } of this.#told.filter(({ words }) => words[0] === 'started')) tryKill(pid);
    this.#registrar.kill('SIGKILL');
    spawnSync('ip', ['link', 'del', this.bridge]);
    this.#rig.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  #hear(text: string): void {
    const lines = (this.#pending + text).split('\n');
    this.#pending = lines.pop() ?? '';
    for (const line of lines) {
      const [pid, ...words] = line.split(' ');
      if (words.length > 0) this.#told.push({ pid: Number(pid), words });
    }
  }

  #command(runtime: RealRuntime, name: string, words: readonly string[]): readonly string[] {
    const { cli, image } = this.#rig.runtimes[runtime] ?? { cli: [], image: '' };
    const mounts = [
      ['/usr', '/usr'],
      ['/usr/lib', '/lib'],
      ['/usr/lib64', '/lib64'],
      [path.join(this.folder, 'mark'), '/mark'],
    ].filter(([from]) => from !== '/usr/lib64' || process.arch === 'x64');
    if (runtime === 'docker') {
      const volumes = mounts.flatMap(([from, to]) => ['-v', `${from}:${to}`]);
      return [...cli, 'run', '--rm', '--name', name, '--network', 'none', ...volumes, image, ...words];
    }
    if (runtime === 'containerd') {
      const binds = mounts.flatMap(([from, to]) => ['--mount', `type=bind,src=${from},dst=${to},options=rbind:ro`]);
      return [...cli, 'run', '--rm', ...binds, image, name, ...words];
    }
    // As the rig's bare.sh does, with mounts.
    const spec = JSON.parse(readFileSync(path.join(this.#rig.folder, 'bundle.json'), 'utf8').replace('@WORDS@', '"@WORDS@"')) as {
      process: { args: readonly string[] };
      mounts: unknown[];
      hostname: string;
      root: { path: string };
    };
    spec.process.args = words;
    spec.mounts.push(...mounts.map(([source, destination]) => ({ destination, source, type: 'bind', options: ['rbind', 'ro'] })));
    spec.hostname = name;
    spec.root.path = path.join(this.#rig.folder, 'rootfs');
    for (const [, to] of mounts) mkdirSync(path.join(spec.root.path, to ?? ''), { recursive: true });
    const bundle = path.join(this.#rig.folder, `bundle-${name}`);
    mkdirSync(bundle);
    writeFileSync(path.join(bundle, 'config.json'), JSON.stringify(spec));
    return ['runc', '--root', path.join(this.#rig.folder, 'runc-state'), 'run', '--bundle', bundle, name];
  }
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

function run(command: string, ...args: readonly string[]): void {
  const { status, stderr } = spawnSync(toolPath(command) ?? command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
}

const ip = (...args: readonly string[]): void => run('ip', ...args);

const indexOf = (device: string): number => Number(readFileSync(`/sys/class/net/${device}/ifindex`, 'utf8'));

/** A program in a container's network namespace, from outside. */
export function inNetworkOf(container: RealContainer, command: string, ...args: readonly string[]): void {
  run('nsenter', '-t', String(container.pid), '-n', '--', toolPath(command) ?? command, ...args);
}
