import { readFileSync } from 'node:fs';

/** Where a file system is mounted. */
export interface Mounted {
  readonly at: string;
  readonly type: string;
  readonly major: number;
  readonly minor: number;
}

/** The mount that a file lies on, as proc_pid_mountinfo(5) tells it. */
export function mountOf(path: string): Mounted {
  let best: Mounted = { at: '', type: '', major: 0, minor: 0 };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , device = '', , at = ''] = line.split(' ');
    const within = path === at || path.startsWith(at.endsWith('/') ? at : `${at}/`);
    if (!within || at.length < best.at.length) continue;
    const [major = 0, minor = 0] = device.split(':').map(Number);
    best = { at, type: line.split(' - ')[1]?.split(' ')[0] ?? '', major, minor };
  }
  return best;
}

/**
 * The device number of the file system that a file lies on, as programs in the kernel see it (super_block.s_dev): overlayfs shows
 * stat(2) another one.
 */
export function superBlockDevice(path: string): { readonly major: number; readonly minor: number } {
  const { major, minor } = mountOf(path);
  return { major, minor };
}
