import { execFileSync } from 'node:child_process';

/** What bpftool says, as JSON. */
export function bpftool(...args: string[]): unknown {
  const path = ['/usr/sbin/bpftool', '/sbin/bpftool', 'bpftool'];
  let error: unknown = null;
  for (const command of path) {
    try {
      return JSON.parse(execFileSync(command, ['-j', ...args], { encoding: 'utf8' }));
    } catch (caught) {
      if ((caught as NodeJS.ErrnoException).code !== 'ENOENT') throw caught;
      error = caught;
    }
  }
  throw error;
}

/** bpftool's list of hex bytes: `["0x01","0x00"]`. */
export function bytesOf(list: readonly string[]): Uint8Array {
  return Uint8Array.from(list, (text) => Number.parseInt(text, 16));
}
