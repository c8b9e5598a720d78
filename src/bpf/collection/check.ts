import type { Btf } from '../../btf/btf.ts';
import { CoreError } from '../../btf/core/error.ts';
import { RawbpfError } from '../../error.ts';
import { withoutFds } from '../insn/insn.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { attachProgram } from '../link/attach.ts';
import { fitEntries } from '../map/create.ts';
import { refusesBtf } from '../map/shape.ts';
import { LinkError } from '../object/link/error.ts';
import { LinkSession } from '../object/link/session.ts';
import type { LinkedProgram } from '../object/linked.ts';
import type { MapSpec, ObjectSpec, ProgramSpec } from '../object/spec.ts';
import type { LoadedBtf } from '../program/btf.ts';
import { programTag } from '../program/info.ts';
import type { BpfProgram } from '../program/program.ts';
import { BPF_ATTACH_TYPE } from '../uapi/attach-type.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import { BPF_PROG_TYPE } from '../uapi/prog-type.gen.ts';
import { UndoList } from '../undo.ts';
import { SyscallError } from '../../sys/errno.ts';
import type { Collection } from './collection.ts';
import { checkByteOrder, loadCollection, loadCollectionAsync, loadObjectBtf, loadOne, openSession } from './load.ts';
import { createMaps, fillProgramSlots, type MapWorld } from './maps.ts';
import { type LoadOptions, prepareSpec } from './options.ts';

/** How one program fared. */
export interface ProgramVerdict {
  readonly name: string;
  readonly section: string;
  /** The kernel's name: `BPF_PROG_TYPE_TRACEPOINT`. */
  readonly type: string;
  /** The kernel's name; null where the section sets none. */
  readonly attachType: string | null;
  /** expected_attach_type of BPF_PROG_LOAD: 0 where nothing sets one, of a struct_ops program the member's index. */
  readonly expectedAttachType: number;
  /** After subprograms are joined. */
  readonly insnCount: number;
  /** With the whole object, or alone. */
  readonly loaded: boolean;
  /** The kernel's hash over its instructions, null where it did not load. */
  readonly tag: string | null;
  /** Null where it was not asked for, or the section says nothing to attach to. */
  readonly attached: boolean | null;
  readonly error: RawbpfError | null;
  /** Instructions after all relocation, map and BTF descriptors zero; null where that failed. */
  readonly insns: Uint8Array | null;
}

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

export interface TryOptions {
  /** Also attaches each program whose section says where, and lets go again. */
  readonly attach?: boolean;
  /** Layouts of structs that no kernel has, as whoever loads the object would give them. */
  readonly extraBtfs?: readonly Btf[];
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

function optionsToLoad(spec: ObjectSpec, options: TryOptions): LoadOptions {
  return { pinRoot: null, sizeUnsized: !spec.strict, extraBtfs: options.extraBtfs ?? [] };
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
  const loadOptions = optionsToLoad(spec, options);
  for (const program of spec.programs) {
    if (!verdicts.has(program)) verdicts.set(program, tryAlone(kernel, spec, program, loadOptions, options));
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

function tryAlone(kernel: Kernel, spec: ObjectSpec, program: ProgramSpec, loadOptions: LoadOptions, options: TryOptions): ProgramVerdict {
  const undo = new UndoList();
  let linked: LinkedProgram | null = null;
  try {
    checkByteOrder(spec);
    const prepared = prepareSpec(spec, { ...loadOptions, programs: (candidate) => candidate.name === program.name });
    const own = prepared.programs[spec.programs.indexOf(program)] as ProgramSpec;
    const session = openSession(kernel, prepared, [own], loadOptions.extraBtfs);
    const result = session.link(own);
    if (!result.ok) throw result.error;
    linked = result.program;
    if (spec.strict && session.error !== null) throw session.error;
    const btf: LoadedBtf | null = loadObjectBtf(kernel, session);
    if (btf !== null) undo.own(btf);
    const world: MapWorld = { kernel, spec: prepared, options: loadOptions, session, btf, undo };
    // As libbpf would, with all maps of the object and their slots.
    const maps = createMaps(world);
    const loaded = loadOne(world, maps, linked);
    fillProgramSlots(prepared, maps, (name) => (name === loaded.name ? loaded.fd : null));
    return loadedVerdict(program, loaded, options);
  } catch (caught) {
    return verdict(program, linked, {
      loaded: false,
      tag: null,
      attached: options.attach === true && attachable(program) ? false : null,
      error: known(caught),
    });
  } finally {
    undo.undo();
  }
}

function loadedVerdict(program: ProgramSpec, loaded: BpfProgram, options: TryOptions): ProgramVerdict {
  const { kernel } = loaded;
  const tag = programTag(kernel.sys, loaded.fd);
  let attached: boolean | null = null;
  let error: RawbpfError | null = null;
  if (options.attach === true) {
    try {
      const link = attachProgram(loaded);
      attached = link === null ? null : true;
      link?.close();
    } catch (caught) {
      attached = false;
      error = known(caught);
    }
  }
  return verdict(program, loaded.linked, { loaded: true, tag, attached, error });
}

function attachable(program: ProgramSpec): boolean {
  return program.section !== null && program.section.attach !== 'none' && program.attachTo !== null;
}

function verdict(
  program: ProgramSpec,
  linked: LinkedProgram | null,
  outcome: Pick<ProgramVerdict, 'loaded' | 'tag' | 'attached' | 'error'>,
): ProgramVerdict {
  const named = program.expectedAttachType;
  let insns: Uint8Array | null = null;
  return {
    name: program.name,
    section: program.sectionName,
    type: nameOf(BPF_PROG_TYPE, program.type) ?? `BPF_PROG_TYPE_${program.type}`,
    attachType: named === null ? null : (nameOf(BPF_ATTACH_TYPE, named) ?? String(named)),
    expectedAttachType: linked?.expectedAttachType ?? named ?? 0,
    insnCount: (linked?.insns ?? program.insns).length / 8,
    ...outcome,
    // Copied where somebody wants them.
    get insns() {
      return (insns ??= linked === null ? null : withoutFds(linked.insns));
    },
  };
}

/** A failure of the object's or the kernel's; anything else is a bug of ours and goes on. */
function known(error: unknown): RawbpfError {
  if (error instanceof RawbpfError) return error;
  throw error;
}
