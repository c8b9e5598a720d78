import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import t from 'tap';
import { superBlockDevice } from '../support/device.ts';
import { commOf, expectProcess } from '../support/process.ts';
import { slowness } from '../support/patience.ts';
import { RunningGadget, type GadgetOutput, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000 * slowness);

// Calls the functions of the C library through koffi, and tells of each: its name, its size, the address that it gave.
const caller = String.raw`
  const koffi = require(process.argv[1]);
  const libc = koffi.load(null);
  const f = (name, result, ...args) => libc.func(name, result, args);
  const n = 'uintptr_t', z = 'size_t', i = 'int';
  const malloc = f('malloc', n, z), calloc = f('calloc', n, z, z), realloc = f('realloc', n, n, z), free = f('free', 'void', n);
  const aligned = f('aligned_alloc', n, z, z), memalign = f('memalign', n, z, z), valloc = f('valloc', n, z), pvalloc = f('pvalloc', n, z);
  const posix = libc.func('int posix_memalign(_Out_ uint64_t *out, size_t alignment, size_t size)');
  const mmap = f('mmap', n, n, z, i, i, i, 'int64_t'), munmap = f('munmap', i, n, z);
  const tell = (operation, size, addr) => process.stdout.write(JSON.stringify({ operation, size, addr: Number(addr) }) + '\n');
  process.stdin.once('data', () => {
    const first = malloc(100_001); tell('malloc', 100_001, first);
    const second = calloc(1_001, 77); tell('calloc', 1_001 * 77, second);
    const third = realloc(first, 300_003); tell('realloc_free', 0, first); tell('realloc', 300_003, third);
    const fourth = realloc(0, 100_005); tell('realloc', 100_005, fourth);
    const out = [0n]; posix(out, 64, 100_007); tell('posix_memalign', 100_007, out[0]);
    const fifth = aligned(64, 100_032); tell('aligned_alloc', 100_032, fifth);
    const sixth = memalign(128, 100_011); tell('memalign', 100_011, sixth);
    const seventh = valloc(100_013); tell('valloc', 100_013, seventh);
    const eighth = pvalloc(100_015); tell('pvalloc', 100_015, eighth);
    const page = mmap(0, 100_017, 3, 0x22, -1, 0); tell('mmap', 100_017, page);
    munmap(page, 100_017); tell('munmap', 100_017, page);
    for (const each of [second, third, fourth, out[0], fifth, sixth, seventh, eighth]) { free(each); tell('free', 0, each); }
    const none = malloc(2 ** 52); tell('malloc', 2 ** 52, none);
    const no = mmap(0, 100_019, 3, 0, -1, 0); tell('mmap', 100_019, Number(no) > 2 ** 60 ? 0 : no);
    process.stdin.once('data', () => process.exit());
    console.log('end');
  });
  console.log('ready');
`;

interface Told {
  readonly operation: string;
  readonly size: number;
  readonly addr: number;
}

async function start(): Promise<{ readonly child: ChildProcess; readonly pid: number; readonly lines: () => readonly string[] }> {
  const koffi = createRequire(import.meta.url).resolve('koffi');
  const child = spawn(process.execPath, ['-e', caller, koffi], { stdio: ['pipe', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (data: Buffer) => (text += data.toString()));
  while (!text.includes('ready\n')) await once(child.stdout, 'data');
  return { child, pid: child.pid ?? 0, lines: () => text.trim().split('\n') };
}

/** Runs the gadget for a process that is there already, while that makes its calls. */
async function traced(
  args: readonly string[],
): Promise<
  GadgetOutput & { readonly pid: number; readonly comm: string; readonly told: readonly Told[]; readonly from: number; readonly to: number }
> {
  const { child, pid, lines } = await start();
  const gadget = await RunningGadget.start('trace_malloc', ['--pid', String(pid), ...args]);
  const from = Date.now();
  child.stdin?.write('go\n');
  while (lines().at(-1) !== 'end') await once(child.stdout as NodeJS.EventEmitter, 'data');
  const to = Date.now();
  const comm = commOf(pid);
  const output = await gadget.stop();
  const ended = once(child, 'close');
  child.stdin?.end('end\n');
  await ended;
  const told = lines()
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Told);
  return { ...output, pid, comm, told, from, to };
}

/** Whether an event tells of this. */
const fits =
  ({ operation, size, addr }: Told) =>
  (event: JsonEvent): boolean =>
    plain(event['operation']) === plain(operation) && event['size'] === size && event['addr'] === addr;

/** Until glibc 2.38 these two are one function. */
const plain = (operation: unknown): unknown => (operation === 'aligned_alloc' ? 'memalign' : operation);

void t.test('each function of the C library', async (t) => {
  const { events, lost, pid, comm, told, from, to } = await traced([]);
  t.equal(lost, 0);
  t.equal(told.length, 22);
  t.ok(
    events.every((event) => event.proc.pid === pid),
    '--pid',
  );
  let at = -1;
  for (const one of told) {
    const what = `${one.operation} ${one.size}`;
    const index = events.findIndex((event, place) => place > at && fits(one)(event));
    t.ok(index > at, `${what}: shown, and in order`);
    if (index < 0) continue;
    at = index;
    const event = events[index];
    expectProcess(t, event?.proc, { pid, comm, tid: pid }, what);
    const time = Number(event?.['timestamp_raw']) / 1e6;
    t.ok(time >= from - 1 && time <= to + 1, `${what}: time`);
    // The same address may be given out again, but not while it is in use.
    if (one.operation === 'free' || one.addr === 0) continue;
    t.equal(events.slice(0, index + 1).filter(fits(one)).length, 1, `${what}: once`);
  }
  t.match(
    told.filter(({ addr }) => addr === 0),
    [{ operation: 'malloc' }, { operation: 'mmap' }],
    'what was too much gave nothing',
  );
});

void t.test('parameters, and stacks', async (t) => {
  const large = await traced(['--min-size', '100001', '--collect-ustack']);
  t.same(
    large.events.filter((event) => Number(event['size']) < 100_001 && event['operation'] !== 'realloc_free'),
    [],
    '--min-size',
  );
  const posix = large.told.find(({ operation }) => operation === 'posix_memalign');
  const event = posix === undefined ? undefined : large.events.find(fits(posix));
  const { ino } = statSync(process.execPath);
  const { major, minor } = superBlockDevice(process.execPath);
  const stack = event?.['ustack'] as Record<string, unknown> | undefined;
  t.match(stack, { major, minor, inode: ino, tgid_level0: large.pid, pid_level0: large.pid }, 'its executable');
  t.ok(Number(stack?.['stack_id']) >= 0, 'a stack');
  const { mtimeNs } = statSync(process.execPath, { bigint: true });
  t.match(stack, { mtime_sec: Number(mtimeNs / 1_000_000_000n), mtime_nsec: Number(mtimeNs % 1_000_000_000n) }, 'when it was last changed');
  // One level of process numbers: the test runs in the outermost namespace, or would not see the numbers of the kernel.
  t.match(stack, { pidns_level0: statSync('/proc/self/ns/pid').ino, pid_level1: 0, pidns_level1: 0 }, 'its namespace of processes');
  t.equal(stack?.['otel_correlation_id'], 0, 'no other profiler');
  // proc_uptime(5): boot time, in seconds.
  const uptime = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  const taken = Number(stack?.['boot_timestamp']) / 1e9;
  t.ok(taken > 0 && taken <= uptime, 'when the stack was taken');
  t.match(String(stack?.['addresses']), /^0x[0-9a-f]{16}(; 0x[0-9a-f]{16})*$/, 'addresses');

  const failed = await traced(['--failed']);
  t.ok(failed.events.length >= 2 && failed.events.every((each) => each['addr'] === 0), '--failed');
});
