import { UsageError } from '../../error.ts';
import type { Btf } from '../../btf/btf.ts';
import { buildDecoder, type Decoder } from '../../btf/value/decoder.ts';
import type { MappedMap } from '../map/memory.ts';
import type { BpfMap } from '../map/map.ts';
import type { ObjectSpec, VariableSpec } from '../object/spec.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { variableBytes } from './options.ts';

/** The memory of the data maps of one collection, mapped when a variable is first touched. */
export class VariableMemory {
  readonly #maps: ReadonlyMap<string, BpfMap>;
  readonly #mapped = new Map<string, MappedMap>();

  constructor(maps: ReadonlyMap<string, BpfMap>) {
    this.#maps = maps;
  }

  /** The live bytes of a data map; null where it cannot be mapped, so that it has to be read and written by calls. */
  bytes(name: string): Uint8Array | null {
    const map = this.map(name);
    if ((map.flags & BPF_F.BPF_F_MMAPABLE) === 0) return null;
    let mapped = this.#mapped.get(name);
    if (mapped === undefined) {
      mapped = map.mmap({ writable: isWritable(map) });
      this.#mapped.set(name, mapped);
    }
    return mapped.bytes;
  }

  map(name: string): BpfMap {
    const map = this.#maps.get(name);
    if (map === undefined)
      throw new UsageError({ code: 'E_VARIABLE', what: 'the map of this variable was not created', where: { map: name } });
    return map;
  }

  close(): void {
    for (const mapped of this.#mapped.values()) mapped.close();
    this.#mapped.clear();
  }
}

/** A frozen or program-read-only map refuses a writable mapping. */
function isWritable(map: BpfMap): boolean {
  return (map.flags & BPF_F.BPF_F_RDONLY_PROG) === 0;
}

/**
 * A global variable of a loaded object, read and written while its programs run.
 *
 * @example
 * import type { Collection } from 'rawbpf';
 * export function dropped(collection: Collection): unknown {
 *   return collection.variable('dropped').get();
 * }
 */
export class BpfVariable {
  readonly name: string;
  readonly spec: VariableSpec;
  readonly #btf: Btf | null;
  readonly #memory: VariableMemory;
  #decoder: Decoder | null = null;

  constructor(object: ObjectSpec, spec: VariableSpec, memory: VariableMemory) {
    this.name = spec.name;
    this.spec = spec;
    this.#btf = object.btf;
    this.#memory = memory;
  }

  /** Whether {@link set} can work: `.rodata` is fixed once loaded. */
  get writable(): boolean {
    return isWritable(this.#memory.map(this.spec.map));
  }

  /** A copy of its bytes as they are now. */
  bytes(): Uint8Array {
    const { offset, size, map } = this.spec;
    const whole = this.#memory.bytes(map) ?? this.#lookup();
    return whole.slice(offset, offset + size);
  }

  /** Its value as JavaScript: a number, bigint, text, object... by its BTF type; its bytes where it has none. */
  get(): unknown {
    const bytes = this.bytes();
    if (this.#btf === null || this.spec.typeId === 0) return bytes;
    this.#decoder ??= buildDecoder(this.#btf, this.spec.typeId);
    return this.#decoder.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
  }

  /** Sets it; throws E_VARIABLE_READONLY for `.rodata`. Where the map is not mapped, concurrent changes of its other variables may be lost. */
  set(value: unknown): void {
    const map = this.#memory.map(this.spec.map);
    if (!isWritable(map)) {
      throw new UsageError({
        code: 'E_VARIABLE_READONLY',
        what: 'this variable can only be set before loading',
        where: { variable: this.name, map: this.spec.map },
      });
    }
    const bytes = variableBytes(this.#btf, this.spec, value);
    const live = this.#memory.bytes(this.spec.map);
    if (live !== null) {
      live.set(bytes, this.spec.offset);
      return;
    }
    const whole = this.#lookup();
    whole.set(bytes, this.spec.offset);
    map.update(new Uint8Array(4), whole);
  }

  #lookup(): Uint8Array {
    const map = this.#memory.map(this.spec.map);
    return map.lookup(new Uint8Array(4)) ?? new Uint8Array(map.valueSize);
  }
}
