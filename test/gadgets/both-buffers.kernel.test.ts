// The same gadget twice at once, by the ring buffer and by the perf event array: under the same deeds the rows are the same, field by field.
import t from 'tap';
import { networkPerl } from '../support/network.ts';
import { runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { type GadgetOutput, RunningGadget } from '../support/run-gadget.ts';

t.setTimeout(250_000 * slowness);

interface Case {
  readonly name: string;
  readonly args?: readonly string[];
  /** Perl; what it does is done by it and its children alone, one after the other. */
  readonly deeds: string;
  /** At least so many rows of its processes. */
  readonly rows: number;
}

/** Times, which each of the two takes by itself with a clock of nanoseconds. */
const left = new Set([
  // The number of a stack within the program's own map.
  'kstack_raw',
  'timestamp',
  'timestamp_raw',
  'duration',
  'duration_raw',
  'delta',
  'delta_raw',
]);

/** A stack begins with the program that took it, whose name has its tag: the two programs are not the same. */
function plain(name: string, value: unknown): unknown {
  return name === 'kstack' ? String(value).replace(/\bbpf_prog_[0-9a-f]+_/g, 'bpf_prog_') : value;
}

const cases: readonly Case[] = [
  {
    name: 'trace_exec',
    deeds: String.raw`for my $i (1 .. 20) { system "/bin/true", "mark $i", "\e[31m"; system "/nowhere/$i", "x" x 200 }`,
    rows: 40,
  },
  {
    name: 'trace_open',
    deeds: String.raw`for my $i (1 .. 50) { open my $f, "<", "/etc/hostname"; open my $none, ">>", "/nowhere/$i"; open my $dev, "+<", "/dev/null" }`,
    rows: 150,
  },
  {
    name: 'trace_signal',
    deeds: String.raw`$SIG{USR1} = sub {}; for (1 .. 20) { kill 10, $$; kill 15, 0x7ffffff0; my $child = fork; if (!$child) { sleep 60; exit } kill 9, $child; waitpid $child, 0 }`,
    rows: 40,
  },
  {
    name: 'trace_bind',
    args: ['--ignore-errors=false'],
    deeds: String.raw`for (1 .. 20) { my $server = listener(AF_INET, "127.0.0.1"); listener(AF_INET6, "::1"); bind(fresh(), at(AF_INET, "192.0.2.79", 4242)) }`,
    rows: 60,
  },
  {
    name: 'trace_tcp',
    deeds: String.raw`for (1 .. 20) { my $server = listener(AF_INET, "127.0.0.1"); my $client = fresh(); connect($client, getsockname $server) or die $!;
      accept(my $other, $server) or die $!; close $client; close $other; my $port = port_of $server; close $server; connect(fresh(), at(AF_INET, "127.0.0.1", $port)) }`,
    rows: 60,
  },
  {
    name: 'trace_mount',
    deeds: String.raw`syscall($ENV{UNSHARE}, 0x20000) == 0 or die $!; system(qw(mount --make-rprivate /)) == 0 or die;
      for (1 .. 5) { system(qw(mount -t tmpfs -o size=64k rawbpf-both /mnt)) == 0 or die; system(qw(umount /mnt)) == 0 or die; system("mount -t tmpfs none /nowhere 2>/dev/null") }`,
    rows: 10,
  },
  {
    name: 'trace_capabilities',
    deeds: String.raw`for (1 .. 20) { my $file = "/proc/self/oom_score_adj"; open my $f, ">", $file; syswrite $f, "-1"; close $f; chroot "/" }`,
    rows: 20,
  },
];

/** The rows of some processes, in the order of their times, without those. */
function rowsOf({ events }: GadgetOutput, pids: ReadonlySet<number>): readonly unknown[] {
  return events
    .filter(({ proc }) => pids.has(proc.pid) || pids.has(proc.parent.pid))
    .toSorted((a, b) => (String(a['timestamp']) < String(b['timestamp']) ? -1 : 1))
    .map((event) =>
      Object.fromEntries(
        Object.entries(event)
          .filter(([name]) => !left.has(name))
          .map(([name, value]) => [name, plain(name, value)]),
      ),
    );
}

for (const { name, args = [], deeds, rows } of cases) {
  void t.test(name, async (t) => {
    const flags = ['--no-containers', ...args];
    const ring = await RunningGadget.start(name, [...flags, '--buffer', 'ringbuf']);
    t.teardown(() => ring.stop());
    const perf = await RunningGadget.start(name, [...flags, '--buffer', 'perf']);
    t.teardown(() => perf.stop());
    const { pid, text } = await runPerl(`${networkPerl} ${deeds} print "done"`);
    t.match(text, /done$/, 'all deeds are done');
    const [byRing, byPerf] = [await ring.stop(), await perf.stop()];
    t.same([byRing.lost, byPerf.lost, byRing.code, byPerf.code], [0, 0, 0, 0], byRing.stderr + byPerf.stderr);
    const [expected, found] = [rowsOf(byRing, new Set([pid])), rowsOf(byPerf, new Set([pid]))];
    t.ok(expected.length >= rows, `${expected.length} rows`);
    t.equal(found.length, expected.length, 'as many on both paths');
    t.same(found, expected, 'field by field');
  });
}

const floods: readonly { readonly name: string; readonly deeds: string; readonly attempts: number }[] = [
  { name: 'trace_open', deeds: 'for (1 .. 10000) { open my $f, "<", "/etc/hostname" }', attempts: 10_000 },
  {
    name: 'trace_bind',
    deeds: 'for (1 .. 10000) { socket(my $s, AF_INET, SOCK_DGRAM, 0); bind($s, pack_sockaddr_in(0, INADDR_LOOPBACK)) or die $! }',
    attempts: 10_000,
  },
];

for (const { name, deeds, attempts } of floods)
  for (const buffer of ['ringbuf', 'perf'])
    void t.test(`${name}: attempts = received + lost with a small buffer and a reader that stands still, ${buffer}`, async (t) => {
      const flags = ['--no-containers', '--comm', 'both-flood', '--buffer', buffer, '--buffer-size', '64K'];
      const gadget = await RunningGadget.start(name, flags);
      t.teardown(() => gadget.stop());
      process.kill(gadget.pid, 'SIGSTOP');
      // The name is taken last of all: only the loop counts.
      const work = `use Socket; open my $c, ">", "/proc/self/comm" or die; syswrite $c, "both-flood"; ${deeds} syswrite $c, "perl"; print "done"`;
      const { text } = await runPerl(work).finally(() => process.kill(gadget.pid, 'SIGCONT'));
      t.equal(text, 'done');
      const { events, received, lost } = await gadget.stop();
      t.ok(received > 0 && lost > 0, `${received} received, ${lost} lost`);
      t.equal(received + lost, attempts);
      t.equal(events.length, received, 'a line for each');
    });
