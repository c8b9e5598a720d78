// top_blockio and profile_blockio on a disk of their own, against /proc/diskstats and what dd says.
import t from 'tap';
import { runProgram, type Ended } from '../support/calls.ts';
import { diskStats, loopDevice, since, type LoopDevice } from '../support/loop.ts';
import { expectProcess } from '../support/process.ts';
import { traced, type JsonEvent } from '../support/run-gadget.ts';

// Slow machines take their time.
t.setTimeout(110_000);

interface Row extends JsonEvent {
  readonly rw: string;
  readonly rw_raw: number;
  readonly major: number;
  readonly minor: number;
  readonly bytes: number;
  readonly us: number;
  readonly io: number;
}

const dd = (...args: readonly string[]): Promise<Ended> => runProgram('/bin/dd', [...args, 'status=none']);

/** Reads past the cache, and writes with a flush at the end. */
async function useDisk(device: LoopDevice): Promise<{ readonly reader: Ended; readonly writer: Ended }> {
  const reader = await dd(`if=${device.path}`, 'of=/dev/null', 'iflag=direct', 'bs=64k', 'count=48');
  const writer = await dd('if=/dev/zero', `of=${device.path}`, 'oflag=direct', 'bs=16k', 'count=100', 'conv=notrunc,fsync');
  return { reader, writer };
}

void t.test('top_blockio', async (t) => {
  const device = loopDevice(t, 8 << 20);
  const before = diskStats(device);
  const { events, made, stderr, lost, received } = await traced('top_blockio', ['--map-fetch-interval', '0.2'], () => useDisk(device));
  const counted = since(before, diskStats(device));
  const rows = events.flat() as unknown as readonly Row[];
  t.equal(received, rows.length, stderr);
  t.equal(lost, 0, stderr);
  const own = rows.filter(({ major, minor }) => major === device.major && minor === device.minor);
  const sum = (pid: number, rw: string): { readonly io: number; readonly bytes: number; readonly us: number } => {
    const chosen = own.filter((row) => row.proc.pid === pid && row.rw === rw);
    for (const row of chosen) expectProcess(t, row.proc, { pid, comm: 'dd' }, `dd, ${rw}`);
    const total = (name: 'io' | 'bytes' | 'us'): number => chosen.reduce((all, row) => all + row[name], 0);
    return { io: total('io'), bytes: total('bytes'), us: total('us') };
  };
  const reads = sum(made.reader.pid, 'read');
  t.equal(reads.io, 48, 'what dd was told');
  t.equal(reads.bytes, 48 << 16);
  t.equal(reads.io, counted.reads, 'what /proc/diskstats counts');
  t.equal(reads.bytes, counted.sectorsRead * 512);
  // The kernel counts from before the queue, and in whole milliseconds.
  t.ok(reads.us > 0 && reads.us / 1000 <= counted.readMs + 48, `${reads.us} us in the driver, ${counted.readMs} ms in all`);
  const writes = sum(made.writer.pid, 'write');
  t.equal(writes.io, 100);
  t.equal(writes.bytes, 100 * 16384);
  t.equal(writes.io, counted.writes - counted.flushes, 'the kernel counts a flush as a write too');
  t.equal(writes.bytes, counted.sectorsWritten * 512);
  t.ok(writes.us > 0);
  t.same(new Set(own.map(({ rw, rw_raw: raw }) => `${raw} ${rw}`)).has('0 read'), true, 'the kernel’s numbers');
  t.notOk(
    own.some(({ proc, rw }) => proc.pid === made.reader.pid && rw !== 'read'),
    'the reader only read',
  );
});

void t.test('top_blockio --pid', async (t) => {
  const device = loopDevice(t, 4 << 20);
  const { events } = await traced('top_blockio', ['--pid', String(process.pid)], () => useDisk(device));
  t.same(events.flat(), [], 'nothing of another process');
});

void t.test('profile_blockio', async (t) => {
  const device = loopDevice(t, 8 << 20);
  const dev = (device.major << 20) | device.minor;
  const before = diskStats(device);
  for (const args of [[], ['--queued'], ['--ms']]) {
    const from = diskStats(device);
    const { events, lost } = await traced('profile_blockio', ['--per-disk', '--dev', String(dev), ...args], () => useDisk(device));
    const counted = since(from, diskStats(device));
    const rows = events.flat() as unknown as readonly {
      readonly dev: number;
      readonly cmd_flags: number;
      readonly latency: readonly number[];
    }[];
    t.equal(lost, 0);
    t.ok(
      rows.length > 0 && rows.every((row) => row.dev === dev && row.cmd_flags === 0 && row.latency.length === 27),
      'rows of this disk only',
    );
    const slots = rows[0]?.latency.map((_, i) => rows.reduce((sum, row) => sum + (row.latency[i] ?? 0), 0)) ?? [];
    const requests = slots.reduce((sum, count) => sum + count, 0);
    t.equal(requests, counted.reads + counted.writes, `${args.join(' ')}: all requests that /proc/diskstats counts`);
    // What all requests took at least and at most, by their slots.
    const unit = args.includes('--ms') ? 1 : 1000;
    const least = slots.reduce((sum, count, slot) => sum + (slot === 0 ? 0 : count * 2 ** (slot - 1)), 0) / unit;
    t.ok(least <= counted.readMs + counted.writeMs + requests, `${least} ms at least, ${counted.readMs + counted.writeMs} ms in all`);
  }
  t.ok(since(before, diskStats(device)).reads >= 48 * 3);

  const { events } = await traced('profile_blockio', ['--per-flag', '--dev', String(dev)], () => useDisk(device));
  const flags = events.flat() as unknown as readonly {
    readonly dev: number;
    readonly cmd_flags: number;
    readonly latency: readonly number[];
  }[];
  const counts = new Map<number, number>();
  for (const row of flags) {
    t.equal(row.dev, 0);
    const operation = row.cmd_flags & 0xff;
    counts.set(operation, (counts.get(operation) ?? 0) + row.latency.reduce((sum, count) => sum + count, 0));
  }
  t.equal(counts.get(0), 48, 'REQ_OP_READ');
  t.equal(counts.get(1), 100, 'REQ_OP_WRITE');
});
