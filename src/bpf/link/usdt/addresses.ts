import { readFileSync, realpathSync, statSync } from 'node:fs';
import path from 'node:path';
import { UnsupportedError, UsageError } from '../../../error.ts';
import type { LinkNames } from '../link.ts';
import type { UsdtProbe, UsdtSite } from './probes.ts';

/** Where a place is in memory: known for programs at fixed addresses, else by the mappings of one process. */
export function addressesOf(probe: UsdtProbe, site: UsdtSite, names: LinkNames, pid: number | undefined): bigint[] {
  if (probe.fixedAddress) return [site.location];
  if (pid === undefined) {
    throw new UnsupportedError({
      code: 'E_USDT_PID',
      what: 'this kernel can read the arguments of such a probe in one process only',
      where: { target: names.target },
      why: 'the file can be loaded anywhere, and the kernel has no attach cookies (Linux 5.15)',
      next: 'give a pid',
    });
  }
  const found: bigint[] = [];
  const isSame = sameFile(probe.path);
  for (const line of readMaps(pid).split('\n')) {
    // start-end perms offset device inode path
    const match = mapping.exec(line);
    if (match === null) continue;
    const [, start, end, offset, inode, file] = match as unknown as [string, string, string, string, string, string];
    const [low, high, from] = [BigInt(`0x${start}`), BigInt(`0x${end}`), BigInt(`0x${offset}`)];
    const address = low + BigInt(site.offset) - from;
    if (isSame(file, Number(inode)) && address >= low && address < high) found.push(address);
  }
  if (found.length > 0) return found;
  throw new UsageError({ code: 'E_USDT_PID', what: 'the process has not loaded the file', where: { pid, path: probe.path } });
}

/** start-end perms offset device inode path, of executable memory (proc_pid_maps(5)). */
const mapping = /^([0-9a-f]+)-([0-9a-f]+) ..x\S* ([0-9a-f]+) \S+ (\d+)\s+(.*)$/;

/** Whether a mapped file is this one: by its path, or by its inode where the process sees it under another path. */
function sameFile(wanted: string): (file: string, inode: number) => boolean {
  const real = realpathSync(wanted);
  const { ino } = statSync(wanted);
  return (file, inode) => file === real || (inode === ino && path.basename(file) === path.basename(real));
}

function readMaps(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/maps`, 'utf8');
  } catch (cause) {
    throw new UsageError({ code: 'E_USDT_PID', what: 'cannot read what a process has loaded', where: { pid }, cause });
  }
}
