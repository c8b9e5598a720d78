import type { Btf } from '../../btf/btf.ts';
import { RawbpfError, UnsupportedError, UsageError } from '../../error.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { rememberUsdtMaps } from '../link/usdt/specs.ts';
import type { BpfMap } from '../map/map.ts';
import { LinkSession } from '../object/link/session.ts';
import type { LinkedProgram } from '../object/linked.ts';
import type { ObjectSpec, ProgramSpec } from '../object/spec.ts';
import { functionOfProgram } from '../program/attach-target.ts';
import { loadBtf, type LoadedBtf } from '../program/btf.ts';
import { programDigest } from '../program/digest.ts';
import { createJumpTables } from '../program/jump-table.ts';
import { loadProgram, type ProgramContext, type StartedLoad, startLoading } from '../program/load.ts';
import type { BpfProgram } from '../program/program.ts';
import { bpf } from '../../sys/bpf.ts';
import { closeFd } from '../../sys/file.ts';
import { BPF_MAP_TYPE } from '../uapi/map-type.gen.ts';
import { UndoList, undoOnError } from '../undo.ts';
import { Collection, type SkippedProgram } from './collection.ts';
import { createMaps, fillProgramSlots, type MapWorld, moduleBtfFd } from './maps.ts';
import { type LoadOptions, own, prepareSpec } from './options.ts';
import { StructOps } from './struct-ops.ts';

/**
 * Loads an object into the kernel: links its programs, makes and fills its maps, loads the programs, fills prog arrays. All
 * or nothing: where anything fails no map, program, pin or descriptor stays. The spec given is not changed and can be
 * loaded again.
 *
 * Throws LinkError where a program does not fit this kernel, VerifierError where the verifier refused one, SyscallError
 * where the kernel refused anything else, UsageError for options that name what is not there.
 *
 * @example
 * import { Kernel, loadCollection } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * import { readFileSync } from 'node:fs';
 * export function run(path: string, pid: number): void {
 *   const collection = loadCollection(new Kernel(), openObject(readFileSync(path)), { variables: { target_pid: pid } });
 *   try {
 *     collection.attach();
 *     console.log(collection.variable('count').get());
 *   } finally {
 *     collection.close();
 *   }
 * }
 */
export function loadCollection(kernel: Kernel, spec: ObjectSpec, options: LoadOptions = {}): Collection {
  const plan = planLoading(kernel, spec, options);
  return undoOnError((undo) => {
    const begun = beginLoading(plan, undo);
    try {
      return finishLoading(plan, begun, new Map());
    } finally {
      // Maps and programs hold it themselves from now on.
      begun.world.btf?.close();
    }
  });
}

/**
 * The same with the verifier at work on other threads: programs that do not depend on one another are verified at the same time.
 * What is made, told and thrown is the same, in the same order.
 *
 * @example
 * import { Kernel, loadCollectionAsync } from 'rawbpf';
 * import { openObject } from 'rawbpf/object';
 * import { readFileSync } from 'node:fs';
 * export async function run(path: string): Promise<void> {
 *   const collection = await loadCollectionAsync(new Kernel(), openObject(readFileSync(path)));
 *   try {
 *     collection.attach();
 *   } finally {
 *     collection.close();
 *   }
 * }
 */
export async function loadCollectionAsync(kernel: Kernel, spec: ObjectSpec, options: LoadOptions = {}): Promise<Collection> {
  const plan = planLoading(kernel, spec, options);
  const undo = new UndoList();
  let begun: Begun | null = null;
  try {
    begun = beginLoading(plan, undo);
    const started = await startPrograms(begun, plan.linked);
    const collection = finishLoading(plan, begun, started);
    undo.keep();
    return collection;
  } catch (error) {
    undo.undo();
    throw error;
  } finally {
    begun?.world.btf?.close();
  }
}

/** What is known before anything is made in the kernel. */
interface Plan {
  readonly kernel: Kernel;
  readonly options: LoadOptions;
  readonly prepared: ObjectSpec;
  readonly session: LinkSession;
  readonly linked: readonly LinkedProgram[];
  readonly skipped: SkippedProgram[];
}

/** What programs need to be loaded. */
interface Begun {
  readonly world: MapWorld;
  readonly maps: ReadonlyMap<string, BpfMap>;
}

function planLoading(kernel: Kernel, spec: ObjectSpec, options: LoadOptions): Plan {
  checkByteOrder(spec);
  const prepared = prepareSpec(spec, options);
  const session = openSession(kernel, prepared, undefined, options.extraBtfs);
  if (session.error !== null) throw session.error;
  return { kernel, options, prepared, session, ...linkAll(kernel, session, options) };
}

function beginLoading({ kernel, options, prepared, session, linked }: Plan, undo: UndoList): Begun {
  const btf = loadObjectBtf(kernel, session);
  try {
    const world: MapWorld = { kernel, spec: prepared, options, session, btf, undo, exclusiveHashes: exclusiveHashes(options, linked) };
    return { world, maps: createMaps(world) };
  } catch (error) {
    btf?.close();
    throw error;
  }
}

function finishLoading(plan: Plan, { world, maps }: Begun, started: Map<LinkedProgram, StartedLoad>): Collection {
  const { kernel, options, prepared, session, linked, skipped } = plan;
  const programs = loadPrograms(world, maps, linked, skipped, started);
  rememberUsdtMaps(maps, programs.values());
  fillProgramSlots(prepared, maps, (name) => programs.get(name)?.fd ?? null);
  const structOps = session.structOps.flatMap((ops) => {
    const map = maps.get(ops.map);
    return map === undefined ? [] : [new StructOps(map, ops, programs)];
  });
  const borrowed = new Set(Object.keys(options.replaceMaps ?? {}));
  return new Collection(kernel, { spec: prepared, maps, programs, structOps, skipped, borrowed });
}

/** By map: what says which program may use it. */
function exclusiveHashes(options: LoadOptions, linked: readonly LinkedProgram[]): Map<string, Uint8Array> {
  const hashes = new Map<string, Uint8Array>();
  for (const [map, name] of Object.entries(options.exclusiveMaps ?? {})) {
    const program = linked.find(({ spec }) => spec.name === name);
    if (program === undefined) {
      throw new UsageError({
        code: 'E_EXCLUSIVE',
        what: 'the one program that may use a map does not load',
        where: { map, program: name },
      });
    }
    hashes.set(map, programDigest(program.insns));
  }
  return hashes;
}

/** Throws E_BYTE_ORDER for an object of the other byte order: it can be inspected and relocated, not run. */
export function checkByteOrder(spec: ObjectSpec): void {
  if (spec.littleEndian) return;
  throw new UnsupportedError({
    code: 'E_BYTE_ORDER',
    what: 'a big-endian object cannot be loaded into this kernel',
    where: { object: spec.name },
    next: 'compile it with clang -target bpfel',
  });
}

/** Links for the running kernel; the .kconfig map's contents are put into the spec. */
export function openSession(
  kernel: Kernel,
  spec: ObjectSpec,
  programs?: ObjectSpec['programs'],
  extraBtfs: readonly Btf[] = [],
): LinkSession {
  const session = new LinkSession(spec, kernel.target(extraBtfs), {
    pageSize: kernel.pageSize,
    ...(programs === undefined ? {} : { programs }),
  });
  const kconfig = spec.maps.find(({ origin }) => origin === 'kconfig');
  if (kconfig !== undefined && session.kconfig !== null) kconfig.data = session.kconfig;
  return session;
}

function linkAll(kernel: Kernel, session: LinkSession, options: LoadOptions): { linked: LinkedProgram[]; skipped: SkippedProgram[] } {
  const linked: LinkedProgram[] = [];
  const skipped: SkippedProgram[] = [];
  for (const spec of session.programs) {
    const result = session.link(spec);
    if (result.ok) {
      linked.push(result.program);
      if (!kernel.traced) continue;
      for (const relocation of result.program.coreRelocations) kernel.trace({ step: 'relocation', program: spec.name, relocation });
    } else if (canSkip(kernel, spec, options, result.error)) {
      skipped.push({ spec, error: result.error });
    } else throw result.error;
  }
  return { linked, skipped };
}

function loadPrograms(
  world: MapWorld,
  maps: ReadonlyMap<string, BpfMap>,
  linked: readonly LinkedProgram[],
  skipped: SkippedProgram[],
  started: Map<LinkedProgram, StartedLoad>,
): Map<string, BpfProgram> {
  const { kernel, options } = world;
  const programs = new Map<string, BpfProgram>();
  try {
    for (const one of linked) {
      try {
        const early = started.get(one);
        started.delete(one);
        programs.set(one.spec.name, loadOne(world, maps, one, early));
      } catch (error) {
        if (!(error instanceof RawbpfError) || !canSkip(kernel, one.spec, options, error)) throw error;
        skipped.push({ spec: one.spec, error });
      }
    }
    return programs;
  } finally {
    // Those whose turn never came.
    closeStarted(kernel, started);
  }
}

/** Loads one program of an object whose maps are made; `started` where another thread has. */
export function loadOne(world: MapWorld, maps: ReadonlyMap<string, BpfMap>, linked: LinkedProgram, started?: StartedLoad): BpfProgram {
  const { kernel, undo } = world;
  const tables = started === undefined ? createJumpTables(kernel, linked) : [];
  try {
    const context = contextOf(world, maps, linked, tables);
    const program = undo.own(loadProgram(kernel, linked, context, started));
    bindReadOnlyMaps(world, maps, program);
    return program;
  } finally {
    for (const table of tables) table.close();
  }
}

function contextOf(
  { kernel, spec, btf, options }: MapWorld,
  maps: ReadonlyMap<string, BpfMap>,
  linked: LinkedProgram,
  tables: ReturnType<typeof createJumpTables>,
): ProgramContext {
  const attachTo = own(options.attachPrograms, linked.spec.name);
  return {
    license: spec.license,
    kernVersion: spec.kernVersion,
    mapFd: (name) => mapFd(maps, linked, name),
    moduleFd: (name) => moduleBtfFd(kernel, name),
    jumpTableFd: (index) => tables[index]?.fd ?? -1,
    btf: spec.btf,
    btfFd: btf?.fd ?? -1,
    externNames: spec.externs.map(({ name }) => name),
    mapNames: spec.maps.map(({ name }) => name),
    ...(attachTo === undefined ? {} : attachTarget(attachTo, linked)),
    ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
  };
}

/**
 * Loads on other threads what may be loaded in any order. A program that the kernel refuses, or that something is wrong with, is
 * left for its turn.
 */
async function startPrograms({ world, maps }: Begun, linked: readonly LinkedProgram[]): Promise<Map<LinkedProgram, StartedLoad>> {
  const started = new Map<LinkedProgram, StartedLoad>();
  const free = linked.filter((program) => !dependsOnOrder(program, maps));
  if (free.length < 2) return started;
  const calls: Promise<void>[] = [];
  let bug: unknown = null;
  for (const program of free) {
    try {
      const call = startLoading(world.kernel, program, contextOf(world, maps, program, []));
      if (call === null) break;
      calls.push(
        call.then((load) => {
          if (load !== null) started.set(program, load);
        }),
      );
    } catch (error) {
      if (error instanceof RawbpfError) continue;
      bug = error;
      break;
    }
  }
  await Promise.all(calls);
  if (bug === null) return started;
  closeStarted(world.kernel, started);
  throw bug;
}

function closeStarted({ sys }: Kernel, started: ReadonlyMap<LinkedProgram, StartedLoad>): void {
  for (const { fd } of started.values()) closeFd(sys, fd);
}

/** Maps that belong to the first program that uses them (bpf_prog_map_compatible, bpf_cgroup_storage_assign): later ones have to fit it. */
export const ownedMaps: ReadonlySet<number> = new Set<number>([
  BPF_MAP_TYPE.BPF_MAP_TYPE_PROG_ARRAY,
  BPF_MAP_TYPE.BPF_MAP_TYPE_CGROUP_STORAGE,
  BPF_MAP_TYPE.BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE,
]);

function dependsOnOrder({ fixups, jumpTables }: LinkedProgram, maps: ReadonlyMap<string, BpfMap>): boolean {
  // Jump tables are maps that live while their program is loaded.
  if (jumpTables.length > 0) return true;
  return fixups.some((fixup) => 'map' in fixup && ownedMaps.has(maps.get(fixup.map)?.type ?? -1));
}

function attachTarget(target: BpfProgram, { spec }: LinkedProgram): Pick<ProgramContext, 'attachProgramFd' | 'attachProgramBtfId'> {
  if (spec.attachTo === null) return { attachProgramFd: target.fd };
  return { attachProgramFd: target.fd, attachProgramBtfId: functionOfProgram(target, spec.attachTo) };
}

function mapFd(maps: ReadonlyMap<string, BpfMap>, linked: LinkedProgram, name: string): number {
  const map = maps.get(name);
  if (map !== undefined) return map.fd;
  throw new UnsupportedError({
    code: 'E_MAP_ABSENT',
    what: 'a program uses a map that was not created',
    where: { program: linked.spec.name, map: name },
  });
}

/** Ties .rodata maps to a program that may not mention them, so that what they say about it stays with it (Linux 5.10). */
function bindReadOnlyMaps(world: MapWorld, maps: ReadonlyMap<string, BpfMap>, program: BpfProgram): void {
  for (const spec of world.spec.maps) {
    const map = spec.origin === 'rodata' ? maps.get(spec.name) : undefined;
    // Nothing depends on it: a kernel that cannot is as good.
    if (map !== undefined) bpf(world.kernel.sys, 'BPF_PROG_BIND_MAP', { prog_fd: program.fd, map_fd: map.fd });
  }
}

/** Whether loading goes on without a program, and tells so unless the program is optional. */
function canSkip(kernel: Kernel, program: ProgramSpec, options: LoadOptions, error: RawbpfError): boolean {
  if (options.optional?.(program) === true) return true;
  if (options.skipUnsupported !== true) return false;
  kernel.notice({ code: 'N_PROGRAM_SKIPPED', message: `program ${program.name} was left out: ${error.message}`, cause: error });
  return true;
}

/** The object's BTF in the kernel, with what its linked programs added to it. */
export function loadObjectBtf(kernel: Kernel, { btf, spec }: LinkSession): LoadedBtf | null {
  return btf === null ? null : loadBtf(kernel, btf, spec.name);
}
