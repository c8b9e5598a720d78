import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Test } from 'tap';

/** A control group of a memory controller. */
export interface MemoryGroup {
  readonly dir: string;
  readonly version: 1 | 2;
}

function mounted(): { readonly at: string; readonly version: 1 | 2 } | null {
  for (const line of readFileSync('/proc/mounts', 'utf8').split('\n')) {
    const [, at = '', type, options = ''] = line.split(' ');
    if (type === 'cgroup' && options.split(',').includes('memory')) return { at, version: 1 };
    if (type === 'cgroup2' && readFileSync(`${at}/cgroup.controllers`, 'utf8').split(/\s+/).includes('memory')) return { at, version: 2 };
  }
  return null;
}

/** A control group whose memory is limited, for the time of a test; null where this kernel or container gives none. */
export function memoryGroup(t: Test, limit: number): MemoryGroup | null {
  let where = mounted();
  if (where === null) {
    const at = mkdtempSync(path.join(os.tmpdir(), 'rawbpf-cgroup-'));
    t.teardown(() => rmdirSync(at));
    for (const args of [['cgroup2'], ['cgroup', '-o', 'memory']]) {
      if (spawnSync('mount', ['-t', ...args, 'none', at]).status !== 0) continue;
      t.teardown(() => spawnSync('umount', [at]));
      where = mounted();
      if (where !== null) break;
      spawnSync('umount', [at]);
    }
  }
  if (where === null) return null;
  const { at, version } = where;
  const dir = path.join(at, `rawbpf-oom-${process.pid}`);
  try {
    if (version === 2) writeFileSync(`${at}/cgroup.subtree_control`, '+memory');
    mkdirSync(dir);
    t.teardown(() => rmdirSync(dir));
    const names = version === 2 ? ['memory.max'] : ['memory.limit_in_bytes', 'memory.memsw.limit_in_bytes'];
    for (const name of names) if (existsSync(path.join(dir, name))) writeFileSync(path.join(dir, name), String(limit));
    if (version === 2 && existsSync(`${dir}/memory.swap.max`)) writeFileSync(`${dir}/memory.swap.max`, '0');
  } catch {
    return null;
  }
  return { dir, version };
}
