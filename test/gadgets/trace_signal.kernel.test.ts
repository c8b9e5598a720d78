import t, { type Test } from 'tap';
import { expectProcess, expectTime, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

const skip = process.arch === 'x64' ? false : 'the numbers of system calls are those of x86-64';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// A child blocks all signals and takes them one by one, telling what the kernel told it: number, si_errno, si_code,
// sender, its user. The parent makes the calls of @calls and prints what each returned.
const senderAndReceiver = String.raw`
  my ($KILL, $SIGQUEUE, $TKILL, $TGKILL, $TGSIGQUEUE, $PIDFD_SEND, $PIDFD_OPEN) = (62, 129, 200, 234, 297, 424, 434);
  pipe my $ready, my $tell; pipe my $wait, my $end;
  my $child = fork // die;
  if ($child == 0) {
    close $end;
    my $all = "\xff" x 8;
    syscall(14, 0, $all, 0, 8);
    syscall(157, 15, my $name = "receiver\0", 0, 0, 0);
    syswrite $tell, "x";
    sysread $wait, my $nothing, 1;
    my $now = pack "qq", 0, 0;
    for (;;) {
      my $info = "\0" x 128;
      last if syscall(128, $all, $info, $now, 8) < 0;
      print "got ", join(" ", unpack "lllx4lL", $info), "\n";
    }
    exit 7;
  }
  close $wait;
  sysread $ready, my $nothing, 1;
  sub report { my ($what, $result) = @_; print "$what ", $result < 0 ? -($!+0) : 0, "\n" }
  sub info { my ($sig, $code) = @_; pack "lllx4lLqx96", $sig, 0, $code, $$, 0, 5 }
  print "child $child\n";
  report kill => syscall($KILL, $child, 10);
  report again => syscall($KILL, $child, 10);
  report tkill => syscall($TKILL, $child, 12);
  report tgkill => syscall($TGKILL, $child, $child, 40);
  report sigqueue => syscall($SIGQUEUE, $child, 41, info(41, -1));
  report tgsigqueue => syscall($TGSIGQUEUE, $child, $child, 42, info(42, -1));
  my $pidfd = syscall($PIDFD_OPEN, $child, 0);
  report pidfd => $pidfd < 0 ? $pidfd : syscall($PIDFD_SEND, $pidfd, 14, 0, 0);
  print "pidfd-number $pidfd\n";
  report check => syscall($KILL, $child, 0);
  report missing => syscall($KILL, 0x7ffffff0, 15);
  report strange => syscall($KILL, $child, 99);
  report tgmissing => syscall($TGKILL, $child, 0x7ffffff0, 15);
  # Nothing may be queued for the child any more.
  my ($none, $old) = (pack("QQ", 0, 0), "\0" x 16);
  syscall(302, $child, 11, $none, $old) == 0 or die;
  report lost => syscall($KILL, $child, 43);
  report overflow => syscall($SIGQUEUE, $child, 44, info(44, -1));
  close $end;
  waitpid $child, 0;
  print "exit ", $? >> 8, "\n";
`;

/** Lines of `WORD NUMBER...` by their word; several of the same word in order. */
function parse(text: string): { readonly results: ReadonlyMap<string, number>; readonly got: readonly (readonly number[])[] } {
  const results = new Map<string, number>();
  const got: number[][] = [];
  for (const line of text.trim().split('\n')) {
    const [word = '', ...numbers] = line.split(' ');
    if (word === 'got') got.push(numbers.map(Number));
    else results.set(word, Number(numbers[0]));
  }
  return { results, got };
}

interface Expected {
  readonly what: string;
  readonly sig: string;
  readonly sig_raw: number;
  readonly code: number;
  readonly group: boolean;
  readonly result: string;
  readonly error?: string;
}

const sent: readonly Expected[] = [
  { what: 'kill', sig: 'SIGUSR1', sig_raw: 10, code: 0, group: true, result: 'delivered' },
  { what: 'again', sig: 'SIGUSR1', sig_raw: 10, code: 0, group: true, result: 'already_pending' },
  { what: 'tkill', sig: 'SIGUSR2', sig_raw: 12, code: -6, group: false, result: 'delivered' },
  { what: 'tgkill', sig: 'signal#40', sig_raw: 40, code: -6, group: false, result: 'delivered' },
  { what: 'sigqueue', sig: 'signal#41', sig_raw: 41, code: -1, group: true, result: 'delivered' },
  { what: 'tgsigqueue', sig: 'signal#42', sig_raw: 42, code: -1, group: false, result: 'delivered' },
  { what: 'pidfd', sig: 'SIGALRM', sig_raw: 14, code: 0, group: true, result: 'delivered' },
  { what: 'lost', sig: 'signal#43', sig_raw: 43, code: 0, group: true, result: 'lose_info' },
  { what: 'overflow', sig: 'signal#44', sig_raw: 44, code: -1, group: true, result: 'overflow_fail', error: 'EAGAIN' },
];

function only(t: Test, events: readonly JsonEvent[], what: string): JsonEvent | undefined {
  t.equal(events.length, 1, `${what}: one event`);
  return events[0];
}

void t.test('signals of every kind of call', { skip }, async (t) => {
  const { events, lost, stderr, made } = await traced('trace_signal', [], () => runPerl(senderAndReceiver));
  t.equal(lost, 0, stderr);
  const { results, got } = parse(made.text);
  const child = results.get('child') ?? 0;
  const own = events.filter((event) => event.proc.pid === made.pid && event['tpid'] === child);
  t.equal(own.length, sent.length, 'an event for each signal');
  for (const [i, { what, sig, sig_raw, code, group, result, error = '' }] of sent.entries()) {
    const event = own[i];
    const errno = -(results.get(what) ?? 0);
    t.match(
      event,
      { sig, sig_raw, code, group, result, error, error_raw: errno, ttid: child, tcomm: 'receiver', from_kernel: false },
      `${what}: ${JSON.stringify(event)}`,
    );
    t.match(event, { call: 'no_call', target: 0, targets: 1 }, what);
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
    expectTime(t, event, made, what);
    // What the receiver was told, of signals that reached it with all they carry.
    if (result !== 'delivered') continue;
    t.same(
      got.find(([signal]) => signal === sig_raw),
      [event?.['sig_raw'], 0, event?.['code'], event?.proc.pid, event?.proc.creds.uid],
      `${what}: the receiver's siginfo`,
    );
  }

  const ended = only(
    t,
    events.filter((event) => event.proc.pid === child && event['sig'] === 'SIGCHLD'),
    'the end of the child',
  );
  t.match(ended, { code: 1, from_kernel: true, tpid: made.pid, ttid: made.pid, tcomm: 'perl', group: true, error: '' }, 'CLD_EXITED');
  t.equal(results.get('exit'), 7);

  const failed = events.filter((event) => event.proc.pid === made.pid && event['call'] !== 'no_call');
  t.same(
    failed.map(({ call, error, error_raw, target, sig_raw, result, tpid }) => [call, error, error_raw, target, sig_raw, result, tpid]),
    [
      ['kill', 'ESRCH', -(results.get('missing') ?? 0), 0x7ffffff0, 15, 'call_failed', 0],
      ['kill', 'EINVAL', -(results.get('strange') ?? 0), child, 99, 'call_failed', 0],
      ['tgkill', 'ESRCH', -(results.get('tgmissing') ?? 0), 0x7ffffff0, 15, 'call_failed', 0],
    ],
    'calls that failed',
  );
});

void t.test('--kill-only: each call once', { skip }, async (t) => {
  const { events, made } = await traced('trace_signal', ['--kill-only'], () => runPerl(senderAndReceiver));
  const { results } = parse(made.text);
  const child = results.get('child') ?? 0;
  const rows: readonly (readonly [what: string, call: string, sig: number, target: number, tpid: number, result: string])[] = [
    ['kill', 'kill', 10, child, child, 'delivered'],
    ['again', 'kill', 10, child, child, 'already_pending'],
    ['tkill', 'tkill', 12, child, child, 'delivered'],
    ['tgkill', 'tgkill', 40, child, child, 'delivered'],
    ['sigqueue', 'rt_sigqueueinfo', 41, child, child, 'delivered'],
    ['tgsigqueue', 'rt_tgsigqueueinfo', 42, child, child, 'delivered'],
    ['pidfd', 'pidfd_send_signal', 14, results.get('pidfd-number') ?? 0, child, 'delivered'],
    ['check', 'kill', 0, child, 0, 'checked'],
    ['missing', 'kill', 15, 0x7ffffff0, 0, 'call_failed'],
    ['strange', 'kill', 99, child, 0, 'call_failed'],
    ['tgmissing', 'tgkill', 15, 0x7ffffff0, 0, 'call_failed'],
    ['lost', 'kill', 43, child, child, 'lose_info'],
    ['overflow', 'rt_sigqueueinfo', 44, child, child, 'overflow_fail'],
  ];
  const own = events.filter((event) => event.proc.pid === made.pid);
  t.equal(own.length, rows.length, 'an event for each call');
  for (const [i, [what, call, sig_raw, target, tpid, result]] of rows.entries()) {
    const event = own[i];
    t.match(event, { call, sig_raw, target, tpid, ttid: tpid, result, targets: tpid === 0 ? 0 : 1, from_kernel: false }, what);
    t.equal(event?.['error_raw'], -(results.get(what) ?? 0), `${what}: error`);
    t.equal(event?.['tcomm'], tpid === 0 ? '' : 'receiver', what);
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl' }, what);
  }
});

void t.test('a process group, and a signal of the kernel', { skip }, async (t) => {
  const work = () =>
    runPerl(String.raw`
      $SIG{USR1} = "IGNORE"; setpgrp 0, 0;
      pipe my $wait, my $end; pipe my $ready, my $begun;
      # perl blocks all signals around fork: a child that has not come so far takes what it would ignore for pending.
      my @children = map { my $pid = fork // die; if (!$pid) { close $end; syswrite $begun, "."; sysread $wait, my $nothing, 1; exit } $pid } 1, 2;
      sysread $ready, my $dot, 1 for @children;
      print "group ", syscall(62, -$$, 10), " @children\n";
      close $end; close $wait; wait; wait;
      my $pid = fork // die;
      # Reads a string at the address 1.
      if (!$pid) { my $text = unpack "p", pack "Q", 1; print $text; exit }
      waitpid $pid, 0;
      print "crash $pid ", $? & 127, "\n";
    `);
  const { events, made } = await traced('trace_signal', [], work);
  const [group = '', crash = ''] = made.text.trim().split('\n');
  const members = [made.pid, ...group.split(' ').slice(2).map(Number)];
  const own = events.filter((event) => event.proc.pid === made.pid && event['sig'] === 'SIGUSR1');
  t.same(new Set(own.map((event) => event['tpid'])), new Set(members), 'one event for each member of the group');
  t.ok(own.every((event) => event['result'] === 'ignored' && event['group'] === true));

  const [, crashed, signal] = crash.split(' ').map(Number);
  const event = only(
    t,
    events.filter((each) => each['tpid'] === crashed && each['sig_raw'] === signal),
    'the crash',
  );
  t.match(event, { sig: 'SIGSEGV', code: 1, from_kernel: true, group: false, proc: { pid: crashed, parent: { pid: made.pid } } });

  const calls = await traced('trace_signal', ['--kill-only', '--signal', '10'], work);
  const call = only(
    t,
    calls.events.filter((each) => each.proc.pid === calls.made.pid),
    'the call',
  );
  t.match(call, { call: 'kill', target: -calls.made.pid, targets: 3, error: '' });
});

void t.test('parameters', { skip }, async (t) => {
  const work = () => runPerl(senderAndReceiver);
  const failed = await traced('trace_signal', ['--failed'], work);
  t.same(
    failed.events.filter((event) => event.proc.pid === failed.made.pid).map((event) => event['error']),
    ['ESRCH', 'EINVAL', 'ESRCH', 'EAGAIN'],
    '--failed',
  );

  const one = await traced('trace_signal', ['--signal', '12'], work);
  t.ok(
    one.events.every((event) => event['sig'] === 'SIGUSR2'),
    '--signal',
  );
  t.equal(one.events.filter((event) => event.proc.pid === one.made.pid).length, 1);

  const me = await traced('trace_signal', ['--target-pid', String(process.pid)], work);
  t.ok(
    me.events.every((event) => event['tpid'] === process.pid),
    '--target-pid',
  );
  t.match(
    me.events.find((event) => event.proc.pid === me.made.pid),
    { sig: 'SIGCHLD' },
  );

  const named = await traced('trace_signal', ['--comm', 'receiver'], work);
  t.ok(
    named.events.some((event) => event['tpid'] === named.made.pid),
    'its end',
  );
  t.ok(
    named.events.every((event) => event.proc.comm === 'receiver'),
    '--comm',
  );
});
