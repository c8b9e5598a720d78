import { UnsupportedError, UsageError } from '../../error.ts';
import type { Btf } from '../../btf/btf.ts';
import { bpf, type BpfCommand, bpfError } from '../../sys/bpf.ts';
import { isErrno } from '../../sys/errno.ts';
import type { MapFd } from '../../sys/fds.ts';
import { BPF_UPDATE } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { ObjectFd } from '../fd.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { pinObject } from '../pin.ts';
import { MapBatch } from './batch.ts';
import { iterateEntries, iterateKeys } from './iterate.ts';
import { type MapInfo, mapInfo } from './info.ts';
import { mapMemory, type MappedMap } from './memory.ts';
import { lookupOneCpu, updateAllCpus, updateOneCpu } from './one-cpu.ts';
import { copiedValueSize, isPerCpu, isQueue, joinPerCpu, type MapShape, splitPerCpu } from './shape.ts';
import { TypedMap } from './typed.ts';

/** The types of keys and values, where the object had BTF for them. */
export interface MapTypes {
  readonly btf: Btf;
  /** 0 where unknown. */
  readonly keyTypeId: number;
  readonly valueTypeId: number;
}

/** How an update treats a key that is or is not there yet. */
export type UpdateMode = 'any' | 'create' | 'update';

export interface UpdateOptions {
  /** `any` (default), `create`: fail with EEXIST where the key is there, `update`: fail with ENOENT where it is not. */
  readonly mode?: UpdateMode;
  /** Takes the value's bpf_spin_lock meanwhile. */
  readonly lock?: boolean;
}

/**
 * One BPF map in the kernel, held open by a file descriptor: raw bytes in and out. {@link BpfMap.typed} gives the same
 * with JavaScript values, where the key's and value's types are known.
 *
 * @example
 * import { createMap, defaultKernel } from 'rawbpf';
 * export function countTo(n: number): void {
 *   const map = createMap(defaultKernel(), { name: 'counts', type: 'BPF_MAP_TYPE_HASH', keySize: 4, valueSize: 8, maxEntries: 16 });
 *   map.update(Uint8Array.of(1, 0, 0, 0), new Uint8Array(new BigUint64Array([BigInt(n)]).buffer));
 *   for (const [key, value] of map.entries()) console.log(key, value);
 *   map.close();
 * }
 */
export class BpfMap implements MapShape {
  readonly kernel: Kernel;
  readonly name: string;
  readonly type: number;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly mapExtra: bigint;
  readonly types: MapTypes | null;
  /** Many keys in one call. */
  readonly batch: MapBatch;
  readonly #owned: ObjectFd<'map'>;
  #typed: TypedMap | null = null;
  #arena: MappedMap | null = null;

  /** Takes over a descriptor; {@link createMap}, {@link openMapById} and {@link openPinnedMap} are what users call. */
  constructor(kernel: Kernel, fd: number, shape: MapShape, types: MapTypes | null = null) {
    this.kernel = kernel;
    this.#owned = new ObjectFd(kernel.sys, fd, `map ${shape.name}`);
    this.name = shape.name;
    this.type = shape.type;
    this.keySize = shape.keySize;
    this.valueSize = shape.valueSize;
    this.maxEntries = shape.maxEntries;
    this.flags = shape.flags;
    this.mapExtra = shape.mapExtra;
    this.types = types;
    this.batch = new MapBatch(this);
  }

  /** The open descriptor; throws E_CLOSED after close(). */
  get fd(): MapFd {
    return this.#owned.fd;
  }

  get closed(): boolean {
    return this.#owned.closed;
  }

  /** The kernel's name of the type: `BPF_MAP_TYPE_HASH`. */
  get typeName(): string {
    return nameOf(BPF_MAP_TYPE, this.type) ?? `BPF_MAP_TYPE_${this.type}`;
  }

  /** Whether there is one value for each possible CPU. */
  get perCpu(): boolean {
    return isPerCpu(this.type);
  }

  /** Bytes that the kernel copies for one value: of a per-CPU map those of all possible CPUs, each rounded up to 8. */
  get copiedValueSize(): number {
    // Asked for only where it matters: reading the CPUs costs a file.
    return copiedValueSize(this.type, this.valueSize, this.perCpu ? this.kernel.possibleCpus.length : 1);
  }

  /**
   * The value of a key, null where there is none. Of a per-CPU map all CPUs' values one after the other
   * ({@link lookupPerCpu} splits them); of a map of maps the inner map's id (u32).
   */
  lookup(key: Uint8Array, flags = 0): Uint8Array | null {
    this.#checkKey(key);
    return this.#read('BPF_MAP_LOOKUP_ELEM', key, flags);
  }

  /** The values of a key, one for each possible CPU, null where there is none. */
  lookupPerCpu(key: Uint8Array): Uint8Array[] | null {
    this.#needPerCpu();
    const bytes = this.lookup(key);
    return bytes === null ? null : splitPerCpu(bytes, this.valueSize);
  }

  /** One possible CPU's value of a key, null where there is none. */
  lookupCpu(key: Uint8Array, cpu: number): Uint8Array | null {
    this.#checkKey(key);
    return lookupOneCpu(this, key, cpu);
  }

  has(key: Uint8Array): boolean {
    return this.lookup(key) !== null;
  }

  /**
   * Sets the value of a key. A per-CPU map takes all CPUs' values as {@link lookup} gives them, a map of maps, prog array or
   * socket map a descriptor (u32). Throws SyscallError: E2BIG where a hash is full, EEXIST and ENOENT by mode.
   */
  update(key: Uint8Array, value: Uint8Array, options: UpdateOptions = {}): void {
    this.#checkKey(key);
    this.#checkValue(value, this.#inputSize());
    this.#write(key, value, options);
  }

  /**
   * Sets the value of a key for one possible CPU and leaves the others' alone; a new key's are zero. Throws E_PERCPU_FLAGS where
   * the kernel cannot (before Linux 7.0).
   */
  updateCpu(key: Uint8Array, cpu: number, value: Uint8Array, options: UpdateOptions = {}): void {
    this.#checkKey(key);
    this.#checkValue(value, this.valueSize);
    updateOneCpu(this, key, cpu, value, updateFlags(options));
  }

  /** Sets the values of a key for all possible CPUs; one value alone is given to each of them. */
  updatePerCpu(key: Uint8Array, values: readonly Uint8Array[] | Uint8Array, options: UpdateOptions = {}): void {
    this.#needPerCpu();
    if (values instanceof Uint8Array) {
      this.#checkKey(key);
      this.#checkValue(values, this.valueSize);
      if (updateAllCpus(this, key, values, updateFlags(options))) return;
    }
    const cpus = this.kernel.possibleCpus.length;
    const list = values instanceof Uint8Array ? Array.from({ length: cpus }, () => values) : values;
    if (list.length !== cpus) {
      throw this.#usage('E_MAP_VALUE', 'a value is wanted for every possible CPU', `${list.length} were given, there are ${cpus}`);
    }
    for (const value of list) this.#checkValue(value, this.valueSize);
    this.update(key, joinPerCpu(list, this.valueSize), options);
  }

  /** Deletes a key; false where there was none. */
  delete(key: Uint8Array): boolean {
    this.#checkKey(key);
    const result = bpf(this.kernel.sys, 'BPF_MAP_DELETE_ELEM', { map_fd: this.fd, key });
    if (isErrno(result, 'ENOENT')) return false;
    this.check(result, 'BPF_MAP_DELETE_ELEM');
    return true;
  }

  /** Takes a key out and returns its value in one step, null where there was none (hash types since Linux 5.14, before E_MAP_TAKE). */
  lookupAndDelete(key: Uint8Array): Uint8Array | null {
    this.#checkKey(key);
    const value = new Uint8Array(this.copiedValueSize);
    const result = bpf(this.kernel.sys, 'BPF_MAP_LOOKUP_AND_DELETE_ELEM', { map_fd: this.fd, key, value });
    if (isErrno(result, 'ENOENT')) return null;
    // ENOTSUPP, the kernel's own 524: before 5.14 queues and stacks alone could do it.
    if (result === -524) {
      throw new UnsupportedError({
        code: 'E_MAP_TAKE',
        what: 'this kernel takes no entry out of this type of map in one step',
        where: { map: this.name, type: this.typeName },
        why: 'hash types can from Linux 5.14 on',
        next: 'look it up and delete it, if nobody else writes to it meanwhile',
      });
    }
    this.check(result, 'BPF_MAP_LOOKUP_AND_DELETE_ELEM');
    return value;
  }

  /** Queue, stack: appends a value; `replaceOldest` makes room in a full one. A bloom filter: adds it. */
  push(value: Uint8Array, replaceOldest = false): void {
    this.#checkValue(value, this.valueSize);
    const flags = replaceOldest ? BPF_UPDATE.BPF_EXIST : BPF_UPDATE.BPF_ANY;
    this.check(bpf(this.kernel.sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: this.fd, value, flags }), 'BPF_MAP_UPDATE_ELEM');
  }

  /** Queue, stack: takes the next value out, null where it is empty. */
  pop(): Uint8Array | null {
    this.#needQueue();
    return this.#read('BPF_MAP_LOOKUP_AND_DELETE_ELEM', null, 0);
  }

  /** Queue, stack: the next value, left where it is; null where it is empty. */
  peek(): Uint8Array | null {
    this.#needQueue();
    return this.#read('BPF_MAP_LOOKUP_ELEM', null, 0);
  }

  /** Bloom filter: whether a value may have been pushed. */
  mayContain(value: Uint8Array): boolean {
    this.#checkValue(value, this.valueSize);
    // The kernel reads the value from the buffer it would otherwise write to (bloom_map_peek_elem).
    const result = bpf(this.kernel.sys, 'BPF_MAP_LOOKUP_ELEM', { map_fd: this.fd, value: value.slice() });
    if (isErrno(result, 'ENOENT')) return false;
    this.check(result, 'BPF_MAP_LOOKUP_ELEM');
    return true;
  }

  /** The key after `key` in the kernel's order, the first for null; null after the last. */
  nextKey(key: Uint8Array | null): Uint8Array | null {
    if (key !== null) this.#checkKey(key);
    const next = new Uint8Array(this.keySize);
    const result = bpf(this.kernel.sys, 'BPF_MAP_GET_NEXT_KEY', { map_fd: this.fd, key, next_key: next });
    if (isErrno(result, 'ENOENT')) return null;
    this.check(result, 'BPF_MAP_GET_NEXT_KEY');
    return next;
  }

  /**
   * Every key. The map may change meanwhile: a key that stays is given exactly once, one that comes or goes at most once.
   */
  keys(): Generator<Uint8Array> {
    return iterateKeys(this);
  }

  /** Every key with its value, as {@link keys} and {@link lookup} give them. */
  entries(): Generator<[key: Uint8Array, value: Uint8Array]> {
    return iterateEntries(this);
  }

  [Symbol.iterator](): Generator<[key: Uint8Array, value: Uint8Array]> {
    return this.entries();
  }

  /** Deletes every key (for queues: takes every value out). */
  clear(): void {
    if (isQueue(this.type)) {
      while (this.pop() !== null);
      return;
    }
    for (const key of this.keys()) this.delete(key);
  }

  /** From now on no syscall can change the map; programs still can, unless it is BPF_F_RDONLY_PROG. */
  freeze(): void {
    this.check(bpf(this.kernel.sys, 'BPF_MAP_FREEZE', { map_fd: this.fd }), 'BPF_MAP_FREEZE');
  }

  /** The map's memory in this process: arrays made with BPF_F_MMAPABLE, and arenas. */
  mmap(options: { readonly writable?: boolean } = {}): MappedMap {
    if (this.type !== BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA) return mapMemory(this, options.writable ?? true);
    // The first mapping fixes an arena's address for good, so there is one, kept until the map is closed.
    if (this.#arena === null || this.#arena.closed) this.#arena = mapMemory(this, true);
    return this.#arena;
  }

  /** What the kernel says about the map now. */
  info(): MapInfo {
    return mapInfo(this.kernel.sys, this.fd);
  }

  /** The same map with JavaScript keys and values; throws E_MAP_UNTYPED where the types are not known. */
  get typed(): TypedMap {
    this.#typed ??= new TypedMap(this);
    return this.#typed;
  }

  /** Makes the map last beyond this process under a path in a BPF file system. */
  pin(path: string): void {
    pinObject(this.kernel, this.fd, path);
  }

  /** Lets go of the map; the kernel frees it when no program, link or pin holds it either. */
  close(): void {
    this.#arena?.close();
    this.#owned.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Throws a SyscallError that names the map; for the helpers of this folder. */
  check(result: number, command: BpfCommand): number {
    if (result < 0) throw bpfError(this.kernel.sys, command, result, { where: { map: this.name, type: this.typeName } });
    return result;
  }

  #read(command: BpfCommand, key: Uint8Array | null, flags: number): Uint8Array | null {
    const value = new Uint8Array(this.copiedValueSize);
    const result = bpf(this.kernel.sys, command, { map_fd: this.fd, key, value, flags });
    if (isErrno(result, 'ENOENT')) return null;
    this.check(result, command);
    return value;
  }

  #write(key: Uint8Array, value: Uint8Array, options: UpdateOptions): void {
    const flags = updateFlags(options);
    this.check(bpf(this.kernel.sys, 'BPF_MAP_UPDATE_ELEM', { map_fd: this.fd, key, value, flags }), 'BPF_MAP_UPDATE_ELEM');
  }

  #inputSize(): number {
    return isPerCpu(this.type) ? this.copiedValueSize : this.valueSize;
  }

  #checkKey(key: Uint8Array): void {
    // The kernel copies key_size bytes from the address it is given, however short the buffer is.
    if (key.length !== this.keySize) {
      throw this.#usage('E_MAP_KEY', 'wrong key size', `${key.length} bytes were given, the map's keys have ${this.keySize}`);
    }
  }

  #checkValue(value: Uint8Array, size: number): void {
    if (value.length !== size) {
      throw this.#usage('E_MAP_VALUE', 'wrong value size', `${value.length} bytes were given, the map's values have ${size}`);
    }
  }

  #needPerCpu(): void {
    if (!isPerCpu(this.type)) throw this.#usage('E_MAP_TYPE', 'not a per-CPU map', `it is ${this.typeName}`);
  }

  #needQueue(): void {
    if (!isQueue(this.type)) throw this.#usage('E_MAP_TYPE', 'only queues and stacks can do this', `it is ${this.typeName}`);
  }

  #usage(code: string, what: string, why: string): UsageError {
    return new UsageError({ code, what, where: { map: this.name }, why });
  }
}

function updateFlags(options: UpdateOptions): number {
  const mode = { any: BPF_UPDATE.BPF_ANY, create: BPF_UPDATE.BPF_NOEXIST, update: BPF_UPDATE.BPF_EXIST }[options.mode ?? 'any'];
  return mode | (options.lock === true ? BPF_UPDATE.BPF_F_LOCK : 0);
}
