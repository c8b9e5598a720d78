import { struct, type StructLayout } from '../../../bytes/struct.ts';
import { UnsupportedError, UsageError } from '../../../error.ts';
import type { BpfMap } from '../../map/map.ts';
import type { BpfProgram } from '../../program/program.ts';
import type { UsdtArg } from './arg.ts';

/** The maps of <bpf/usdt.bpf.h>. */
export const specsMap = '__bpf_usdt_specs';
const ipMap = '__bpf_usdt_ip_to_spec_id';

/** BPF_USDT_MAX_ARG_CNT */
const maxArgs = 12;

/** One form of struct __bpf_usdt_spec: an array of arguments, the user's cookie, the number of arguments. */
export interface SpecLayout {
  /** struct __bpf_usdt_arg_spec; `idx_reg_off` holds `scale_bitshift` in its upper 4 bits. */
  readonly arg: StructLayout;
  readonly argSize: number;
  /** Bytes of the whole: by these its map is known. */
  readonly size: number;
  /** Whether an argument may be in memory at two registers. */
  readonly indexed: boolean;
}

/** <bpf/usdt.bpf.h> until libbpf 1.6, and since 1.7: clang puts a bit field of 12 after one of 8 into the next 16 bits. */
const layouts: readonly SpecLayout[] = [
  {
    arg: struct('__bpf_usdt_arg_spec', [
      ['val_off', 'u64', 0],
      ['arg_type', 'u32', 8],
      ['reg_off', 'u16', 12],
      ['arg_signed', 'u8', 14],
      ['arg_bitshift', 'u8', 15],
    ]),
    argSize: 16,
    size: maxArgs * 16 + 16,
    indexed: false,
  },
  {
    arg: struct('__bpf_usdt_arg_spec', [
      ['val_off', 'u64', 0],
      ['arg_type', 'u8', 8],
      ['idx_reg_off', 'u16', 10],
      ['reg_off', 'u16', 14],
      ['arg_signed', 'u8', 16],
      ['arg_bitshift', 'u8', 17],
    ]),
    argSize: 24,
    size: maxArgs * 24 + 16,
    indexed: true,
  },
];
/** enum __bpf_usdt_arg_type */
const argTypes = { const: 0, register: 1, memory: 2, indexed: 3 } as const;

/** The layout whose struct __bpf_usdt_spec has this many bytes; null where none has. */
export function specLayout(size: number): SpecLayout | null {
  return layouts.find((layout) => layout.size === size) ?? null;
}

/** Bytes of a struct __bpf_usdt_spec: what bpf_usdt_arg() and bpf_usdt_cookie() read at a probe. */
export function encodeSpec(layout: SpecLayout, args: readonly UsdtArg[], cookie: bigint): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  for (const [i, { size, signed, place }] of args.entries()) {
    const at = bytes.subarray(i * layout.argSize, (i + 1) * layout.argSize);
    const values = {
      val_off: place.kind === 'const' ? place.value : place.kind === 'register' ? 0n : place.offset,
      arg_type: argTypes[place.kind],
      reg_off: place.kind === 'const' ? 0 : place.register,
      arg_signed: signed ? 1 : 0,
      arg_bitshift: 64 - size * 8,
      ...(place.kind === 'indexed' ? { idx_reg_off: place.index | (place.shift << 12) } : {}),
    };
    layout.arg.encode(values, undefined, at);
  }
  const tail = new DataView(bytes.buffer, maxArgs * layout.argSize);
  tail.setBigUint64(0, BigInt.asUintN(64, cookie), true);
  tail.setInt16(8, args.length, true);
  return bytes;
}

/** The places in an object's map that say how to read the arguments of each probe; links take and return them. */
export class UsdtSpecs {
  readonly #specs: BpfMap;
  readonly #layout: SpecLayout;
  readonly #ips: BpfMap | null;
  readonly #free: number[] = [];
  #next = 0;

  constructor(specs: BpfMap, layout: SpecLayout, ips: BpfMap | null) {
    this.#specs = specs;
    this.#layout = layout;
    this.#ips = ips;
  }

  /** Writes how arguments are read; returns the number that the program finds it under. */
  take(args: readonly UsdtArg[], cookie: bigint): number {
    this.#check(args);
    const id = this.#free.pop() ?? this.#next++;
    if (id >= this.#specs.maxEntries) {
      this.#next--;
      throw new UsageError({
        code: 'E_USDT_FULL',
        what: 'there is no room for another USDT probe',
        where: { map: specsMap, entries: this.#specs.maxEntries },
        next: 'compile with a larger BPF_USDT_MAX_SPEC_CNT',
      });
    }
    try {
      this.#specs.update(key32(id), encodeSpec(this.#layout, args, cookie));
    } catch (error) {
      this.giveBack(id);
      throw error;
    }
    return id;
  }

  giveBack(id: number): void {
    this.#free.push(id);
  }

  /** For kernels without attach cookies: the program finds its specification by the address it stopped at. */
  bindAddress(address: bigint, id: number): void {
    this.#ips?.update(key64(address), key32(id));
  }

  unbindAddress(address: bigint): void {
    if (this.#ips?.closed === false) this.#ips.delete(key64(address));
  }

  #check(args: readonly UsdtArg[]): void {
    if (args.length > maxArgs) {
      throw new UnsupportedError({ code: 'E_USDT_ARG', what: `a USDT probe has ${args.length} arguments; at most ${maxArgs} can be read` });
    }
    if (this.#layout.indexed || !args.some(({ place }) => place.kind === 'indexed')) return;
    throw new UnsupportedError({
      code: 'E_USDT_ARG',
      what: 'an argument of a USDT probe cannot be read',
      why: 'it is in memory at two registers, which the usdt.bpf.h that the object was compiled with does not know',
      next: 'compile it with usdt.bpf.h of libbpf 1.7 or newer',
    });
  }
}

/** By the map: collections that share it share the places in it. */
const byMap = new WeakMap<BpfMap, UsdtSpecs>();
const byProgram = new WeakMap<BpfProgram, UsdtSpecs>();

/** Tells the programs of an object which maps their USDT probes are described in. */
export function rememberUsdtMaps(maps: ReadonlyMap<string, BpfMap>, programs: Iterable<BpfProgram>): void {
  const map = maps.get(specsMap);
  if (map === undefined) return;
  const layout = specLayout(map.valueSize);
  if (layout === null) {
    const sizes = layouts.map(({ size }) => size).join(' or ');
    const why = `its values have ${map.valueSize} bytes; struct __bpf_usdt_spec has ${sizes}`;
    throw new UnsupportedError({ code: 'E_USDT_MAPS', what: `${specsMap} is not the map of usdt.bpf.h`, why });
  }
  const specs = byMap.get(map) ?? new UsdtSpecs(map, layout, maps.get(ipMap) ?? null);
  byMap.set(map, specs);
  for (const program of programs) byProgram.set(program, specs);
}

/** Where a program's probes are described; null for one that reads no arguments. */
export function usdtSpecsOf(program: BpfProgram): UsdtSpecs | null {
  const uses = program.linked?.fixups.some((fixup) => fixup.kind === 'map_fd' && fixup.map === specsMap) ?? false;
  return uses ? (byProgram.get(program) ?? null) : null;
}

const key32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);
const key64 = (value: bigint): Uint8Array => new Uint8Array(new BigUint64Array([value]).buffer);
