// Fifty processes that live for one DNS question and fifty that live for one TLS hello, in ten network namespaces that are younger
// than the gadgets: every row has the right process and namespace, on the side that asks and on the side that is asked.
import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import t, { type Test } from 'tap';
import { Netns, toolPath, until } from '../support/netns.ts';
import { dnsQuestionPerl } from '../support/network.ts';
import { slowness } from '../support/patience.ts';
import { commOf, expectProcess, namespaceOf } from '../support/process.ts';
import { type JsonEvent, RunningGadget } from '../support/run-gadget.ts';

const patience = 60_000 * slowness;
t.setTimeout(5 * patience);

const count = 10;
const each = 5;
const answer = '10.9.9.9';

/** Where programs are, and the Debian packages that have them. */
const packages = {
  dnsmasq: 'dnsmasq-base',
  openssl: 'openssl',
  ip: 'iproute2',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  setpriv: 'util-linux',
} as const;
const missing = Object.entries(packages).filter(([tool]) => toolPath(tool) === null);
const skip = missing.length > 0 && `not here: ${missing.map(([tool, of]) => `${tool} (Debian's ${of})`).join(', ')}`;

/** Asks once, and says which process it was, from which port, and what the answer's last four bytes, an address, are. */
const askPerl = String.raw`
  ${dnsQuestionPerl}
  my ($server, $label) = @ARGV; my $name = "p$$-$label";
  print join(" ", $$, readlink("/proc/self/ns/net") =~ /(\d+)/, "$name.test", ask_dns($server, $name)), "\n";
`;
/** Says which process it is and becomes a client of TLS, which has the same number. */
const helloPerl = String.raw`
  my ($openssl, $server, $label) = @ARGV;
  print join(" ", $$, readlink("/proc/self/ns/net") =~ /(\d+)/, "p$$-$label.test"), "\n";
  open STDERR, ">&", \*STDOUT; exec $openssl, "s_client", "-connect", "$server:443", "-servername", "p$$-$label.test" or die $!;
`;

const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-network-'));
const children = new Set<ChildProcess>();
const spaces: Netns[] = [];
t.teardown(async () => {
  const ends = Array.from(children, (child) => once(child, 'close'));
  for (const child of children) child.kill('SIGKILL');
  await Promise.all([...ends, ...spaces.map((each) => each.close())]);
  rmSync(folder, { recursive: true, force: true });
});

function start(space: Netns, tool: string, args: readonly string[]): ChildProcess {
  const child = space.spawn(tool, args);
  children.add(child);
  child.once('close', () => children.delete(child));
  return child;
}

/** What a client did: the words of its first line, and all it said. */
interface Client {
  readonly words: readonly string[];
  readonly text: string;
  readonly pid: number;
}

async function client(space: Netns, script: string, ...args: readonly string[]): Promise<Client> {
  const { text, pid } = await space.perl(script, ...args);
  return { words: (text.split('\n')[0] ?? '').split(' '), text, pid };
}

/** What a process said of itself. */
interface Asked {
  readonly pid: number;
  readonly netns: number;
  readonly name: string;
  readonly comm: string;
  /** The port that it asked from, where it knows it. */
  readonly port?: number;
}

interface Server {
  readonly pid: number;
  readonly netns: number;
  readonly comm: string;
}

/** What /proc says of a server. */
const serverOf = ({ pid = 0 }: ChildProcess): Server => ({ pid, netns: namespaceOf('net', pid), comm: commOf(pid) });

/** Whether a row of /proc/net/tcp is a listener on port 443. */
const listens = (row: readonly string[]): boolean => row[1]?.endsWith(':01BB') === true && row[3] === '0A';

/** The rows of one kind: right in number, each with the process and the namespace that it is of. */
function expectRows(t: Test, events: readonly JsonEvent[], asked: readonly Asked[], server: Server, kinds: readonly string[]): void {
  const own = new Set([server.netns, ...asked.map(({ netns }) => netns)]);
  const rows = events.filter((event) => own.has(Number(event['netns_id'])));
  t.equal(rows.length, asked.length * kinds.length * 2, 'rows in these namespaces');
  for (const one of asked) {
    for (const kind of kinds) {
      for (const side of ['client', 'server'] as const) {
        const what = `${one.name} ${kind}, ${side}`;
        const whose = side === 'client' ? one : server;
        const found = rows.filter(
          (row) =>
            String(row['name']).replace(/\.$/, '') === one.name && (row['qr'] ?? 'hello') === kind && row['netns_id'] === whose.netns,
        );
        t.equal(found.length, 1, `${what}: one row`);
        const [row] = found;
        // What asks is sent by the client, what answers by the server.
        if (row === undefined || 'pkt_type' in row)
          t.equal(row?.['pkt_type'], (side === 'client') === (kind !== 'R') ? 'OUTGOING' : 'HOST', `${what}: direction`);
        expectProcess(t, row?.proc, { pid: whose.pid, comm: whose.comm }, what);
        const asking = row?.[kind === 'R' ? 'dst' : 'src'] as { readonly port: number } | undefined;
        if (one.port !== undefined) t.equal(asking?.port, one.port, `${what}: port`);
        if (kind === 'R') t.equal(row?.['addresses'], answer, `${what}: what was answered`);
      }
    }
  }
}

void t.test('short-lived clients in fresh namespaces', { skip }, async (t) => {
  const openssl = toolPath('openssl') ?? '';
  const made = spawnSync(
    openssl,
    'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=test'.split(' '),
    { cwd: folder, encoding: 'utf8' },
  );
  t.equal(made.status, 0, made.stderr);

  const gadgets: RunningGadget[] = [];
  const asked: Asked[] = [];
  const greeted: Asked[] = [];
  const outputs = [];
  let servers: { readonly dns: Server; readonly tls: Server };
  try {
    // Or others' gadgets of these names, compiled against include/ by scripts/inspektor-gadget.mjs.
    const others = process.env['RAWBPF_IG_GADGETS'];
    for (const name of ['trace_dns', 'trace_sni']) {
      gadgets.push(await RunningGadget.start(others === undefined ? name : path.join(others, name, 'program.bpf.o')));
    }

    for (let i = 0; i <= count; i++) spaces.push(await Netns.make());
    const [home, ...clients] = spaces as [Netns, ...Netns[]];
    for (const [i, space] of clients.entries()) home.join(space, `v${i}`, [`10.231.${i}.1/24`], [`10.231.${i}.2/24`]);
    const netns = home.inode;
    t.equal(new Set([namespaceOf('net'), ...spaces.map(({ inode }) => inode)]).size, count + 2, 'all are different');

    const dnsArgs = `--keep-in-foreground --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root --group=root`.split(' ');
    const dns = start(home, 'dnsmasq', [...dnsArgs, `--address=/test/${answer}`, '--log-facility=/dev/null']);
    const files = ['-key', path.join(folder, 'key.pem'), '-cert', path.join(folder, 'cert.pem')];
    const tls = start(home, 'openssl', ['s_server', '-www', '-accept', '443', ...files]);
    tls.stdout?.resume();
    await until('dnsmasq listens', () => home.table('udp').some((row) => row[1]?.endsWith(':0035')));
    await until('openssl listens', () => [...home.table('tcp'), ...home.table('tcp6')].some(listens));
    for (const gadget of gadgets) for (const space of spaces) await until('a gadget looks', () => space.isWatchedBy(gadget.pid));
    servers = { dns: serverOf(dns), tls: serverOf(tls) };
    t.match(servers, { dns: { netns, comm: 'dnsmasq' }, tls: { netns, comm: 'openssl' } });

    const ask = async (space: Netns, i: number, n: number): Promise<void> => {
      const { words, text, pid } = await client(space, askPerl, `10.231.${i}.1`, `n${i}x${n}`);
      t.match(words, [String(pid), String(space.inode), /^p/, /^\d+$/, answer], `answered: ${text}`);
      asked.push({ pid: Number(words[0]), netns: Number(words[1]), name: words[2] ?? '', port: Number(words[3]), comm: 'perl' });
    };
    const greet = async (space: Netns, i: number, n: number): Promise<void> => {
      const { words, text, pid } = await client(space, helloPerl, openssl, `10.231.${i}.1`, `n${i}x${n}`);
      t.match(words, [String(pid), String(space.inode), /^p/], 'who greets');
      t.match(text, /SSL handshake has read \d+ bytes/, 'hands are shaken');
      greeted.push({ pid: Number(words[0]), netns: Number(words[1]), name: words[2] ?? '', comm: 'openssl' });
    };
    await Promise.all(
      clients.map(async (space, i) => {
        for (let n = 0; n < each; n++) await Promise.all([ask(space, i, n), greet(space, i, n)]);
      }),
    );
  } finally {
    for (const gadget of gadgets) outputs.push(await gadget.stop());
  }
  t.equal(asked.length, count * each);
  t.equal(greeted.length, count * each);
  for (const { lost, code } of outputs) t.match({ lost, code }, { lost: 0, code: 0 });
  const [dnsRows, sniRows] = outputs;
  await t.test('trace_dns', async (t) => expectRows(t, dnsRows?.events ?? [], asked, servers.dns, ['Q', 'R']));
  await t.test('trace_sni', async (t) => expectRows(t, sniRows?.events ?? [], greeted, servers.tls, ['hello']));
});
