import { FormatError, UnsupportedError } from '../error.ts';
import { readText } from './kernel-version.ts';

/** No kernel has more (CONFIG_NR_CPUS is at most 8192); it bounds what a broken list can make us allocate. */
const maxCpu = 65536;

/** Parses the kernel's list format, `0-3,8,10-11`, into ascending numbers. */
export function parseCpuList(text: string): number[] {
  const cpus: number[] = [];
  for (const part of text.trim().split(',')) {
    if (part === '') continue;
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match === null || last < first || last >= maxCpu) {
      throw new FormatError({ code: 'E_CPU_LIST', what: 'malformed list of CPUs', where: { part } });
    }
    for (let cpu = first; cpu <= last; cpu++) cpus.push(cpu);
  }
  return cpus;
}

function read(name: 'possible' | 'online'): readonly number[] | null {
  const text = readText(`/sys/devices/system/cpu/${name}`);
  return text === null ? null : parseCpuList(text);
}

let possible: readonly number[] | null = null;

/**
 * CPUs that can ever come online; it never changes while the system runs. Throws E_CPUS where sysfs does not tell: the kernel copies
 * a value for each of them, and a guess would have it write past the end of a buffer.
 */
export function possibleCpus(): readonly number[] {
  possible ??= read('possible');
  if (possible !== null) return possible;
  throw new UnsupportedError({
    code: 'E_CPUS',
    what: 'it is not known how many CPUs this machine can have',
    where: { file: '/sys/devices/system/cpu/possible' },
    why: 'the file cannot be read',
    next: 'mount sysfs: mount -t sysfs sysfs /sys (in a container: give it /sys, read-only will do)',
  });
}

/** How many values a per-CPU map has per key. */
export function possibleCpuCount(): number {
  return possibleCpus().length;
}

/** CPUs that are online now; the first where sysfs does not tell. */
export function onlineCpus(): readonly number[] {
  return read('online') ?? [0];
}
