import { UsageError } from '../../error.ts';
import type { Btf } from '../../btf/btf.ts';
import { buildDecoder, type Decoder } from '../../btf/value/decoder.ts';
import { encodeValue } from '../../btf/value/encode.ts';
import { sizeOfType } from '../../btf/value/resolve.ts';
import type { BpfMap, UpdateOptions } from './map.ts';
import { perCpuStride } from './shape.ts';

/** Turns the bytes of one BTF type into a JavaScript value and back. */
export class ValueCodec {
  readonly btf: Btf;
  readonly typeId: number;
  /** Bytes. */
  readonly size: number;
  readonly #decoder: Decoder;

  constructor(btf: Btf, typeId: number) {
    this.btf = btf;
    this.typeId = typeId;
    this.size = sizeOfType(btf, typeId);
    this.#decoder = buildDecoder(btf, typeId);
  }

  decode(bytes: Uint8Array): unknown {
    return this.#decoder.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0, bytes.length);
  }

  encode(value: unknown): Uint8Array {
    return encodeValue(this.btf, this.typeId, value);
  }
}

/**
 * A map's keys and values as JavaScript values, by the types in the object's BTF: numbers, bigints for 64 bits, objects for
 * structs, text for char arrays; a per-CPU map's value is an array with one element for each possible CPU.
 *
 * @example
 * import type { BpfMap } from 'rawbpf';
 * export function topTen(map: BpfMap): [unknown, unknown][] {
 *   return [...map.typed.entries()].slice(0, 10);
 * }
 */
export class TypedMap {
  readonly map: BpfMap;
  /** Null for maps without keys. */
  readonly key: ValueCodec | null;
  readonly value: ValueCodec;

  constructor(map: BpfMap) {
    const types = map.types;
    if (types === null || types.valueTypeId === 0 || (map.keySize > 0 && types.keyTypeId === 0)) {
      throw new UsageError({
        code: 'E_MAP_UNTYPED',
        what: 'the types of this map are not known',
        where: { map: map.name },
        next: 'use the bytes, or declare the map with __type(key, ...) and __type(value, ...)',
      });
    }
    this.map = map;
    this.key = map.keySize === 0 ? null : new ValueCodec(types.btf, types.keyTypeId);
    this.value = new ValueCodec(types.btf, types.valueTypeId);
  }

  /** The value of a key, undefined where there is none. */
  get(key: unknown): unknown {
    const bytes = this.map.lookup(this.#key(key));
    return bytes === null ? undefined : this.#decode(bytes);
  }

  has(key: unknown): boolean {
    return this.map.has(this.#key(key));
  }

  /** Sets a value; of a per-CPU map an array for all possible CPUs. */
  set(key: unknown, value: unknown, options: UpdateOptions = {}): void {
    const bytes = this.#key(key);
    if (!this.map.perCpu) {
      this.map.update(bytes, this.value.encode(value), options);
      return;
    }
    const values = Array.isArray(value) ? value.map((one) => this.value.encode(one)) : this.value.encode(value);
    this.map.updatePerCpu(bytes, values, options);
  }

  /** Deletes a key; false where there was none. */
  delete(key: unknown): boolean {
    return this.map.delete(this.#key(key));
  }

  /** Takes a key out and returns its value, undefined where there was none. */
  take(key: unknown): unknown {
    const bytes = this.map.lookupAndDelete(this.#key(key));
    return bytes === null ? undefined : this.#decode(bytes);
  }

  /** Queue, stack: appends a value. */
  push(value: unknown): void {
    this.map.push(this.value.encode(value));
  }

  /** Queue, stack: takes the next value, undefined where it is empty. */
  pop(): unknown {
    const bytes = this.map.pop();
    return bytes === null ? undefined : this.#decode(bytes);
  }

  *keys(): Generator {
    for (const key of this.map.keys()) yield this.key?.decode(key);
  }

  *entries(): Generator<[key: unknown, value: unknown]> {
    for (const [key, value] of this.map.entries()) yield [this.key?.decode(key), this.#decode(value)];
  }

  *values(): Generator {
    for (const [, value] of this.map.entries()) yield this.#decode(value);
  }

  [Symbol.iterator](): Generator<[key: unknown, value: unknown]> {
    return this.entries();
  }

  #key(key: unknown): Uint8Array {
    return this.key === null ? new Uint8Array(0) : this.key.encode(key);
  }

  #decode(bytes: Uint8Array): unknown {
    if (!this.map.perCpu) return this.value.decode(bytes);
    const stride = perCpuStride(this.map.valueSize);
    return Array.from({ length: bytes.length / stride }, (_, cpu) =>
      this.value.decode(bytes.subarray(cpu * stride, cpu * stride + this.map.valueSize)),
    );
  }
}
