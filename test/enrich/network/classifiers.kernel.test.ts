import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { kernelVersion, versionCode } from '../../../src/sys/kernel-version.ts';
import { Netns, until } from '../../support/netns.ts';
import { slowness } from '../../support/patience.ts';

t.setTimeout(110_000 * slowness);
const child = fileURLToPath(new URL('classifiers-child.js', import.meta.url));

/** Echoes each datagram with its own mark. */
const servePerl = String.raw`
  socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!; bind($s, pack_sockaddr_in(4000, INADDR_ANY)) or die $!; print "ready\n";
  while (my $from = recv $s, my $m, 99, 0) { $m =~ /(probe|talk)/ or next; send $s, "mark $$ " . $1 . "ed", 0, $from }
`;
const askPerl = String.raw`
  my ($to, $word) = @ARGV; socket(my $s, AF_INET, SOCK_DGRAM, 0) or die $!;
  send($s, "mark $$ $word", 0, pack_sockaddr_in(4000, inet_aton $to)) or die $!; recv $s, my $m, 99, 0; print "$m\n";
`;

interface Row {
  readonly mark?: string;
  readonly ingress?: unknown;
  readonly ifindex?: number;
  readonly proc?: { readonly pid: number; readonly comm: string };
  readonly attached?: boolean;
  readonly notice?: string;
  readonly during?: readonly number[];
  readonly after?: readonly number[];
  readonly injected?: number;
}

/** Two containers' namespaces, a namespace that is the host to rawbpf, and packets from one to the other and to the host. */
async function looked(t: Test, via: 'tcx' | 'clsact'): Promise<void> {
  const [home, one, two] = [await Netns.make(), await Netns.make(), await Netns.make()];
  t.teardown(() => Promise.all([home, one, two].map((each) => each.close())));
  home.join(one, 'v1', ['10.6.1.1/24'], ['10.6.1.2/24']);
  home.join(two, 'v2', ['10.6.2.1/24'], ['10.6.2.2/24']);
  const forward = await home.perl('open(my $h, ">", "/proc/sys/net/ipv4/ip_forward") or die $!; print $h 1');
  t.equal(forward.code, 0);
  for (const [i, each] of [one, two].entries()) each.ip('route', 'add', 'default', 'via', `10.6.${i + 1}.1`);
  const server = two.spawn('perl', ['-e', `use strict; use Socket qw(:all); $| = 1; ${servePerl}`]);
  const looker = home.spawn(process.execPath, [child, via, ...[one, two].map((each) => String(each.inode))]);
  let said = '';
  let ready = '';
  looker.stdout?.on('data', (data: Buffer) => (said += data.toString()));
  server.stdout?.on('data', (data: Buffer) => (ready += data.toString()));
  const rows = (): Row[] =>
    said
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Row);
  try {
    await until('it is attached', () => rows().some(({ attached }) => attached === true) || looker.exitCode !== null);
    await until('the server is there', () => ready !== '');
    // Devices are looked for twice a second.
    const ends = [one, two].map((_, i) => home.link(`v${i + 1}`).ifindex);
    const seen = (): boolean => ends.every((index) => rows().some((row) => row.mark?.endsWith(' probe') === true && row.ifindex === index));
    for (let i = 0; i < 100 && !seen(); i++) await one.perl(askPerl, '10.6.2.2', 'probe');
    t.ok(seen(), 'both ends are looked at');
    const client = await one.perl(askPerl, '10.6.2.2', 'talk');
    t.equal(client.text, `mark ${server.pid} talked\n`);
    const ofTalk = (): Row[] => rows().filter(({ mark }) => mark === `mark ${client.pid} talk` || mark === `mark ${server.pid} talked`);
    await until('each packet is seen at each end', () => ofTalk().length >= 4);
    const at = (index: number, direction: 'EGRESS' | 'INGRESS', mark: string, pid: number): void => {
      const found = ofTalk().filter((row) => row.ifindex === index && row.mark === mark);
      t.equal(found.length, 1, `${mark} at ${index}: once`);
      t.match(
        found[0],
        { proc: { pid, comm: 'perl' }, ingress: direction === 'EGRESS' ? /^(?:0|EGRESS)$/ : /^(?:1|INGRESS)$/ },
        `${mark} at ${index}: ${direction}`,
      );
    };
    const [first = 0, second = 0] = ends;
    // As the container sees it: what it sends goes out, though it comes in at the host's end.
    at(first, 'EGRESS', `mark ${client.pid} talk`, client.pid);
    at(second, 'INGRESS', `mark ${client.pid} talk`, server.pid ?? 0);
    at(second, 'EGRESS', `mark ${server.pid} talked`, server.pid ?? 0);
    at(first, 'INGRESS', `mark ${server.pid} talked`, client.pid);
    looker.stdin?.write('end\n');
    await until('it has ended', () => looker.exitCode !== null);
    const last = rows().at(-1);
    const sorted = [...(last?.during ?? [])].toSorted((a, b) => a - b);
    t.same(sorted, via === 'clsact' ? ends : [], 'disciplines while it looks');
    t.same(last?.after, [], 'and none afterwards');
    t.equal((last?.injected ?? 0) > 0, via === 'clsact');
    t.same(
      rows().flatMap(({ notice }) => notice ?? []),
      [],
    );
  } finally {
    looker.kill('SIGKILL');
    server.kill('SIGKILL');
  }
}

void t.test("classifiers on the host's end of each veth, by clsact where the kernel has no tcx", (t) => looked(t, 'clsact'));
const skip = kernelVersion() < versionCode(6, 6) ? 'this kernel has no tcx' : false;
void t.test("classifiers on the host's end of each veth", { skip }, (t) => looked(t, 'tcx'));
