// Gadgets that need a disk, a limit on memory, hooks of security modules, or what watches and drives GPUs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { runProgram, type Ended } from '../calls.ts';
import { diskStats, loopDevice, since, type DiskStats, type LoopDevice } from '../loop.ts';
import { memoryGroup } from '../memory-group.ts';
import { expectProcess, expectTime, namespaceOf, runPerl } from '../process.ts';
import type { JsonEvent } from '../run-gadget.ts';
import { folder, of, one, run, scratch, wait, who, type Case } from './case.ts';

const sum = (rows: readonly JsonEvent[], name: string): number => rows.reduce((all, row) => all + Number(row[name]), 0);

/** A copy of a gadget whose programs are attached elsewhere: what its module does before it is started. */
function attachedTo(gadget: string, targets: ReadonlyMap<string, string>): string {
  const copy = path.join(scratch, gadget);
  cpSync(path.join(folder, gadget), copy, { recursive: true });
  const lines = [...targets].map(([program, target]) => `  ${program}:\n    attach_to: ${target}\n`);
  const file = path.join(copy, 'gadget.yaml');
  writeFileSync(file, `${readFileSync(file, 'utf8').trimEnd()}\nprograms:\n${lines.join('')}`);
  return copy;
}

/** Writes an entry of the map of a name, as bpftool finds it. */
function put(map: string, key: Uint8Array, value: Uint8Array): void {
  const bytes = (data: Uint8Array): string[] => ['hex', ...[...data].map((byte) => byte.toString(16).padStart(2, '0'))];
  execFileSync('bpftool', ['map', 'update', 'name', map, 'key', ...bytes(key), 'value', ...bytes(value)]);
}

function words(...numbers: readonly (number | bigint)[]): Uint8Array {
  const data = Buffer.alloc(numbers.length * 8);
  let at = 0;
  for (const each of numbers) at = typeof each === 'bigint' ? data.writeBigUInt64LE(each, at) : data.writeUInt32LE(each, at);
  return data.subarray(0, at);
}

const sinceBoot = (): bigint => BigInt(Math.round(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 1e9));

/** A GPU, as include/gadget/gpu_types.h lays it out: each member has a value of its own. */
const gpu = {
  timestamp_ns: 1001n,
  sm_util_pct: 1,
  mem_util_pct: 2,
  mem_total_raw: 1n << 40n,
  mem_used_raw: 4n << 30n,
  mem_reserved_raw: 1n << 30n,
  temp_c: 3,
  power_mw: 4,
  sm_clock_mhz: 5,
  mem_clock_mhz: 6,
  throttle_reasons: 7n,
  pcie_tx_kbps: 8n,
  pcie_rx_kbps: 9n,
  enc_util_pct: 10,
  dec_util_pct: 11,
  nvlink_tx_kbps: 12n,
  nvlink_rx_kbps: 13n,
  ecc_corrected_total: 14n,
  ecc_uncorrected_total: 15n,
  fan_speed_pct: 16,
  compute_mode: 17,
};

/** A program that calls a library which is named as NVIDIA's is; scripts/inspektor-gadget.mjs made both. */
async function allocate(): Promise<Ended> {
  const made = await run(path.join(folder, 'cuda', 'allocate'), []);
  await wait(1500);
  return made;
}

let disk: LoopDevice | null = null;
let before: DiskStats | null = null;

export const otherCases: readonly Case[] = [
  {
    gadget: 'top_blockio',
    work: async (t) => {
      disk = loopDevice(t, 8 << 20);
      before = diskStats(disk);
      const made = await runProgram('/bin/dd', [`if=${disk.path}`, 'of=/dev/null', 'iflag=direct', 'bs=64k', 'count=48', 'status=none']);
      await wait(1500);
      return made;
    },
    check(t, rows, made) {
      if (disk === null || before === null) return void t.fail('no disk');
      const { major, minor } = disk;
      const own = rows.filter((row) => row['major'] === major && row['minor'] === minor && row.proc.pid === made.pid);
      const counted = since(before, diskStats(disk));
      t.equal(sum(own, 'io'), 48);
      t.equal(sum(own, 'io'), counted.reads, '/proc/diskstats');
      t.equal(sum(own, 'bytes'), 48 << 16);
      t.ok(sum(own, 'us') > 0 && sum(own, 'us') / 1000 <= counted.readMs + 48);
      for (const row of own) {
        t.match(row, { rw: 'read', rw_raw: 0 });
        expectProcess(t, row.proc, { pid: made.pid, comm: 'dd' }, 'dd');
      }
    },
  },
  {
    gadget: 'trace_oomkill',
    work: async (t) => {
      const group = memoryGroup(t, 32 << 20);
      if (group === null) throw new Error('no control group of memory');
      return await runPerl(
        `open my $procs, ">", "$ARGV[0]/cgroup.procs" or die; syswrite $procs, $$; close $procs; my @memory; push @memory, "b" x (1 << 20) for 1 .. 100`,
        group.dir,
      );
    },
    check(t, rows, made) {
      const row = one(t, rows, 'killed', (each) => each['tpid'] === made.pid);
      t.match(row, { tcomm: 'perl', tmntns_id: namespaceOf('mnt'), pages: (32 << 20) / 4096 });
      expectProcess(t, row?.['fprocess'] as JsonEvent['proc'], { pid: made.pid, comm: 'perl' }, 'who asked');
      expectTime(t, row, made, 'killed');
    },
  },
  {
    gadget: 'trace_fsslower',
    args: ['--min', '0'],
    prepare(t) {
      const device = loopDevice(t, 16 << 20);
      execFileSync('mkfs.ext4', ['-q', device.path]);
      const at = path.join(scratch, 'ext4');
      mkdirSync(at);
      execFileSync('mount', ['-t', 'ext4', device.path, at]);
      t.teardown(() => execFileSync('umount', [at]));
      const functions = {
        read: 'ext4_file_read_iter',
        wr: 'ext4_file_write_iter',
        open: 'ext4_file_open',
        sync: 'ext4_sync_file',
        statfs: 'ext4_statfs',
      };
      return attachedTo(
        'trace_fsslower',
        new Map(Object.entries(functions).flatMap(([what, name]) => ['e', 'x'].map((end) => [`ig_fssl_${what}_${end}`, name]))),
      );
    },
    work: () =>
      runPerl(
        `use IO::Handle; chdir "$ARGV[0]/ext4"; open(my $f, "+>", "slow") or die; syswrite $f, "x" x 1000; syswrite $f, "y" x 77; $f->sync or die;
         sysseek $f, 500, 0; sysread $f, my $b, 4096; my $s = " " x 200; my $p = "slow"; syscall(137, $p, $s) == 0 or die`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      const said = own.map((row) => [row['op'], row['op_raw'], row['offset'], row['size'], row['file']]);
      t.same(said, [
        ['F_OPEN', 2, 0, 0, 'slow'],
        ['F_WRITE', 1, 0, 1000, 'slow'],
        ['F_WRITE', 1, 1000, 77, 'slow'],
        // The whole file: from 0 to the largest offset.
        ['F_FSYNC', 3, 0, 2 ** 63, 'slow'],
        ['F_READ', 0, 500, 577, 'slow'],
        ['F_STATFS', 4, 0, 0, 'slow'],
      ]);
      for (const row of own) {
        who(t, row, made, String(row['op']));
        t.ok(Number(row['delta_us']) <= (made.to - made.from + 1) * 1000, 'how long it took');
      }
    },
  },
  {
    gadget: 'trace_lsm',
    // Some of its hooks are not for BPF on newer kernels.
    args: ['--skip-unsupported', '--trace-inode_mkdir', '--trace-sb_mount'],
    work: () =>
      runPerl(
        `mkdir "$ARGV[0]/lsm" or die; syscall(272, 0x20000) == 0 or die; my ($none, $root) = ("none", "/");
         print "mntns ", readlink("/proc/self/ns/mnt") =~ /(\\d+)/, "\\n"; syscall(165, $none, $root, 0, 0x44000, 0) == 0 or die`,
        scratch,
      ),
    check(t, rows, made) {
      const own = rows.filter(of(made));
      t.same(
        own.map((row) => row['tracepoint']),
        ['inode_mkdir', 'sb_mount'],
      );
      for (const row of own) {
        const mntns = row['tracepoint'] === 'sb_mount' ? Number(made.said.get('mntns')?.[0]) : namespaceOf('mnt');
        expectProcess(t, row.proc, { pid: made.pid, comm: 'perl', mntns }, String(row['tracepoint']));
        expectTime(t, row, made, String(row['tracepoint']));
      }
    },
  },
  {
    gadget: 'trace_gpu_starvation',
    args: ['--stale-threshold-ms', '1000000000', '--min-idle-ms', '1'],
    prepare() {
      const name = /^\w+ t (finish_task_switch(?:\.\w+)*)$/m.exec(readFileSync('/proc/kallsyms', 'utf8'))?.[1] ?? 'finish_task_switch';
      return attachedTo('trace_gpu_starvation', new Map([['ig_finish_task_switch', name]]));
    },
    work: async () => {
      const from = Date.now();
      // Changes between running and waiting, for three seconds of the processor's time.
      const child = spawn('/usr/bin/perl', [
        '-e',
        '<STDIN>; my $from = time; while (time - $from < 6) { 1 for 1 .. 1000; select undef, undef, undef, 0.001 }',
      ]);
      put('gpu_meta', words(0), words(1, 1, sinceBoot(), 1, 0, 0n));
      put('gpu_per_pid', words(child.pid ?? 0), words(1n, 4096n, 1, 2, 0x0100, 0));
      child.stdin.write('x\n');
      await once(child, 'close');
      return { pid: child.pid ?? 0, stdout: Buffer.alloc(0), text: '', from, to: Date.now() };
    },
    check(t, rows, made) {
      const own = rows.filter((row) => row.proc.pid === made.pid);
      t.ok(own.length >= 2, `${own.length} events in six seconds`);
      for (const row of own) {
        expectProcess(t, row.proc, { pid: made.pid, comm: 'perl' }, 'starved');
        expectTime(t, row, made, 'starved');
        const uptime = Number(sinceBoot());
        // The GPU was never seen busy: since boot.
        t.ok(Number(row['idle_ns']) <= uptime && Number(row['idle_ns']) >= uptime - (Date.now() - made.from + 1000) * 1e6, 'idle');
        t.ok(Number(row['hit_count']) > 10 && Number(row['cpu_time_ns']) > 0 && Number(row['cpu_time_ns']) < 3e9);
      }
    },
  },
  {
    gadget: 'gpu_top',
    args: ['--map-fetch-interval', '0.3'],
    work: async () => {
      const from = Date.now();
      put('gpu_device', words(3), words(...Object.values(gpu)));
      await wait(1500);
      return { pid: 0, stdout: Buffer.alloc(0), text: '', from, to: Date.now() };
    },
    check(t, rows) {
      const row = rows.find((each) => each['device'] === 3);
      t.match(row, { ...Object.fromEntries(Object.entries(gpu).map(([name, value]) => [name, Number(value)])), mem_used: '4.3 GB' });
    },
  },
  {
    gadget: 'gpu_top_per_pid',
    args: ['--map-fetch-interval', '0.3'],
    work: async () => {
      const from = Date.now();
      put('gpu_per_pid', words(process.pid), words(77n, 123_456n, 5, 6, 0x0209, 0));
      await wait(1500);
      return { pid: process.pid, stdout: Buffer.alloc(0), text: '', from, to: Date.now() };
    },
    check(t, rows, made) {
      const row = rows.find((each) => each.proc.pid === made.pid);
      t.match(row, {
        timestamp_ns: 77,
        mem_used_raw: 123_456,
        sm_util_pct_max: 5,
        mem_util_pct_max: 6,
        gpu_device_primary: 9,
        device_count: 2,
      });
      const parent = { pid: process.ppid, comm: readFileSync(`/proc/${process.ppid}/comm`, 'utf8').trim() };
      expectProcess(t, row?.proc, { pid: made.pid, comm: readFileSync('/proc/self/comm', 'utf8').trim(), parent }, 'this process');
    },
  },
  {
    gadget: 'profile_cuda',
    args: ['--collect-ustack'],
    env: { LD_LIBRARY_PATH: path.join(folder, 'cuda') },
    work: allocate,
    check(t, rows, made) {
      const own = rows.filter(({ proc }) => proc.pid === made.pid);
      const [device, host, managed, pitch] = (made.said.get('device') ?? []).map(Number);
      // One row for each place in the program that calls; the last of their lives asks twice.
      t.same(
        own.map((row) => Number(row['count'])).toSorted((a, b) => a - b),
        [device, host, managed, pitch].map(Number).toSorted((a, b) => a - b),
      );
      for (const row of own) {
        expectProcess(t, row.proc, { pid: made.pid, comm: 'allocate' }, 'allocated');
        t.match((row['ustack_raw'] as { symbols: string }).symbols, /main/, 'the function that calls');
      }
    },
  },
  {
    gadget: 'top_cuda_memory',
    env: { LD_LIBRARY_PATH: path.join(folder, 'cuda') },
    work: allocate,
    check(t, rows, made) {
      const own = rows.filter((row) => row['pid'] === made.pid);
      const [device = 0, host = 0, managed = 0, pitch = 0] = (made.said.get('device') ?? []).map(Number);
      const [freed = 0] = (made.said.get('freed') ?? []).map(Number);
      const ofKind = (name: string): readonly JsonEvent[] => own.filter((row) => row['host'] === name);
      t.equal(sum(ofKind('CUDA_MEM_DEVICE'), 'mem_alloc_bytes'), device + managed + pitch);
      t.equal(sum(ofKind('CUDA_MEM_DEVICE'), 'mem_alloc_calls'), 4);
      t.equal(sum(ofKind('CUDA_MEM_DEVICE'), 'mem_free_bytes'), freed);
      t.equal(sum(ofKind('CUDA_MEM_DEVICE'), 'mem_free_calls'), 1);
      t.equal(sum(ofKind('CUDA_MEM_DEVICE'), 'mem_implicit_free_bytes'), device + managed + pitch - freed, 'given back at the end');
      t.equal(sum(ofKind('CUDA_MEM_HOST'), 'mem_alloc_bytes'), host);
      for (const row of own) t.match(row, { comm: 'allocate', mntns_id: namespaceOf('mnt') });
    },
  },
];
