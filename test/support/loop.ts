import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

/** A disk that nobody else uses. */
export interface LoopDevice {
  readonly path: string;
  readonly major: number;
  readonly minor: number;
  readonly bytes: number;
}

/** Makes a loop device of a file, for the time of a test. */
export function loopDevice(t: Test, bytes: number): LoopDevice {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-loop-'));
  const file = path.join(folder, 'disk');
  writeFileSync(file, '');
  truncateSync(file, bytes);
  // Where the driver is a module, nothing else has loaded it yet.
  if (!existsSync('/dev/loop-control')) spawnSync('modprobe', ['loop']);
  const device = execFileSync('losetup', ['--find', '--show', file], { encoding: 'utf8' }).trim();
  t.teardown(() => {
    execFileSync('losetup', ['--detach', device]);
    rmSync(folder, { recursive: true });
  });
  const { rdev } = statSync(device);
  return { path: device, major: rdev >> 8, minor: rdev & 0xff, bytes };
}

/** What the kernel has counted for a disk: Documentation/admin-guide/iostats.rst. */
export interface DiskStats {
  readonly reads: number;
  readonly sectorsRead: number;
  readonly readMs: number;
  readonly writes: number;
  readonly sectorsWritten: number;
  readonly writeMs: number;
  readonly flushes: number;
}

export function diskStats({ major, minor }: LoopDevice): DiskStats {
  const line = readFileSync('/proc/diskstats', 'utf8')
    .split('\n')
    .map((each) => each.trim().split(/\s+/).map(Number))
    .find((fields) => fields[0] === major && fields[1] === minor);
  const [reads = 0, , sectorsRead = 0, readMs = 0, writes = 0, , sectorsWritten = 0, writeMs = 0] = line?.slice(3) ?? [];
  return { reads, sectorsRead, readMs, writes, sectorsWritten, writeMs, flushes: line?.[18] ?? 0 };
}

/** The differences between two looks. */
export function since(before: DiskStats, after: DiskStats): DiskStats {
  return Object.fromEntries(
    Object.entries(after).map(([name, value]) => [name, value - (before[name as keyof DiskStats] ?? 0)]),
  ) as unknown as DiskStats;
}
