import { UnsupportedError, UsageError } from '../../error.ts';
import type { StructValues } from '../../bytes/struct.ts';
import { bpf, bpfCall, type BpfCommand } from '../../sys/bpf.ts';
import { mapBatchAttr } from '../../sys/bpf-attr/index.ts';
import { isErrno, SyscallError } from '../../sys/errno.ts';
import type { BpfMap } from './map.ts';
import { checkCpu, cpuFlags, cpuFlagsMissing, hasCpuFlags } from './one-cpu.ts';
import { splitPerCpu } from './shape.ts';

/** Keys and values of one map side by side: `values[i]` belongs to `keys[i]`. */
export interface BatchEntries {
  readonly keys: readonly Uint8Array[];
  readonly values: readonly Uint8Array[];
}

export interface BatchOptions {
  /** Of a per-CPU map: values are those of this CPU alone. */
  readonly cpu?: number;
}

type LookupCommand = 'BPF_MAP_LOOKUP_BATCH' | 'BPF_MAP_LOOKUP_AND_DELETE_BATCH';

/**
 * Operations on many keys in one call (Linux 5.6). Where the kernel cannot do it for a map's type, the same is done key by
 * key, so that callers need not care.
 */
export class MapBatch {
  readonly #map: BpfMap;

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /** Every entry, in pieces of about `size`. */
  *lookup(size = 256, options: BatchOptions = {}): Generator<BatchEntries> {
    const map = this.#map;
    const { cpu } = options;
    if (cpu === undefined) {
      yield* this.#walk('BPF_MAP_LOOKUP_BATCH', size);
      return;
    }
    checkCpu(map, cpu);
    const pieces = hasCpuFlags(map) ? batchPieces(map, 'BPF_MAP_LOOKUP_BATCH', size, cpu) : null;
    if (pieces !== null) {
      yield* pieces;
      return;
    }
    for (const { keys, values } of this.#walk('BPF_MAP_LOOKUP_BATCH', size)) {
      yield { keys, values: values.map((all) => splitPerCpu(all, map.valueSize)[cpu] as Uint8Array) };
    }
  }

  /** Takes every entry out, in pieces of about `size`. */
  *lookupAndDelete(size = 256): Generator<BatchEntries> {
    yield* this.#walk('BPF_MAP_LOOKUP_AND_DELETE_BATCH', size);
  }

  /**
   * Sets many keys; returns how many were set before the first that failed threw. With a CPU only that one's values are set
   * (Linux 7.0; E_PERCPU_FLAGS before).
   */
  update(keys: readonly Uint8Array[], values: readonly Uint8Array[], options: BatchOptions = {}): number {
    if (keys.length !== values.length) {
      throw new UsageError({ code: 'E_MAP_BATCH', what: 'as many values as keys are wanted', where: { map: this.#map.name } });
    }
    if (keys.length === 0) return 0;
    const map = this.#map;
    if (options.cpu !== undefined) return this.#updateCpu(keys, values, options.cpu);
    const valueSize = values[0]?.length ?? 0;
    const buffers = { keys: join(map, keys, map.keySize), values: join(map, values, valueSize) };
    if (valueSize !== (map.perCpu ? map.copiedValueSize : map.valueSize)) map.update(keys[0] as Uint8Array, values[0] as Uint8Array);
    const result = bpf(map.kernel.sys, 'BPF_MAP_UPDATE_BATCH', { map_fd: map.fd, ...buffers, count: keys.length });
    if (!unsupported(result)) {
      map.check(result, 'BPF_MAP_UPDATE_BATCH');
      return keys.length;
    }
    keys.forEach((key, i) => map.update(key, values[i] as Uint8Array));
    return keys.length;
  }

  /** Deletes many keys; keys that are not there are passed over. Returns how many were deleted. */
  delete(keys: readonly Uint8Array[]): number {
    // The kernel's own batch stops at the first missing key, and says how many it did: the rest goes on from there.
    const map = this.#map;
    let deleted = 0;
    let start = 0;
    while (start < keys.length) {
      const rest = keys.slice(start);
      const attr = { map_fd: map.fd, keys: join(map, rest, map.keySize), count: rest.length };
      const { result, count } = batchCall(map, 'BPF_MAP_DELETE_BATCH', attr);
      if (unsupported(result)) return deleted + rest.filter((key) => map.delete(key)).length;
      deleted += count;
      if (result >= 0) return deleted;
      if (!isErrno(result, 'ENOENT')) map.check(result, 'BPF_MAP_DELETE_BATCH');
      start += count + 1;
    }
    return deleted;
  }

  #updateCpu(keys: readonly Uint8Array[], values: readonly Uint8Array[], cpu: number): number {
    const map = this.#map;
    checkCpu(map, cpu);
    if (!hasCpuFlags(map)) throw cpuFlagsMissing(map, 'BPF_MAP_UPDATE_BATCH');
    const buffers = { keys: join(map, keys, map.keySize), values: join(map, values, map.valueSize) };
    const attr = { map_fd: map.fd, ...buffers, count: keys.length, elem_flags: cpuFlags(cpu) };
    const result = bpf(map.kernel.sys, 'BPF_MAP_UPDATE_BATCH', attr);
    // Not every type of map has batches.
    if (unsupported(result)) keys.forEach((key, i) => map.updateCpu(key, cpu, values[i] as Uint8Array));
    else map.check(result, 'BPF_MAP_UPDATE_BATCH');
    return keys.length;
  }

  *#walk(command: LookupCommand, size: number): Generator<BatchEntries> {
    const pieces = batchPieces(this.#map, command, size);
    if (pieces !== null) yield* pieces;
    else yield* this.#walkByKey(command, size);
  }

  *#walkByKey(command: LookupCommand, size: number): Generator<BatchEntries> {
    const map = this.#map;
    let keys: Uint8Array[] = [];
    let values: Uint8Array[] = [];
    const take = command === 'BPF_MAP_LOOKUP_AND_DELETE_BATCH' ? taker(map) : null;
    for (const [key, seen] of map.entries()) {
      const value = take === null ? seen : take(key);
      if (value === null) continue;
      keys.push(key);
      values.push(value);
      if (keys.length >= size) {
        yield { keys, values };
        keys = [];
        values = [];
      }
    }
    if (keys.length > 0) yield { keys, values };
  }
}

/** Takes one entry out: in one step, so that nothing is added between, where the kernel can (for hashes Linux 5.14), else in two. */
function taker(map: BpfMap): (key: Uint8Array) => Uint8Array | null {
  let atOnce = true;
  return (key) => {
    if (atOnce) {
      try {
        return map.lookupAndDelete(key);
      } catch (error) {
        const cannot = error instanceof SyscallError ? unsupported(-error.errno) : error instanceof UnsupportedError;
        if (!cannot) throw error;
        atOnce = false;
      }
    }
    const value = map.lookup(key);
    return value !== null && map.delete(key) ? value : null;
  };
}

/** Walks a map by the kernel's batches; null where the kernel has none for this type of map. */
export function batchPieces(map: BpfMap, command: LookupCommand, size: number, cpu: number | null = null): Generator<BatchEntries> | null {
  const walk = batchWalk(map, command, size, cpu);
  const first = walk.next();
  if (first.done === true) return first.value === 'unsupported' ? null : resumed(null, walk);
  return resumed(first.value, walk);
}

function* resumed(first: BatchEntries | null, rest: Generator<BatchEntries, unknown>): Generator<BatchEntries> {
  if (first !== null) yield first;
  for (const piece of rest) yield piece;
}

function* batchWalk(map: BpfMap, command: LookupCommand, size: number, cpu: number | null): Generator<BatchEntries, 'unsupported' | 'end'> {
  const keySize = map.keySize;
  const valueSize = cpu === null ? map.copiedValueSize : map.valueSize;
  const elemFlags = cpu === null ? 0n : cpuFlags(cpu);
  let count = Math.max(1, Math.min(size, map.maxEntries || size));
  // A hash's cursor is a bucket number, others' the last key: room for either.
  let cursor: Uint8Array | null = null;
  for (;;) {
    const keys = new Uint8Array(count * keySize);
    const values = new Uint8Array(count * valueSize);
    const next = new Uint8Array(Math.max(8, keySize));
    const call = batchCall(map, command, { map_fd: map.fd, in_batch: cursor, out_batch: next, keys, values, count, elem_flags: elemFlags });
    if (isErrno(call.result, 'ENOSPC') && count < 1 << 24) {
      // A single bucket holds more than fits: the kernel gave nothing, so nothing is lost by asking again.
      count *= 2;
      continue;
    }
    if (cursor === null && unsupported(call.result)) return 'unsupported';
    const end = isErrno(call.result, 'ENOENT');
    if (!end) map.check(call.result, command);
    if (call.count > 0) yield split(keys, values, call.count, keySize, valueSize);
    if (end) return 'end';
    cursor = next;
  }
}

/** ENOTSUPP (524) is the kernel's own number for "this map type cannot"; EINVAL is a kernel without the command. */
function unsupported(result: number): boolean {
  return result === -524 || isErrno(result, 'EINVAL') || isErrno(result, 'EOPNOTSUPP');
}

/** Makes a batch call; the kernel writes back how many it did. */
function batchCall(map: BpfMap, command: BpfCommand, values: StructValues): { result: number; count: number } {
  const { result, attr } = bpfCall(map.kernel.sys, command, values);
  return { result, count: Number(mapBatchAttr.decode(attr)['count']) };
}

function join(map: BpfMap, parts: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(parts.length * size);
  parts.forEach((part, i) => {
    if (part.length !== size) {
      throw new UsageError({
        code: 'E_MAP_BATCH',
        what: 'wrong size in a batch',
        where: { map: map.name, index: i },
        why: `${part.length} bytes were given, ${size} are wanted`,
      });
    }
    bytes.set(part, i * size);
  });
  return bytes;
}

function split(keys: Uint8Array, values: Uint8Array, count: number, keySize: number, valueSize: number): BatchEntries {
  const cut = (bytes: Uint8Array, size: number): Uint8Array[] =>
    Array.from({ length: count }, (_, i) => bytes.subarray(i * size, i * size + size));
  return { keys: cut(keys, keySize), values: cut(values, valueSize) };
}
