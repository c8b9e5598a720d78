import { FormatError } from '../error.ts';
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

function read(name: 'possible' | 'online' | 'present'): readonly number[] {
  const text = readText(`/sys/devices/system/cpu/${name}`);
  return text === null ? [0] : parseCpuList(text);
}

let possible: readonly number[] | null = null;

/** CPUs that can ever come online; it never changes while the system runs. */
export function possibleCpus(): readonly number[] {
  possible ??= read('possible');
  return possible;
}

/** How many values a per-CPU map has per key. */
export function possibleCpuCount(): number {
  return possibleCpus().length;
}

/** CPUs that are online now. */
export function onlineCpus(): readonly number[] {
  return read('online');
}
