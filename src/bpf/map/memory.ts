import { UsageError } from '../../error.ts';
import { Mapping } from '../../sys/memory.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import type { BpfMap } from './map.ts';

/**
 * A map's memory, shared with the kernel's programs: what they write is seen at once, and the other way round. After
 * {@link MappedMap.close} old views read zeroes and what is written to them is lost; they never fault.
 */
export class MappedMap {
  /** An array's values one after the other, each rounded up to 8 bytes; writing to them when not `writable` kills the process. */
  readonly bytes: Uint8Array;
  readonly writable: boolean;
  readonly #mapping: Mapping;

  constructor(mapping: Mapping, length: number, writable: boolean) {
    this.#mapping = mapping;
    this.bytes = new Uint8Array(mapping.buffer, 0, length);
    this.writable = writable;
  }

  get closed(): boolean {
    return this.#mapping.closed;
  }

  close(): void {
    this.#mapping.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Maps an array made with BPF_F_MMAPABLE, or an arena, into this process. */
export function mapMemory(map: BpfMap, writable: boolean): MappedMap {
  const arena = map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA;
  if (!arena && (map.flags & BPF_F.BPF_F_MMAPABLE) === 0) {
    throw new UsageError({
      code: 'E_MAP_MMAP',
      what: 'this map cannot be mapped into memory',
      where: { map: map.name },
      why: 'it was made without BPF_F_MMAPABLE',
    });
  }
  const page = map.kernel.pageSize;
  const length = arena ? map.maxEntries * page : Math.ceil(map.valueSize / 8) * 8 * map.maxEntries;
  const mapping = Mapping.map(map.kernel.sys, {
    fd: map.fd,
    length: Math.ceil(length / page) * page,
    // An arena's address is part of its programs' pointers.
    ...(arena && map.mapExtra !== 0n ? { address: map.mapExtra } : {}),
    writable,
    what: `the memory of map ${map.name}`,
  });
  return new MappedMap(mapping, length, writable);
}
