import { CoreError } from '../../btf/core/error.ts';
import { RawbpfError } from '../../error.ts';
import { SyscallError } from '../../sys/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { fitEntries } from '../map/create.ts';
import { refusesBtf } from '../map/shape.ts';
import { LinkError } from '../object/link/error.ts';
import { LinkSession } from '../object/link/session.ts';
import type { MapSpec, ObjectSpec, ProgramSpec } from '../object/spec.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { Collection } from './collection.ts';
import { loadCollection, loadCollectionAsync } from './load.ts';
import { LonePrograms } from './lone-programs.ts';
import { known, loadedVerdict, optionsToLoad, type ProgramVerdict, type TryOptions } from './verdict.ts';

/** One map as it would be made. */
export interface MapVerdict {
  /** As libbpf's bpf_map__name() gives it. */
  readonly name: string;
  readonly type: string;
  readonly keySize: number;
  readonly valueSize: number;
  readonly maxEntries: number;
  readonly flags: number;
  readonly numaNode: number;
  readonly mapExtra: bigint;
  /** Whether it is pinned under its name (LIBBPF_PIN_BY_NAME). */
  readonly pinned: boolean;
  /** BTF ids in the object that the kernel is told; 0 where there is none. */
  readonly keyTypeId: number;
  readonly valueTypeId: number;
  /** Of a map of maps: what its inner maps are like; null where nothing says so. */
  readonly inner: MapVerdict | null;
}

/** How an object fared on this kernel. */
export interface ObjectVerdict {
  /** As a whole: every program that it wants loaded. */
  readonly loaded: boolean;
  /** Why not. */
  readonly error: RawbpfError | null;
  readonly programs: readonly ProgramVerdict[];
  readonly maps: readonly MapVerdict[];
}

/**
 * Tries an object on this kernel and lets go of it: as a whole, and where that fails, or for programs that it does not want
 * loaded, each program alone, linked anew as if no other were to load. Nothing is pinned and nothing stays.
 */
export function tryPrograms(kernel: Kernel, spec: ObjectSpec, options: TryOptions = {}): ObjectVerdict {
  let whole: Collection | RawbpfError;
  try {
    whole = loadCollection(kernel, spec, optionsToLoad(spec, options));
  } catch (caught) {
    whole = known(caught);
  }
  return verdictOf(kernel, spec, options, whole);
}

/** The same with the verifier at work on other threads. */
export async function tryProgramsAsync(kernel: Kernel, spec: ObjectSpec, options: TryOptions = {}): Promise<ObjectVerdict> {
  let whole: Collection | RawbpfError;
  try {
    whole = await loadCollectionAsync(kernel, spec, optionsToLoad(spec, options));
  } catch (caught) {
    whole = known(caught);
  }
  return verdictOf(kernel, spec, options, whole);
}

/** Lets go of the collection; `whole` is why there is none where there is none. */
function verdictOf(kernel: Kernel, spec: ObjectSpec, options: TryOptions, whole: Collection | RawbpfError): ObjectVerdict {
  const verdicts = new Map<ProgramSpec, ProgramVerdict>();
  let error: RawbpfError | null = null;
  if (whole instanceof RawbpfError) error = whole;
  else {
    try {
      for (const program of spec.programs) {
        const loaded = whole.programs.get(program.name);
        if (loaded !== undefined) verdicts.set(program, loadedVerdict(program, loaded, options));
      }
    } catch (caught) {
      error = known(caught);
      verdicts.clear();
    } finally {
      whole.close();
    }
  }
  const lone = new LonePrograms(kernel, spec, options);
  try {
    for (const program of spec.programs) {
      if (!verdicts.has(program)) verdicts.set(program, lone.try(program));
    }
  } finally {
    lone.close();
  }
  return {
    loaded: error === null,
    error,
    programs: spec.programs.map((program) => verdicts.get(program) as ProgramVerdict),
    maps: mapVerdicts(kernel, spec, error),
  };
}

/** Maps as they are made on this kernel: sizes left open are the kernel's, struct_ops are of its struct. */
function mapVerdicts(kernel: Kernel, spec: ObjectSpec, error: RawbpfError | null): MapVerdict[] {
  const hasStructOps = spec.maps.some(({ structOps }) => structOps !== null);
  const session = hasStructOps && (spec.littleEndian || !spec.strict) ? new LinkSession(spec, kernel.target(), { programs: [] }) : null;
  // Externs come first: where they cannot be found, libbpf has not looked for the kernel's structs yet.
  const sizes = session === null || (spec.strict && session.hasExternError) ? new Map<string, number>() : session.structOpsSizes;
  const reached = spec.strict ? mapsReached(spec, error) : spec.maps.length;
  return spec.maps.map((map, index) => {
    const verdict = { ...mapVerdict(kernel, map), valueSize: sizes.get(map.name) ?? map.valueSize };
    return index < reached ? verdict : { ...verdict, maxEntries: map.maxEntries };
  });
}

/** How many maps were about to be made when loading failed: libbpf sizes each just before. */
function mapsReached(spec: ObjectSpec, error: RawbpfError | null): number {
  if (error === null) return spec.maps.length;
  // Relocations come before maps, targets to attach to are looked for after them.
  const isRelocation = (error instanceof LinkError && error.code !== 'E_ATTACH_TARGET') || error instanceof CoreError;
  if (isRelocation || error.code === 'E_BYTE_ORDER') return 0;
  const failed =
    error instanceof SyscallError && error.syscall.includes('BPF_MAP_CREATE')
      ? spec.maps.findIndex(({ name }) => error.what === `cannot create map ${name}`)
      : -1;
  return failed === -1 ? spec.maps.length : failed + 1;
}

function mapVerdict(kernel: Kernel, map: MapSpec): MapVerdict {
  return {
    name: map.libbpfName,
    type: nameOf(BPF_MAP_TYPE, map.type) ?? `BPF_MAP_TYPE_${map.type}`,
    keySize: map.keySize,
    valueSize: map.valueSize,
    maxEntries: fitEntries(kernel, map.type, map.maxEntries),
    flags: map.flags,
    numaNode: map.numaNode,
    mapExtra: map.mapExtra,
    pinned: map.pinning !== 0,
    keyTypeId: refusesBtf(map.type) ? 0 : map.keyTypeId,
    valueTypeId: refusesBtf(map.type) ? 0 : map.valueTypeId,
    inner: map.inner === null ? null : mapVerdict(kernel, map.inner),
  };
}
