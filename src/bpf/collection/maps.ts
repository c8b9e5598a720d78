import { UnsupportedError, UsageError } from '../../error.ts';
import { SyscallError } from '../../sys/errno.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { createSpecMap, fitEntries } from '../map/create.ts';
import type { MapShape } from '../map/shape.ts';
import { BpfMap } from '../map/map.ts';
import { mapInfo } from '../map/info.ts';
import type { LinkSession } from '../object/link/session.ts';
import type { MapSpec, ObjectSpec } from '../object/spec.ts';
import { openPin, unpin } from '../pin.ts';
import type { LoadedBtf } from '../program/btf.ts';
import { BPF_F } from '../uapi/flags.gen.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { nameOf } from '../uapi/names.ts';
import type { UndoList } from '../undo.ts';
import { type LoadOptions, own } from './options.ts';

/** What making the maps of one object needs. */
export interface MapWorld {
  readonly kernel: Kernel;
  readonly spec: ObjectSpec;
  readonly options: LoadOptions;
  readonly session: LinkSession;
  readonly btf: LoadedBtf | null;
  readonly undo: UndoList;
  /** For maps of {@link LoadOptions.exclusiveMaps}, by name. */
  readonly exclusiveHashes?: ReadonlyMap<string, Uint8Array>;
}

const zeroKey: Uint8Array = new Uint8Array(4);

/**
 * Makes, fills, freezes and pins the maps of an object, by their names in it. Whoever finds a pinned map finds it filled: maps
 * of maps are pinned once the others are there and their slots are set.
 */
export function createMaps(world: MapWorld): Map<string, BpfMap> {
  const maps = new Map<string, BpfMap>();
  const outer: OwnMap[] = [];
  for (const spec of world.spec.maps) {
    if (!spec.autocreate) continue;
    const { map, own: made } = obtainMap(world, spec);
    maps.set(spec.name, made !== null && !hasInnerSlots(spec) ? pinOwn(world, made) : map);
    // What somebody else has made holds what they put into it.
    if (made !== null && hasInnerSlots(spec)) outer.push(made);
  }
  for (const made of outer) {
    for (const slot of made.spec.slots) {
      const inner = slot.kind === 'map' ? maps.get(slot.name) : undefined;
      if (inner !== undefined) made.map.update(u32(slot.index), u32(inner.fd));
    }
    maps.set(made.spec.name, pinOwn(world, made));
  }
  return maps;
}

function hasInnerSlots(spec: MapSpec): boolean {
  return spec.slots.some(({ kind }) => kind === 'map');
}

/** Puts programs into the prog arrays' slots that the object fills itself. */
export function fillProgramSlots(spec: ObjectSpec, maps: ReadonlyMap<string, BpfMap>, programFd: (name: string) => number | null): void {
  for (const map of spec.maps) {
    const array = maps.get(map.name);
    if (array === undefined) continue;
    for (const slot of map.slots) {
      if (slot.kind !== 'program') continue;
      const fd = programFd(slot.name);
      if (fd === null) {
        throw new UnsupportedError({
          code: 'E_PROG_SLOT',
          what: 'a slot of a prog array has no program',
          where: { map: map.name, slot: slot.index, program: slot.name },
          why: 'the program is not loaded',
        });
      }
      array.update(u32(slot.index), u32(fd));
    }
  }
}

/** A map that we made, which is not pinned yet. */
interface OwnMap {
  readonly spec: MapSpec;
  readonly map: BpfMap;
  /** Null where it is not to be pinned. */
  readonly pinPath: string | null;
}

/** The caller's map, the pinned one, or a new one, which `own` tells of. */
function obtainMap(world: MapWorld, spec: MapSpec): { readonly map: BpfMap; readonly own: OwnMap | null } {
  const { kernel, options } = world;
  const given = own(options.replaceMaps, spec.name);
  if (given !== undefined) {
    checkShape(kernel, spec, given, given.name);
    told(kernel, given, 'replaced');
    return { map: given, own: null };
  }
  const pinPath = pinPathOf(spec, options);
  const pinned = pinPath === null ? null : reusePinned(world, spec, pinPath);
  if (pinned !== null) return { map: pinned, own: null };
  const map = world.undo.own(createOwn(world, spec));
  fillMap(world, spec, map);
  return { map, own: { spec, map, pinPath } };
}

/** Pins a map where it is to be pinned; returns what counts from now on. */
function pinOwn(world: MapWorld, { spec, map, pinPath }: OwnMap): BpfMap {
  if (pinPath === null) return map;
  try {
    map.pin(pinPath);
    world.undo.add(() => unpin(pinPath));
    return map;
  } catch (error) {
    // Somebody pinned it between our look and our pin: theirs counts.
    const theirs = error instanceof SyscallError && error.errnoName === 'EEXIST' ? reusePinned(world, spec, pinPath) : null;
    if (theirs === null) throw error;
    map.close();
    return theirs;
  }
}

function createOwn(world: MapWorld, spec: MapSpec): BpfMap {
  const { kernel, session, options } = world;
  const objectBtf = world.spec.btf === null || world.btf === null ? null : { btf: world.spec.btf, fd: world.btf.fd };
  const structOps = session.structOps.find(({ map }) => map === spec.name);
  if (structOps !== undefined) {
    const moduleFd = structOps.module === '' ? -1 : moduleBtfFd(kernel, structOps.module);
    const sized = { ...spec, valueSize: structOps.valueSize };
    return createSpecMap(kernel, sized, { btf: objectBtf, kernelValueType: { typeId: structOps.valueTypeId, moduleFd } });
  }
  const asPerfArray =
    spec.type === BPF_MAP_TYPE.BPF_MAP_TYPE_RINGBUF && options.tracerMaps?.includes(spec.name) === true && !kernel.ringbuf;
  // Types are given to users even where the kernel has not taken them.
  const btf = objectBtf ?? (world.spec.btf === null ? null : { btf: world.spec.btf, fd: -1 });
  const exclusiveHash = world.exclusiveHashes?.get(spec.name) ?? null;
  return createSpecMap(kernel, options.sizeUnsized === true ? sizedSpec(spec) : spec, { btf, asPerfArray, exclusiveHash });
}

/** The descriptor of a module's BTF. */
export function moduleBtfFd(kernel: Kernel, name: string): number {
  const found = kernel.moduleBtfs().find((module) => module.name === name);
  if (found === undefined) throw new UsageError({ code: 'E_MODULE', what: 'this kernel module is not loaded', where: { module: name } });
  return found.fd;
}

/** Types whose max_entries has to be 0, or may be. */
const sizeless = new Set<number>([
  BPF_MAP_TYPE.BPF_MAP_TYPE_PERF_EVENT_ARRAY,
  BPF_MAP_TYPE.BPF_MAP_TYPE_SK_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_INODE_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_TASK_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_CGRP_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_STRUCT_OPS,
]);

function sizedSpec(spec: MapSpec): MapSpec {
  const isStacks = spec.type === BPF_MAP_TYPE.BPF_MAP_TYPE_STACK_TRACE;
  return {
    ...spec,
    maxEntries: spec.maxEntries === 0 && !sizeless.has(spec.type) ? 1 : spec.maxEntries,
    // PERF_MAX_STACK_DEPTH addresses.
    valueSize: isStacks && spec.valueSize === 0 ? 127 * 8 : spec.valueSize,
    keySize: isStacks && spec.keySize === 0 ? 4 : spec.keySize,
    inner: spec.inner === null ? null : sizedSpec(spec.inner),
  };
}

function fillMap(world: MapWorld, spec: MapSpec, map: BpfMap): void {
  if (map.type === BPF_MAP_TYPE.BPF_MAP_TYPE_ARENA) {
    // The verifier wants to know where the arena lies, whether or not it has contents.
    const { bytes } = map.mmap();
    if (spec.data === null) return;
    const { arenaOffset } = world.session;
    if (arenaOffset < 0 || arenaOffset + spec.data.length > bytes.length) {
      throw new UsageError({
        code: 'E_ARENA',
        what: 'the arena is too small for its globals',
        where: { map: spec.name },
        why: `they have ${spec.data.length} bytes, the arena ${bytes.length}`,
        next: 'make max_entries, which counts pages, larger',
      });
    }
    bytes.set(spec.data, arenaOffset);
    return;
  }
  if (spec.data === null || spec.origin === 'struct_ops') return;
  map.update(zeroKey, spec.data);
  const frozen = (spec.flags & BPF_F.BPF_F_RDONLY_PROG) !== 0;
  // The verifier takes values as constants only of maps that nobody can change any more.
  if (frozen) map.freeze();
  world.kernel.trace({ step: 'map_contents', name: spec.name, bytes: spec.data.length, frozen });
}

function pinPathOf(spec: MapSpec, options: LoadOptions): string | null {
  if (spec.pinning === 0 || options.pinRoot === null) return null;
  if (spec.name.includes('/') || spec.name === '.' || spec.name === '..') {
    throw new UsageError({ code: 'E_PIN_PATH', what: 'the name of a map leads out of the pin folder', where: { map: spec.name } });
  }
  return `${options.pinRoot ?? '/sys/fs/bpf'}/${spec.name}`;
}

function reusePinned(world: MapWorld, spec: MapSpec, path: string): BpfMap | null {
  const { kernel } = world;
  const fd = openPin(kernel, path);
  if (fd === null) return null;
  const types = world.spec.btf === null ? null : { btf: world.spec.btf, keyTypeId: spec.keyTypeId, valueTypeId: spec.valueTypeId };
  const map = world.undo.own(new BpfMap(kernel, fd, { ...shapeOf(kernel, fd), name: spec.libbpfName }, types));
  checkShape(kernel, spec, map, path);
  told(kernel, map, 'pinned');
  return map;
}

function shapeOf(kernel: Kernel, fd: number): MapShape {
  return mapInfo(kernel.sys, fd);
}

/** Throws E_MAP_MISMATCH naming each parameter in which a map differs from what the object declares. */
function checkShape(kernel: Kernel, spec: MapSpec, map: MapShape, found: string): void {
  const isDevmap = spec.type === BPF_MAP_TYPE.BPF_MAP_TYPE_DEVMAP || spec.type === BPF_MAP_TYPE.BPF_MAP_TYPE_DEVMAP_HASH;
  // The kernel adds BPF_F_RDONLY_PROG to device maps by itself.
  const flags = isDevmap ? map.flags & ~BPF_F.BPF_F_RDONLY_PROG : map.flags;
  const rows: readonly (readonly [string, number | bigint, number | bigint])[] = [
    ['type', spec.type, map.type],
    ['key_size', spec.keySize, map.keySize],
    ['value_size', spec.valueSize, map.valueSize],
    ['max_entries', fitEntries(kernel, spec.type, spec.maxEntries), map.maxEntries],
    ['map_flags', spec.flags, flags],
    ['map_extra', spec.mapExtra, map.mapExtra],
  ];
  const wrong = rows
    .filter(([, wanted, has]) => wanted !== has)
    .map(([field, wanted, has]) => `${field} is ${valueText(field, has)}, the object wants ${valueText(field, wanted)}`);
  if (wrong.length === 0) return;
  throw new UsageError({
    code: 'E_MAP_MISMATCH',
    what: 'another map does not fit in the place of the object’s',
    where: { map: spec.name, found },
    why: wrong.join('; '),
    next: 'remove the old pin, or give a map of the same shape',
  });
}

function valueText(field: string, value: number | bigint): string {
  return field === 'type' ? (nameOf(BPF_MAP_TYPE, Number(value)) ?? String(value)) : String(value);
}

function told(kernel: Kernel, map: BpfMap, from: 'replaced' | 'pinned'): void {
  const { name, type, keySize, valueSize, maxEntries, flags, fd } = map;
  kernel.trace({ step: 'map', name, type, keySize, valueSize, maxEntries, flags, fd, from });
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}
