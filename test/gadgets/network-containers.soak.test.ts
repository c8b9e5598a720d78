// Ten containers of docker, containerd and runc, an eleventh one with their servers: fifty processes that live for one DNS question
// and fifty that live for one TLS hello. Each row's process and container are compared with what the process said of itself.
//
//   npm run test:soak -- network-containers
//   RAWBPF_IG_GADGETS=FOLDER npm run test:soak -- network-containers     Inspektor Gadget's own as well, made by scripts/inspektor-gadget.mjs
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import t, { type Test } from 'tap';
import { Kernel } from '../../src/bpf/kernel/kernel.ts';
import { queryAttached } from '../../src/bpf/link/query.ts';
import { isWatched, tableOf, toolPath, until } from '../support/netns.ts';
import { dnsQuestionPerl } from '../support/network.ts';
import { slowness } from '../support/patience.ts';
import { inNetworkOf, RealContainers, type RealContainer, type RealRuntime, type Told } from '../support/real-containers.ts';
import { type GadgetOutput, type JsonEvent, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(600_000 * slowness);

const count = 10;
const each = 5;
const answer = '10.9.9.9';
const server = '10.233.7.1';
/** An address on the bridge that nobody has. */
const nobody = '10.233.99.9';
const runtimes: readonly RealRuntime[] = ['docker', 'containerd', 'runc'];

const packages = {
  dnsmasq: 'dnsmasq-base',
  openssl: 'openssl',
  ip: 'iproute2',
  tc: 'iproute2',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
};
const missing = Object.entries(packages).filter(([tool]) => toolPath(tool) === null);
const skip = missing.length > 0 && `not here: ${missing.map(([tool, of]) => `${tool} (Debian's ${of})`).join(', ')}`;

/** Asks and greets in processes of their own, and lets packets be dropped and sent again. */
const clientPerl = String.raw`
  use POSIX (); ${dnsQuestionPerl}
  my ($container, $server, $openssl, $each, $nobody) = @ARGV;
  sub ask { my $n = shift; my $pid = whoami; my $name = "p$pid-$container-q$n";
    tell_test("asked", $container, "$name.test", ask_dns($server, $name)) }
  sub greet { my $n = shift; my $pid = whoami; my $name = "p$pid-$container-h$n.test"; tell_test("greets", $container, $name);
    $ENV{OPENSSL_CONF} = "/dev/null"; open STDIN, "<", "/dev/null"; open STDOUT, ">", "/dev/null"; open STDERR, ">", "/dev/null";
    exec $openssl, "s_client", "-connect", "$server:443", "-servername", $name or die $! }
  await_word("go");
  for my $n (1 .. $each) {
    my @children = map { my $what = $_; my $child = fork; if (!$child) { $what ? greet($n) : ask($n); POSIX::_exit(0) } $child } 0, 1;
    for (@children) { waitpid $_, 0; tell_test("failed", $container, $n, $?) if $? }
  }
  socket(my $l, AF_INET, SOCK_STREAM, 0); bind($l, pack_sockaddr_in(0, inet_aton "127.0.0.1")) or die $!; listen($l, 5);
  my ($port) = unpack_sockaddr_in getsockname $l;
  socket(my $c, AF_INET, SOCK_STREAM, 0); connect($c, pack_sockaddr_in($port, inet_aton "127.0.0.1")) or die $!; accept(my $a, $l) or die $!;
  # Nobody is there: the opening is sent again after a second.
  socket(my $d, AF_INET, SOCK_STREAM, 0); fcntl($d, 4, 04000); connect($d, pack_sockaddr_in(9, inet_aton $nobody));
  select undef, undef, undef, 1.5; tell_test("alone", $container, 9, (unpack_sockaddr_in getsockname $d)[0]); close $d;
  tell_test("paired", $container, $port, (unpack_sockaddr_in getsockname $c)[0]);
  await_word("dropping-$container"); setsockopt($c, IPPROTO_TCP, TCP_NODELAY, 1); syswrite $c, "x"; select undef, undef, undef, 1;
  tell_test("dropped", $container); await_word("end");
`;
const serverPerl = String.raw`
  my ($container, $dnsmasq, $openssl, $answer) = @ARGV; $ENV{OPENSSL_CONF} = "/dev/null";
  sub server { my ($what, @command) = @_; my $child = fork; return if $child; whoami; tell_test($what, $container); open STDOUT, ">", "/dev/null"; exec @command or die $! }
  server("dns", $dnsmasq, qw(--keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root --group=root --log-facility=/dev/null), "--address=/test/$answer");
  server("tls", $openssl, qw(s_server -quiet -www -accept 443 -key /mark/key.pem -cert /mark/cert.pem));
  await_word("end");
`;

/** Whose a row has to be. */
interface Who {
  readonly pid: number;
  readonly comm: string;
  readonly container: RealContainer;
}

const proc = (row: JsonEvent | undefined): { readonly pid?: number; readonly comm?: string; readonly mntns_id?: number } | undefined =>
  row === undefined || row.proc !== undefined
    ? row?.proc
    : { pid: Number(row['pid']), comm: String(row['comm']), mntns_id: Number(row['mount_ns_id']) };

/** The container: docker and containerd are asked for its name, runc's containers have but an id. */
function expectContainer(t: Test, row: JsonEvent | undefined, { name, runtime }: RealContainer, what: string): void {
  const told = row?.['runtime'] as
    | { readonly containerName: string; readonly containerId: string; readonly runtimeName: string }
    | undefined;
  if (runtime === 'docker') t.match(told?.containerId, /^[0-9a-f]{64}$/, `${what}: id`);
  else t.equal(told?.containerId, name, `${what}: id`);
  if (runtime !== 'runc') t.equal(told?.containerName, name, `${what}: container`);
  t.equal(told?.runtimeName, runtime, `${what}: runtime`);
}

function expectWho(t: Test, row: JsonEvent | undefined, { pid, comm, container }: Who, what: string): void {
  t.match(proc(row), { pid, comm, mntns_id: container.mntns }, `${what}: process`);
  if (row !== undefined && 'netns_id' in row) t.equal(row['netns_id'], container.netns, `${what}: network namespace`);
  expectContainer(t, row, container, what);
}

const nameOf = (row: JsonEvent): string => String(row['name']).replace(/\.$/, '');
const end = (row: JsonEvent | undefined, which: 'src' | 'dst' | 'endpoint'): { readonly addr?: string; readonly port?: number } =>
  row?.[which] ?? {};

interface Pair extends Who {
  readonly listener: number;
  readonly client: number;
}

interface World {
  readonly clients: readonly RealContainer[];
  readonly home: RealContainer;
  readonly dns: Who;
  readonly tls: Who;
  readonly asked: readonly (Who & { readonly name: string; readonly port: number })[];
  readonly greeted: readonly (Who & { readonly name: string })[];
  /** A connection over each container's loopback device, whose packets find no room; one to where nobody is. */
  readonly pairs: readonly Pair[];
  readonly alone: readonly Pair[];
}

/** Rows of these containers only: others use this machine's kernel, too. */
const own = ({ clients, home }: World, { events }: GadgetOutput): readonly JsonEvent[] => {
  const all = [home, ...clients];
  const netns = new Set(all.map((container) => container.netns));
  const devices = new Set(all.map(({ ifindex }) => ifindex));
  // Inspektor Gadget's tcpdump names devices, and no namespaces.
  return events.flat().filter((row) => ('netns_id' in row ? netns.has(Number(row['netns_id'])) : devices.has(Number(row['ifindex']))));
};

/** Whether a row tells of a connection of a container. */
const isOf = (row: JsonEvent, { container, listener, client }: Pair): boolean =>
  row['netns_id'] === container.netns && end(row, 'src').port === client && end(row, 'dst').port === listener;

const checks: Readonly<Record<string, (t: Test, world: World, rows: readonly JsonEvent[]) => void>> = {
  trace_dns(t, { asked, dns }, rows) {
    t.equal(rows.length, asked.length * 4, 'a question and an answer, at either side, for each');
    for (const one of asked) {
      for (const kind of ['Q', 'R']) {
        for (const who of [one, dns]) {
          const what = `${one.name} ${kind} in ${who.container.name}`;
          const found = rows.filter((row) => nameOf(row) === one.name && row['qr'] === kind && row['netns_id'] === who.container.netns);
          t.equal(found.length, 1, `${what}: one row`);
          expectWho(t, found[0], who, what);
          t.equal(end(found[0], kind === 'Q' ? 'src' : 'dst').port, one.port, `${what}: port`);
        }
      }
    }
  },
  trace_sni(t, { greeted, tls }, rows) {
    t.equal(rows.length, greeted.length * 2, 'a hello, at either side, for each');
    for (const one of greeted) {
      for (const who of [one, tls]) {
        const what = `${one.name} in ${who.container.name}`;
        const found = rows.filter((row) => nameOf(row) === one.name && row['netns_id'] === who.container.netns);
        t.equal(found.length, 1, `${what}: one row`);
        expectWho(t, found[0], who, what);
      }
    }
  },
  tcpdump(t, { asked, dns }, rows) {
    t.equal(rows.length, asked.length * 4, "a question and an answer, at either container's veth, for each");
    for (const one of asked) {
      const label = one.name.replace('.test', '');
      const hex = Buffer.from(label, 'latin1').toString('hex');
      const packets = rows.filter((row) => String(row['payload']).includes(hex));
      t.equal(packets.length, 4, `${label}: four`);
      for (const who of [one, dns]) {
        const found = packets.filter((row) => row['ifindex'] === who.container.ifindex);
        t.equal(found.length, 2, `${label} at ${who.container.name}: two`);
        for (const row of found) expectWho(t, row, who, `${label} at ${who.container.name}`);
      }
    }
  },
  trace_tcpdrop(t, { pairs }, rows) {
    for (const pair of pairs) {
      const mine = rows.filter((row) => isOf(row, pair) && String(row['reason']).endsWith('QDISC_DROP'));
      t.ok(mine.length > 0, `${pair.container.name}: ${mine.length} dropped`);
      for (const row of mine) expectWho(t, row, pair, `${pair.container.name}: dropped`);
    }
  },
  trace_tcpretrans(t, { alone }, rows) {
    for (const pair of alone) {
      const mine = rows.filter((row) => isOf(row, pair));
      t.ok(mine.length > 0, `${pair.container.name}: ${mine.length} sent again`);
      for (const row of mine) expectWho(t, row, pair, `${pair.container.name}: sent again`);
    }
  },
  snapshot_socket(t, { pairs }, rows) {
    for (const pair of pairs) {
      const { container } = pair;
      const mine = rows.filter(
        (row) => row['netns_id'] === container.netns && end(row, 'src').port === pair.listener && end(row, 'dst').port === 0,
      );
      t.equal(mine.length, 1, `${container.name}: one listener`);
      for (const row of mine) expectContainer(t, row, container, `${container.name}: listener`);
    }
  },
  advise_networkpolicy(t, { clients, home }, rows) {
    for (const container of [home, ...clients]) {
      const mine = rows.filter((row) => row['netns_id'] === container.netns && end(row, 'endpoint').addr?.startsWith('10.233.') === true);
      for (const row of mine) expectContainer(t, row, container, `${container.name} ${JSON.stringify(row['endpoint'])}`);
      if (container === home) t.same(new Set(mine.map((row) => Number(row['egress']))), new Set([0]), 'the server is asked');
      else
        t.same(
          // What was said in one interval may be said again in the next.
          new Set(
            mine.flatMap((row) => (Number(row['egress']) === 1 ? [`${end(row, 'endpoint').addr}:${end(row, 'endpoint').port}`] : [])),
          ),
          new Set([`${server}:53`, `${server}:443`, `${nobody}:9`]),
          `${container.name} asks`,
        );
    }
  },
};

/** Words of `rawbpf run` for each gadget. */
const options: Readonly<Record<string, readonly string[]>> = {
  // Room for all that happens while a busy machine leaves the reader no time.
  trace_dns: ['--buffer-size', '4M'],
  trace_sni: ['--buffer-size', '4M'],
  tcpdump: ['--pf', 'udp port 53'],
  trace_tcpretrans: ['--skip-unsupported'],
};
const sockets = new Set(['trace_dns', 'trace_sni', 'advise_networkpolicy']);
const listens = (pid: number, table: string, port: string, state?: string): boolean =>
  tableOf(pid, table).some((row) => row[1]?.endsWith(`:${port}`) === true && (state === undefined || row[3] === state));

const others = process.env['RAWBPF_IG_GADGETS'];
const sets: readonly (readonly [string, (name: string) => string])[] = [
  ['our own gadgets', (name) => name],
  ...(others === undefined ? [] : ([["Inspektor Gadget's", (name: string) => path.join(others, name)]] as const)),
];

for (const [whose, fileOf] of sets) {
  void t.test(`${whose}: short-lived processes in containers of ${runtimes.join(', ')}`, { skip }, async (t) => {
    const containers = new RealContainers(runtimes);
    const kernel = new Kernel();
    const gadgets = new Map<string, RunningGadget>();
    const outputs = new Map<string, GadgetOutput>();
    t.teardown(() => {
      kernel.close();
      containers.close();
    });
    const told = (word: string): readonly Told[] => containers.told.filter(({ words }) => words[0] === word);
    let world: World;
    try {
      for (const name of Object.keys(checks)) {
        if (name !== 'snapshot_socket')
          gadgets.set(name, await RunningGadget.start(fileOf(name), [...containers.flags, ...(options[name] ?? [])]));
      }
      const openssl = toolPath('openssl') ?? '';
      const request = 'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test';
      const made = spawnSync(openssl, request.split(' '), { cwd: path.join(containers.folder, 'mark'), encoding: 'utf8' });
      t.equal(made.status, 0, made.stderr);

      const tag = `net${process.pid}`;
      const home = await containers.start(
        'docker',
        `${tag}-home`,
        `${server}/16`,
        serverPerl,
        `${tag}-home`,
        toolPath('dnsmasq') ?? '',
        openssl,
        answer,
      );
      await until('dnsmasq listens', () => listens(home.pid, 'udp', '0035'));
      await until('openssl listens', () => listens(home.pid, 'tcp', '01BB', '0A') || listens(home.pid, 'tcp6', '01BB', '0A'));
      const clients: RealContainer[] = [];
      for (let i = 0; i < count; i++) {
        const runtime = runtimes[i % runtimes.length] ?? 'docker';
        clients.push(
          await containers.start(
            runtime,
            `${tag}-${i}`,
            `10.233.8.${i + 1}/16`,
            clientPerl,
            `${tag}-${i}`,
            server,
            openssl,
            String(each),
            nobody,
          ),
        );
      }
      const all = [home, ...clients];
      t.equal(new Set(all.flatMap(({ netns, mntns }) => [netns, mntns])).size, 2 * all.length, 'namespaces of their own');
      for (const [name, gadget] of gadgets) {
        for (const { pid } of sockets.has(name) ? all : []) await until(`${name} looks`, () => isWatched(pid, gadget.pid));
      }
      const attached = (device: string): boolean =>
        (['BPF_TCX_INGRESS', 'BPF_TCX_EGRESS'] as const).every((type) => queryAttached(kernel, { device }, type).programs.length > 0);
      for (const { device } of all) await until(`tcpdump looks at ${device}`, () => attached(device));

      for (const container of clients) inNetworkOf(container, 'ip', 'neigh', 'add', nobody, 'lladdr', '02:00:00:00:00:09', 'dev', 'eth0');
      containers.say('go');
      await until('all have asked and greeted', () => told('paired').length === count, 60_000 * slowness);
      const of = (name: string | undefined): RealContainer => all.find((one) => one.name === name) ?? home;
      const asWho =
        (comm: string) =>
        ({ pid, words }: Told) => ({ pid, comm, container: of(words[1]), name: words[2] ?? '', port: Number(words[3]), answer: words[4] });
      const pairOf = ({ words }: Told): Pair => {
        const container = of(words[1]);
        return { pid: container.pid, comm: 'perl', container, listener: Number(words[2]), client: Number(words[3]) };
      };
      const asked = told('asked').map(asWho('perl'));
      const greeted = told('greets').map(asWho('openssl'));
      t.same(told('failed'), [], 'nothing failed');
      t.equal(asked.length, count * each);
      t.equal(greeted.length, count * each);
      t.ok(
        asked.every((one) => one.answer === answer),
        'answered',
      );
      t.ok(
        [...asked, ...greeted].every((one) => one.name.startsWith(`p${one.pid}-${one.container.name}-`)),
        'each said who it is',
      );
      const [dns, tls] = [told('dns')[0], told('tls')[0]];
      if (dns === undefined || tls === undefined) throw new Error('the servers did not say who they are');
      for (const container of clients) {
        inNetworkOf(container, 'tc', ...'qdisc add dev lo root tbf rate 8kbit burst 20 limit 20'.split(' '));
        containers.say(`dropping-${container.name}`);
      }
      await until('all have dropped', () => told('dropped').length === count);
      world = {
        clients,
        home,
        dns: asWho('dnsmasq')(dns),
        tls: asWho('openssl')(tls),
        asked,
        greeted,
        pairs: told('paired').map(pairOf),
        alone: told('alone').map(pairOf),
      };
      gadgets.set('snapshot_socket', await RunningGadget.start(fileOf('snapshot_socket'), containers.flags));
    } finally {
      for (const [name, gadget] of gadgets) outputs.set(name, await gadget.stop());
      containers.say('end');
      if (containers.errors !== '') t.comment(containers.errors.slice(0, 4000));
    }
    for (const [name, check] of Object.entries(checks)) {
      await t.test(name, async (t) => {
        const output = outputs.get(name);
        if (output === undefined) return void t.fail('it did not run');
        t.equal(output.code, 0);
        // What reads maps alone can lose nothing, and counts nothing.
        t.notOk(output.lost > 0, 'nothing is lost');
        check(t, world, own(world, output));
        if (!t.passing())
          t.comment(
            `${output.stderr.slice(-800)}\n${own(world, output)
              .slice(0, 3)
              .map((row) => JSON.stringify(row))
              .join('\n')
              .slice(0, 4000)}`,
          );
      });
    }
  });
}
