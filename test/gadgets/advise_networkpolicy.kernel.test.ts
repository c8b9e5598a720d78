import t from 'tap';
import type { EndpointName } from '../../src/gadget/context.ts';
import { GadgetRun } from '../../src/gadget/run.ts';
import { NetworkPart } from '../../src/enrich/network/part.ts';
import { SocketPart } from '../../src/enrich/sockets/index.ts';
import { EventOutput } from '../../src/output/output.ts';
import { JsonWriter } from '../../src/output/json.ts';
import { ByteWriter } from '../../src/output/byte-writer.ts';
import { allows, parsePolicies, type End } from '../output/network-policy/evaluate.ts';
import { openAdvisor, type World } from '../output/network-policy/rows.ts';
import { Netns, until } from '../support/netns.ts';
import { slowness } from '../support/patience.ts';
import { type JsonEvent, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(110_000 * slowness);

/** Answers one TCP connection or datagram after the other, and says when it is there. */
const servePerl = String.raw`
  my ($family, $type, $port) = @ARGV; $family = $family == 6 ? AF_INET6 : AF_INET;
  socket(my $s, $family, $type eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die $!;
  bind($s, $family == AF_INET6 ? pack_sockaddr_in6($port, IN6ADDR_ANY) : pack_sockaddr_in($port, INADDR_ANY)) or die $!;
  if ($type eq "tcp") { listen($s, 5); print "ready\n"; while (accept(my $c, $s)) { sysread $c, my $x, 9; syswrite $c, "pong"; close $c } }
  print "ready\n"; while (my $from = recv $s, my $x, 99, 0) { send $s, "pong", 0, $from }
`;
/** Asks, and waits for the answer. */
const askPerl = String.raw`
  my ($address, $type, $port) = @ARGV; my $v6 = $address =~ /:/;
  socket(my $s, $v6 ? AF_INET6 : AF_INET, $type eq "tcp" ? SOCK_STREAM : SOCK_DGRAM, 0) or die $!;
  connect($s, $v6 ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)) : pack_sockaddr_in($port, inet_aton $address)) or die $!;
  send $s, "ping", 0 or die $!; recv $s, my $answer, 99, 0; print $answer;
`;

void t.test('policies of real traffic', async (t) => {
  const spaces: Netns[] = [];
  t.teardown(async () => void (await Promise.all(spaces.map((each) => each.close()))));
  for (const _ of ['router', 'web', 'db', 'client']) spaces.push(await Netns.make());
  const [router, web, db, client] = spaces as [Netns, Netns, Netns, Netns];
  // A network for each, and a router between them, as on a node.
  for (const [i, each] of [web, db, client].entries()) {
    router.join(each, `v${i}`, [`10.77.${i}.1/24`, `fd77:${i}::1/64`], [`10.77.${i}.2/24`, `fd77:${i}::2/64`]);
    each.ip('route', 'add', 'default', 'via', `10.77.${i}.1`);
    each.ip('-6', 'route', 'add', 'default', 'via', `fd77:${i}::1`);
  }
  const forward = await router.perl(
    'for my $f (qw(ipv4/ip_forward ipv6/conf/all/forwarding)) { open(my $h, ">", "/proc/sys/net/$f") or die "$f $!"; print $h 1 }',
  );
  t.equal(forward.code, 0);

  const pod = (name: string, namespace: string): EndpointName => ({
    kind: 'pod',
    name: `${name}-0`,
    namespace,
    labels: `app=${name},pod-template-hash=1`,
    selector: '',
  });
  const world: World = {
    pods: new Map([
      [web.inode, { ...pod('web', 'shop'), owner: 'web' }],
      [db.inode, { ...pod('db', 'shop'), owner: 'db' }],
      [client.inode, { ...pod('client', 'visitors'), owner: 'client' }],
    ]),
    addresses: new Map(
      (
        [
          [0, pod('web', 'shop')],
          [1, pod('db', 'shop')],
          [2, pod('client', 'visitors')],
        ] as const
      ).flatMap(([i, name]) => [
        [`10.77.${i}.2`, name],
        [`fd77:${i}::2`, name],
      ]),
    ),
  };
  const { gadget } = openAdvisor(world);
  const [source] = gadget.sources;
  if (source === undefined) throw new Error('no source');
  const own = new Set(spaces.map(({ inode }) => inode));
  const network = new NetworkPart({ wants: (netns) => own.has(netns), notice: (message) => t.comment(message) });
  const run = new GadgetRun(gadget, { parts: [new SocketPart(), network], intervalMs: 100, notice: (message) => t.comment(message) });
  let text = '';
  const target = { write: (chunk: Uint8Array): boolean => ((text += Buffer.from(chunk).toString()), true), once: () => target };
  const output = new EventOutput({ mode: 'advise', sources: gadget.sources, target });
  const rows: Record<string, unknown>[] = [];
  const json = new JsonWriter(source);
  run.start({
    event: () => {},
    batch(source, records) {
      output.batch(source, records);
      const out = new ByteWriter();
      for (const record of records) json.write(out, record);
      for (const line of out.take().toString().split('\n').filter(Boolean)) rows.push(JSON.parse(line) as Record<string, unknown>);
    },
  });
  output.open();
  t.same(new Set(network.namespaces), own, 'attached in each');

  const servers = [web.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${servePerl}`, '--', '4', 'tcp', '8080'])];
  const serve = (at: Netns, ...args: readonly string[]): void =>
    void servers.push(at.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${servePerl}`, '--', ...args]));
  serve(db, '6', 'tcp', '5432');
  serve(web, '4', 'udp', '5353');
  t.teardown(() => servers.forEach((each) => each.kill('SIGKILL')));
  const ready = new Set<unknown>();
  for (const each of servers) each.stdout?.on('data', () => ready.add(each));
  await until('the servers are there', () => ready.size === servers.length);

  const asked = [
    [client, '10.77.0.2', 'tcp', '8080'],
    [client, '10.77.0.2', 'udp', '5353'],
    [web, 'fd77:1::2', 'tcp', '5432'],
    [web, '10.77.1.2', 'tcp', '5432'],
    // Nobody hears of this one.
    [web, '127.0.0.1', 'tcp', '8080'],
  ] as const;
  const pids: number[] = [];
  for (const [from, ...args] of asked) {
    const { text, pid, code } = await from.perl(askPerl, ...args);
    t.same([text, code], ['pong', 0], args.join(' '));
    pids.push(pid);
  }
  const ofPods = (): typeof rows => rows.filter((row) => row['netns_id'] !== router.inode);
  await until('all has been told', () => ofPods().length >= 8);
  run.stop();
  await run.done;
  output.end();

  const expected = [
    [client, true, '10.77.0.2', 8080, 'TCP', pids[0]],
    [client, true, '10.77.0.2', 5353, 'UDP', pids[1]],
    [web, true, 'fd77:1::2', 5432, 'TCP', pids[2]],
    [web, true, '10.77.1.2', 5432, 'TCP', pids[3]],
    [web, false, '10.77.2.2', 8080, 'TCP', servers[0]?.pid],
    [web, false, '10.77.2.2', 5353, 'UDP', servers[2]?.pid],
    [db, false, 'fd77::2', 5432, 'TCP', servers[1]?.pid],
    [db, false, '10.77.0.2', 5432, 'TCP', servers[1]?.pid],
  ] as const;
  const told = ofPods().map((row) => {
    const { addr, port, proto } = row['endpoint'] as { addr: string; port: number; proto: string };
    const { pid } = row['proc'] as { pid: number };
    return [row['netns_id'], Boolean(row['egress']), addr, port, proto, pid].join(' ');
  });
  // What is sent again after a look into the map is told again.
  t.same(
    [...new Set(told)].toSorted(),
    expected.map(([at, ...rest]) => [at.inode, ...rest].join(' ')).toSorted(),
    'each peer once, with the process',
  );

  t.match(text, /^# \d+ connections were of no pod: they are left out\n/, 'what the router handed on');
  const policies = parsePolicies(text);
  t.same(
    policies.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`),
    ['shop/db-network', 'shop/web-network', 'visitors/client-network'],
  );
  const end = (name: string, namespace: string, i: number): End => ({
    address: `10.77.${i}.2`,
    namespace,
    labels: { app: name, 'pod-template-hash': '2' },
  });
  const ends = { web: end('web', 'shop', 0), db: end('db', 'shop', 1), client: end('client', 'visitors', 2) };
  const allowed = Object.entries(ends).flatMap(([fromName, from]) =>
    Object.entries(ends).flatMap(([toName, to]) =>
      [
        [8080, 'TCP'],
        [5353, 'UDP'],
        [5432, 'TCP'],
      ].flatMap(([port, protocol]) =>
        allows(policies, from, to, Number(port), String(protocol)) ? [`${fromName} ${toName} ${port}`] : [],
      ),
    ),
  );
  t.same(allowed.toSorted(), ['client web 5353', 'client web 8080', 'web db 5432']);
});

void t.test('peers that find no room are counted and told, and known ones are not counted again', async (t) => {
  const [space, other] = [await Netns.make(), await Netns.make()];
  t.teardown(() => Promise.all([space.close(), other.close()]));
  space.join(other, 'eth0', ['10.78.0.1/24'], []);
  // At an address that nobody has, so that the other end does not count them too.
  space.ip('neigh', 'add', '10.78.0.2', 'lladdr', '02:00:00:00:00:99', 'dev', 'eth0');
  const gadget = await RunningGadget.start('advise_networkpolicy', ['--no-containers', '--map-fetch-interval', '600s']);
  t.teardown(() => gadget.stop());
  await until('the gadget looks', () => space.isWatchedBy(gadget.pid));
  // More servers than the map holds, then some of the early ones again, from other sockets.
  const room = 10_240;
  const servers = room + 500;
  const { code, text } = await space.perl(`
    socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_in(4000, INADDR_ANY)) or die $!;
    for my $n (1 .. ${servers}) { send($s, "x", 0, pack_sockaddr_in(1000 + $n, inet_aton "10.78.0.2")) or die "$n $!" }
    for my $n (1 .. 100) { socket(my $o, AF_INET, SOCK_DGRAM, 0) or die $!; send($o, "x", 0, pack_sockaddr_in(1000 + $n, inet_aton "10.78.0.2")) or die $! }
    print "sent";
  `);
  t.same([text, code], ['sent', 0]);
  const { events, lost } = await gadget.stop();
  // Rows of a map come as one list.
  const rows = (events as unknown as readonly (JsonEvent | readonly JsonEvent[])[]).flat();
  const own = rows.filter((row) => row['netns_id'] === space.inode);
  const ports = new Set(own.map((row) => (row['endpoint'] as { readonly port: number }).port));
  t.ok(ports.size <= room && ports.size > 0, `${ports.size} of ${servers} are told`);
  t.ok(
    Array.from({ length: 100 }, (_, n) => 1001 + n).every((port) => ports.has(port)),
    'those that came early are among them',
  );
  // Others' traffic on this machine may be among what is told and what is lost.
  t.ok(lost >= servers - ports.size, `${lost} lost of ${servers}`);
  t.ok(lost <= servers - ports.size + 90, 'what is known is not counted again');
});
