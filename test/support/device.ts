import { readFileSync } from 'node:fs';

/**
 * The device number of the file system that a file lies on, as programs in the kernel see it (super_block.s_dev): overlayfs shows
 * stat(2) another one.
 */
export function superBlockDevice(path: string): { readonly major: number; readonly minor: number } {
  let best = { at: '', major: 0, minor: 0 };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , device = '', , at = ''] = line.split(' ');
    const within = path === at || path.startsWith(at.endsWith('/') ? at : `${at}/`);
    if (!within || at.length < best.at.length) continue;
    const [major = 0, minor = 0] = device.split(':').map(Number);
    best = { at, major, minor };
  }
  return { major: best.major, minor: best.minor };
}
