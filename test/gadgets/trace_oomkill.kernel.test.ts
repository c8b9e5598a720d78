import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync } from 'node:fs';
import os from 'node:os';
import t from 'tap';
import { memoryGroup } from '../support/memory-group.ts';
import { commOf, namespaceOf, namesOf } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

const limit = 48 * 1024 * 1024;

/** What the kernel prints of a process that it kills, in pages of 4 KiB. */
interface Printed {
  readonly comm: string;
  readonly kilobytes: readonly number[];
  readonly uid: number;
  readonly oomScoreAdj: number;
}

/** The kernel's own messages that come while `work` runs. */
async function kernelMessages<T>(work: () => Promise<T>): Promise<{ readonly made: T; readonly text: string }> {
  const fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(8192);
    const rest = (): string => {
      let text = '';
      for (;;) {
        try {
          text += buffer.toString('utf8', 0, readSync(fd, buffer));
        } catch (error) {
          const { code } = error as NodeJS.ErrnoException;
          // Messages that were overwritten before they were read.
          if (code === 'EPIPE') continue;
          return text;
        }
      }
    };
    rest();
    const made = await work();
    return { made, text: rest() };
  } finally {
    closeSync(fd);
  }
}

function printedOf(text: string, pid: number): Printed | null {
  const line = new RegExp(
    `Killed process ${pid} \\((.*)\\) total-vm:(\\d+)kB, anon-rss:(\\d+)kB, file-rss:(\\d+)kB, shmem-rss:(\\d+)kB, ` +
      'UID:(\\d+) pgtables:(\\d+)kB oom_score_adj:(-?\\d+)',
  ).exec(text);
  if (line === null) return null;
  const [, comm = '', ...numbers] = line;
  const [total = 0, anon = 0, file = 0, shmem = 0, uid = 0, pgtables = 0, oomScoreAdj = 0] = numbers.map(Number);
  return { comm, kilobytes: [total, anon, file, shmem, pgtables], uid, oomScoreAdj };
}

/** A process in the group that has some memory, tells so, and then takes more when it is told to. */
const hog = String.raw`
  my ($group, $name, $first, $more, $adj, $uid) = @ARGV;
  syscall($ENV{PRCTL}, 15, $name . "\0", 0, 0, 0);
  open my $procs, ">", "$group/cgroup.procs" or die $!; syswrite $procs, $$; close $procs;
  open my $score, ">", "/proc/self/oom_score_adj" or die $!; syswrite $score, $adj; close $score;
  $( = $) = "$uid $uid"; $< = $> = $uid;
  my @memory = ("a" x ($first << 20));
  syswrite STDOUT, "ready\n";
  sysread STDIN, my $nothing, 1;
  push @memory, "b" x (1 << 20) for 1 .. $more;
  syswrite STDOUT, "survived\n";
  sysread STDIN, $nothing, 1;
`;

function start(name: string, ...numbers: readonly number[]) {
  return spawn('/usr/bin/perl', ['-e', hog, group?.dir ?? '', name, ...numbers.map(String)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, PRCTL: process.arch === 'arm64' ? '167' : '157' },
  });
}

const group = memoryGroup(t, limit);
const skip = group === null ? 'no memory control group can be made here' : false;

void t.test('a process that is killed for another one', { skip }, async (t) => {
  const { made: output, text } = await kernelMessages(() =>
    traced('trace_oomkill', [], async () => {
      const victim = start('rawbpf-victim', 16, 0, 900, 65534);
      await once(victim.stdout, 'data');
      const asker = start('rawbpf-asker', 1, 40, 0, 0);
      await once(asker.stdout, 'data');
      const from = Date.now();
      const killed = once(victim, 'close') as Promise<[number | null, string | null]>;
      asker.stdin.write('x');
      const [, signal] = await killed;
      const to = Date.now();
      const ended = once(asker, 'close');
      asker.kill('SIGKILL');
      asker.stdin.end();
      await ended;
      return { victim: victim.pid ?? 0, asker: asker.pid ?? 0, signal, from, to };
    }),
  );
  const { made, events, lost, stderr } = output;
  t.equal(made.signal, 'SIGKILL', 'the victim is dead');
  t.equal(lost, 0);
  const own = events.filter((event) => event['tpid'] === made.victim);
  t.equal(own.length, 1, 'one event');
  const [event] = own;
  const printed = printedOf(text, made.victim);
  t.ok(printed, 'the kernel has told of it');
  const pages = (kilobytes: number | undefined): number => Number(kilobytes) / 4;
  t.match(event, {
    tcomm: printed?.comm,
    tuid: printed?.uid,
    oom_score_adj: printed?.oomScoreAdj,
    total_vm: pages(printed?.kilobytes[0]),
    pgtables_raw: Number(printed?.kilobytes[4]) * 1024,
  });
  // From Linux 6.2 on these are counted in parts, of 32 pages at most for each processor; newer kernels print the sum of all of them.
  const apart = Number.parseInt(os.release(), 10) >= 7 ? 32 * os.availableParallelism() : 0;
  for (const [i, name] of ['anon_rss', 'file_rss', 'shmem_rss'].entries()) {
    const [found, wanted] = [Number(event?.[name]), pages(printed?.kilobytes[i + 1])];
    t.ok(Math.abs(found - wanted) <= apart, `${name}: ${found}, the kernel prints ${wanted}`);
  }
  t.match(event, {
    tcomm: 'rawbpf-victim',
    tuid: 65534,
    tgid: 65534,
    oom_score_adj: 900,
    tppid: process.pid,
    tmntns_id: namespaceOf('mnt'),
  });
  t.ok(Number(event?.['anon_rss']) >= (16 << 20) / 4096, 'the memory that it had taken');
  t.equal(event?.['user'], namesOf(Number(event?.['tuid']), 0).user, 'the name of the user');
  t.match(event?.['fprocess'], {
    comm: 'rawbpf-asker',
    pid: made.asker,
    tid: made.asker,
    creds: { uid: 0, gid: 0, ...namesOf(0, 0) },
    mntns_id: namespaceOf('mnt'),
    parent: { pid: process.pid, comm: commOf('self') },
  });
  const time = Number(event?.['timestamp_raw']) / 1e6;
  t.ok(time >= made.from - 1 && time <= made.to + 1, 'time');
  const untold = /pages, scope and order: nothing is shown/.test(stderr);
  t.match(
    event,
    untold
      ? { pages: 0, scope: 'scope_unknown', order: -1 }
      : { pages: limit / 4096, scope: 'cgroup_limit', order: Number(/order=(\d+), oom_score_adj=0/.exec(text)?.[1]) },
    `what the kernel chose from ${untold ? '(cannot be traced on this kernel)' : ''}`,
  );
});
