import { UnsupportedError, UsageError } from '../../error.ts';
import { bpf, type BpfCommand } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import type { BpfMap } from './map.ts';
import { isPerCpu, splitPerCpu } from './shape.ts';

/** Flags of a call that means the value of one CPU: its number stands in the upper half (linux/bpf.h, BPF_F_CPU). */
export function cpuFlags(cpu: number, mode = 0): bigint {
  return (BigInt(cpu) << 32n) | BigInt(BPF_F.BPF_F_CPU | mode);
}

/**
 * One CPU's value of a key, `valueSize` bytes; null where there is no such key. A kernel that cannot read one alone (before
 * Linux 7.0) is asked for all of them: what is returned is the same.
 */
export function lookupOneCpu(map: BpfMap, key: Uint8Array, cpu: number): Uint8Array | null {
  checkCpu(map, cpu);
  if (hasCpuFlags(map)) {
    const value = new Uint8Array(map.valueSize);
    const result = bpf(map.kernel.sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: map.fd, key, value, flags: cpuFlags(cpu) });
    if (isErrno(result, 'ENOENT')) return null;
    map.check(result, 'BPF_MAP_LOOKUP_ELEM');
    return value;
  }
  const all = map.lookup(key);
  return all === null ? null : (splitPerCpu(all, map.valueSize)[cpu] ?? null);
}

/** Sets one CPU's value and leaves the others'; those of a key that was not there become zero. */
export function updateOneCpu(map: BpfMap, key: Uint8Array, cpu: number, value: Uint8Array, mode: number): void {
  checkCpu(map, cpu);
  if (!hasCpuFlags(map)) throw cpuFlagsMissing(map, 'BPF_MAP_UPDATE_ELEM');
  const flags = cpuFlags(cpu, mode);
  map.check(bpf(map.kernel.sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: map.fd, key, value, flags }), 'BPF_MAP_UPDATE_ELEM');
}

/** Sets every CPU's value to the same with one copy of it; false where the kernel cannot, and nothing was done. */
export function updateAllCpus(map: BpfMap, key: Uint8Array, value: Uint8Array, mode: number): boolean {
  if (!hasCpuFlags(map)) return false;
  const flags = BPF_F.BPF_F_ALL_CPUS | mode;
  map.check(bpf(map.kernel.sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: map.fd, key, value, flags }), 'BPF_MAP_UPDATE_ELEM');
  return true;
}

/** Whether the kernel takes BPF_F_CPU and BPF_F_ALL_CPUS for this map. */
export function hasCpuFlags(map: BpfMap): boolean {
  return isPerCpu(map.type) && map.kernel.has('percpu_cpu_flags');
}

export function cpuFlagsMissing(map: BpfMap, command: BpfCommand): UnsupportedError {
  return new UnsupportedError({
    code: 'E_PERCPU_FLAGS',
    what: 'this kernel cannot set the value of one CPU alone',
    where: { map: map.name, type: map.typeName, command },
    why: 'BPF_F_CPU came with Linux 7.0',
    next: 'read all CPUs’ values, change one and write them back, if nothing else writes them meanwhile',
  });
}

export function checkCpu(map: BpfMap, cpu: number): void {
  const { length } = map.kernel.possibleCpus;
  if (!isPerCpu(map.type) || !Number.isInteger(cpu) || cpu < 0 || cpu >= length) {
    const isMap = isPerCpu(map.type);
    throw new UsageError({
      code: isMap ? 'E_MAP_CPU' : 'E_MAP_TYPE',
      what: isMap ? 'no such CPU' : 'not a per-CPU map',
      where: isMap ? { map: map.name, cpu } : { map: map.name },
      why: isMap ? `possible CPUs are 0 to ${length - 1}` : `it is ${map.typeName}`,
    });
  }
}
