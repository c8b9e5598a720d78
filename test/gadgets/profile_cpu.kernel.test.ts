import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { superBlockDevice } from '../support/device.ts';
import { expectProcess } from '../support/process.ts';
import { RunningGadget, type GadgetOutput, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

const skip = process.arch === 'x64' ? false : 'the busy program is for x86-64';
const busyPath = fileURLToPath(new URL('../../../fixtures/stacks/busy', import.meta.url));
/** Of fixtures/stacks/busy, as `readelf -n` prints it. */
const buildId = /Build ID: ([0-9a-f]+)/.exec(execFileSync('readelf', ['-n', busyPath], { encoding: 'utf8' }))?.[1] ?? '';

interface Stack {
  readonly [name: string]: number | string;
  readonly addresses: string;
  readonly buildid: string;
  readonly symbols: string;
}

interface Row extends JsonEvent {
  readonly samples: number;
  readonly kernel_ip: number;
  readonly kern_stack: string;
  readonly kern_stack_raw: number;
  readonly user_stack_id: number;
  readonly user_stack_raw: Stack;
}

/** Clock ticks that a process has run, in user space and in the kernel: hundredths of a second. */
function ticksOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? [];
  return Number(fields[11]) + Number(fields[12]);
}

/** Runs the profiler on a program until that has run for so many ticks more. */
async function profiled(
  t: Test,
  child: ChildProcess,
  args: readonly string[],
  ticks = 60,
): Promise<{ readonly rows: readonly Row[]; readonly ticks: number; readonly most: number; readonly output: GadgetOutput }> {
  const pid = child.pid ?? 0;
  const first = ticksOf(pid);
  const gadget = await RunningGadget.start('profile_cpu', ['--pid', String(pid), '--map-fetch-interval', '0.3', ...args]);
  const before = ticksOf(pid);
  while (ticksOf(pid) - before < ticks) await delay(50);
  const after = ticksOf(pid);
  const output = await gadget.stop();
  // It takes samples from before it is told to run until it has ended: half a minute each where a machine is emulated.
  const most = ticksOf(pid) - first;
  t.equal(output.code, 0, output.stderr);
  return { rows: output.events.flat() as unknown as readonly Row[], ticks: after - before, most, output };
}

void t.test('samples of a process that is busy in known functions', { skip }, async (t) => {
  const child = spawn(busyPath, [], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  const pid = child.pid ?? 0;
  const [said] = await new Promise<Buffer[]>((resolve) => child.stdout.once('data', (data: Buffer) => resolve([data])));
  const at = Number.parseInt(/busy_leaf 0x([0-9a-f]+)/.exec(String(said))?.[1] ?? '', 16);
  const { rows, ticks, most, output } = await profiled(t, child, ['--collect-build-id']);

  const samples = rows.reduce((sum, row) => sum + row.samples, 0);
  // 49 a second of its own time.
  const told = `${samples} samples in ${ticks} to ${most} hundredths of a second`;
  t.ok(samples > (ticks * 0.49) / 2 && samples < most * 0.49 * 1.2 + 10, told);
  t.equal(output.received, rows.length, 'all rows are counted');

  const { ino, mtimeNs } = statSync(busyPath, { bigint: true });
  const text = /^([0-9a-f]+)-([0-9a-f]+) r-xp ([0-9a-f]+) .*busy$/m.exec(readFileSync(`/proc/${pid}/maps`, 'utf8'));
  const [start, offset] = [Number.parseInt(text?.[1] ?? '', 16), Number.parseInt(text?.[3] ?? '', 16)];
  const inLeaf = rows.filter(({ user_stack_raw: { symbols } }) => symbols.startsWith('busy_leaf; busy_middle; main'));
  t.ok(inLeaf.reduce((sum, row) => sum + row.samples, 0) > samples * 0.8, 'nearly all of them in the function that has the loop');
  for (const row of inLeaf) {
    const stack = row.user_stack_raw;
    const what = `stack ${row.user_stack_id}`;
    expectProcess(t, row.proc, { pid, comm: 'busy' }, what);
    const first = Number(stack.addresses.split('; ')[0]);
    t.ok(first >= at && first < at + 64, `${what}: innermost address`);
    t.equal(stack.addresses.split('; ').length, stack.symbols.split('; ').length, `${what}: a name for each address`);
    t.equal(stack.buildid.split('; ')[0], `${buildId} +${(first - start + offset).toString(16)}`, `${what}: place in the file`);
    t.match(stack, {
      ...superBlockDevice(busyPath),
      inode: Number(ino),
      mtime_sec: Number(mtimeNs / 1_000_000_000n),
      mtime_nsec: Number(mtimeNs % 1_000_000_000n),
      tgid_level0: pid,
      pid_level0: pid,
      pidns_level0: namespaceOfPid(pid),
      otel_correlation_id: 0,
      stack_id: row.user_stack_id,
      base_addr_hash: inLeaf[0]?.user_stack_raw['base_addr_hash'] ?? 0,
    });
    t.ok(Number(stack['boot_timestamp']) / 1e9 < uptime(), `${what}: taken in the past`);
  }
  t.not(inLeaf[0]?.user_stack_raw['base_addr_hash'], 0);
});

void t.test('samples of a process that is busy in the kernel', { skip }, async (t) => {
  const child = spawn('dd', ['if=/dev/zero', 'of=/dev/null', 'bs=1M'], { stdio: 'ignore' });
  t.teardown(() => child.kill('SIGKILL'));
  const { rows } = await profiled(t, child, ['--kernel-stacks-only'], 40);
  t.ok(rows.length > 0);
  t.ok(
    rows.every(({ user_stack_raw: { symbols, inode } }) => symbols === '' && inode === 0),
    'no stacks of user space',
  );
  const inKernel = rows.filter(({ kernel_ip: ip }) => ip !== 0);
  t.ok(inKernel.length > 0);
  for (const { kern_stack: stack, proc } of inKernel) {
    t.equal(proc.comm, 'dd');
    // Between the calls, in the few instructions before and after them, a sample has the path of every call alone; write() to
    // /dev/null is one of those too. Or an interrupt came in between.
    t.match(
      stack,
      /(?:^|; )(?:vfs_read|ksys_read|do_syscall_64|invoke_syscall|el0_svc|irqentry_\w+|asm_sysvec_\w+)(?:; |$)/,
      'in a system call',
    );
  }
  const taken = (all: readonly Row[]): number => all.reduce((sum, { samples }) => sum + samples, 0);
  const inRead = inKernel.filter(({ kern_stack: stack }) => /(?:^|; )(?:vfs_read|ksys_read)(?:; |$)/.test(stack));
  // A mebibyte is cleared in each read(), nothing is done in a write().
  t.ok(taken(inRead) >= 0.8 * taken(inKernel), `on its way through read(): ${taken(inRead)} of ${taken(inKernel)} samples`);
  const only = await profiled(t, child, ['--user-stacks-only'], 20);
  t.ok(only.rows.length > 0 && only.rows.every((row) => row.kern_stack === '' && row.kernel_ip === 0), 'no stacks of the kernel');
});

function namespaceOfPid(pid: number): number {
  return statSync(`/proc/${pid}/ns/pid`).ino;
}

function uptime(): number {
  return Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) + 0.02;
}
