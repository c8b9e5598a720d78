import t from 'tap';
import { networkPerl } from '../support/network.ts';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { traced, type GadgetOutput, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

const skip = process.arch === 'x64' ? false : 'the numbers of system calls are those of x86-64';

// Calls that need a capability; prints of each what it returned, and which capabilities the process had (CapEff of /proc).
const calls = String.raw`
  ${networkPerl}
  sub status { open my $file, "<", "/proc/self/status" or die; my ($caps) = join("", <$file>) =~ /^CapEff:\s*([0-9a-f]+)/m; $caps }
  sub userns { readlink("/proc/self/ns/user") =~ /(\d+)/; $1 }
  sub try { my ($what, $nr, @args) = @_; my $r = syscall($nr, @args); print join(" ", $what, $r < 0 ? -($!+0) : $r, status(), userns()), "\n" }
  my $root = "/";
  try("chroot", 161, $root);
  try("nice", 141, 0, 0, -5);
  # Gives all capabilities up with the user.
  $) = "65534 65534"; $( = 65534; $< = $> = 65534;
  try("nobody-chroot", 161, $root);
  try("nobody-nice", 141, 0, 0, -10);
  try("nobody-kill", 62, getppid(), 0);
  # In a user namespace of its own it has all of them again, there.
  try("userns", 272, 0x10000000);
  try("inside-chroot", 161, $root);
  try("inside-nice", 141, 0, 0, -11);
`;

interface Expected {
  readonly what: string;
  readonly cap: string;
  readonly cap_raw: number;
  readonly syscall: string;
  readonly capable: boolean;
  readonly uid: number;
  /** Where the capability was asked for: the namespace of the process unless it is the machine's. */
  readonly target?: 'machine';
  readonly function?: string;
}

const expected: readonly Expected[] = [
  { what: 'chroot', cap: 'CAP_SYS_CHROOT', cap_raw: 18, syscall: 'SYS_CHROOT', capable: true, uid: 0, function: '__x64_sys_chroot' },
  { what: 'nice', cap: 'CAP_SYS_NICE', cap_raw: 23, syscall: 'SYS_SETPRIORITY', capable: true, uid: 0 },
  { what: 'nobody-chroot', cap: 'CAP_SYS_CHROOT', cap_raw: 18, syscall: 'SYS_CHROOT', capable: false, uid: 65534 },
  { what: 'nobody-nice', cap: 'CAP_SYS_NICE', cap_raw: 23, syscall: 'SYS_SETPRIORITY', capable: false, uid: 65534 },
  { what: 'nobody-kill', cap: 'CAP_KILL', cap_raw: 5, syscall: 'SYS_KILL', capable: false, uid: 65534 },
  { what: 'inside-chroot', cap: 'CAP_SYS_CHROOT', cap_raw: 18, syscall: 'SYS_CHROOT', capable: true, uid: 65534 },
  // How a task is scheduled is the whole machine's concern.
  { what: 'inside-nice', cap: 'CAP_SYS_NICE', cap_raw: 23, syscall: 'SYS_SETPRIORITY', capable: false, uid: 65534, target: 'machine' },
];

/** Whether the kernel lets itself be asked how a question was meant. */
const optsKnown = ({ stderr }: GadgetOutput): boolean => !/audit and insetid: nothing is shown/.test(stderr);

/** The names of the bits of CapEff, as the gadget shows them. */
function capabilitiesText(hex: string, names: ReadonlyMap<number, string>): string {
  return [...names].flatMap(([bit, name]) => ((BigInt(`0x${hex}`) >> BigInt(bit)) & 1n ? [`FLAG_${name}`] : [])).join('|');
}

void t.test('questions for capabilities', { skip }, async (t) => {
  const output = await traced('trace_capabilities', ['--comm', 'perl'], () => runPerl(calls));
  const { events, lost, made } = output;
  t.equal(lost, 0);
  const own = events.filter((event) => event.proc.pid === made.pid);
  const lines = new Map(
    made.text
      .trim()
      .split('\n')
      .map((line) => [line.split(' ')[0] ?? '', line.split(' ').slice(1)]),
  );
  const machine = namespaceOf('user');
  const canUnshare = lines.get('userns')?.[0] === '0';
  let from = 0;
  for (const { what, cap, cap_raw, syscall, capable, uid, target, function: inKernel } of expected) {
    if (what.startsWith('inside') && !canUnshare) continue;
    const [result, caps = '', userns] = lines.get(what) ?? [];
    t.equal(Number(result) >= 0, capable, `${what}: the call itself ${result}`);
    const at = own.findIndex((event, index) => index >= from && event['cap'] === cap && event['syscall'] === syscall);
    t.ok(at >= 0, `${what}: is shown`);
    if (at < 0) continue;
    from = at + 1;
    const event: JsonEvent | undefined = own[at];
    t.match(
      event,
      { cap_raw, capable, current_userns: Number(userns), target_userns: target === undefined ? Number(userns) : machine },
      what,
    );
    const all = new Map([...Array(41).keys()].map((bit) => [bit, names[bit] ?? '']));
    t.equal(event?.['cap_effective'], capabilitiesText(caps, all), `${what}: CapEff ${caps}`);
    // How it was asked comes from a second program. A kernel that may interrupt it skips it where it is running already, and counts that.
    const skipped = event?.['audit'] === -1 && /the kernel skipped program asked_/.test(output.stderr);
    t.match(event, optsKnown(output) && !skipped ? { audit: 1, insetid: 0 } : { audit: -1, insetid: -1 }, what);
    if (inKernel !== undefined) t.ok(String(event?.['kstack']).split('; ').includes(inKernel), `${what}: ${String(event?.['kstack'])}`);
    // Perl sets the real and the effective ids one after the other; the event has the real ones, as every process.
    expectProcess(t, event?.proc, { pid: made.pid, comm: 'perl', uid, gid: uid }, what);
    expectTime(t, event, made, what);
  }
});

// include/uapi/linux/capability.h, in order.
const names = [
  'CHOWN,DAC_OVERRIDE,DAC_READ_SEARCH,FOWNER,FSETID,KILL,SETGID,SETUID,SETPCAP,LINUX_IMMUTABLE,NET_BIND_SERVICE,NET_BROADCAST,NET_ADMIN',
  'NET_RAW,IPC_LOCK,IPC_OWNER,SYS_MODULE,SYS_RAWIO,SYS_CHROOT,SYS_PTRACE,SYS_PACCT,SYS_ADMIN,SYS_BOOT,SYS_NICE,SYS_RESOURCE,SYS_TIME',
  'SYS_TTY_CONFIG,MKNOD,LEASE,AUDIT_WRITE,AUDIT_CONTROL,SETFCAP,MAC_OVERRIDE,MAC_ADMIN,SYSLOG,WAKE_ALARM,BLOCK_SUSPEND,AUDIT_READ,PERFMON',
  'BPF,CHECKPOINT_RESTORE',
]
  .join(',')
  .split(',')
  .map((name) => `CAP_${name}`);

void t.test('parameters', { skip }, async (t) => {
  const denied = await traced('trace_capabilities', ['--denied-only', '--comm', 'perl', '--collect-kstack=false'], () => runPerl(calls));
  t.ok(
    denied.events.length >= 3 && denied.events.every((event) => event['capable'] === false && event['kstack_raw'] === 0),
    '--denied-only, --collect-kstack=false',
  );
  const once = await traced('trace_capabilities', ['--unique', '--comm', 'perl'], () => runPerl(calls));
  const seen = once.events.map((event) => `${String(event['cap'])} ${String(event['capable'])} ${event.proc.mntns_id}`);
  t.equal(new Set(seen).size, seen.length, '--unique');

  const audited = await traced('trace_capabilities', ['--audit-only', '--comm', 'perl'], () => runPerl(calls));
  if (optsKnown(audited)) {
    t.ok(audited.events.length > 0 && audited.events.every((event) => event['audit'] === 1), '--audit-only');
  }
});
